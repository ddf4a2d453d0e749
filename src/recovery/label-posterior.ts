import {
  type Draft,
  type LabelHypothesis,
  type PosteriorOptions,
  type Start,
  fitHypothesis,
  labelAt,
} from './label-hypothesis.js';
import { type LabelFamily, type LabelKind, fitLabel, labelFamilies, largest } from './label-family.js';
import { logSum } from './log-probability.js';
import type { ScanProblem } from './scalar-scan.js';
import { dot } from './vectors.js';

/**
 * How probable each label is, given one sample's head gradient.
 *
 * A hypothesis is a family of labels, the classes that it lifts, and whether the gradient was scaled by an unknown
 * factor c (clipping, a factor in the loss, a learning rate). At a scalar s, e = softmax(s a + b) - u / (c s) is the
 * label (Theorem 1 of Wang, Liang, He, ICLR 2024); the K - m classes that are not lifted must share one value f (0, or
 * epsilon / K), each with its own standard error. The evidence of a hypothesis is the likelihood of those K - m numbers,
 * integrated over s, c and f by Laplace's approximation (MacKay, "Bayesian Interpolation", Neural Computation 4, 1992),
 * times its prior: a free number costs what its posterior is narrower than its prior, and no further penalty is added.
 *
 * Three things keep the result honest. Errors may be larger than modelled by a factor kappa that is integrated over.
 * A gradient that belongs to another checkpoint or to a label of no family ("foreign") fits by accident, with the
 * probability that its misfit happens to be this small. And a gradient of the opposite sign is a hypothesis as well.
 */

export interface LabelPosterior {
  /** Most probable first; empty when no candidate gives a label. */
  readonly hypotheses: readonly LabelHypothesis[];
  /** Probability that the gradient fits by accident: another checkpoint, or a label of no family. */
  readonly foreign: number;
  /** Probability that the gradient's sign is reversed. */
  readonly reversed: number;
  /** Probability that the first hypothesis has the right largest class. */
  readonly classConfidence: number;
  /** Probability by kind of label, most probable first. */
  readonly kinds: readonly { readonly kind: LabelKind; readonly probability: number }[];
  /** 95 % intervals over all hypotheses with the first one's largest class: of the label's entry for it, and of epsilon. */
  readonly topRange: readonly [number, number];
  readonly smoothingRange: readonly [number, number];
}

export interface LabelCandidate {
  readonly scalar: number;
  readonly family: LabelFamily;
  /** A first value of c; 1 unless it was fitted. */
  readonly scale: number;
}

const FOREIGN_PRIOR = 0.1;
const STANDARD_ERRORS = 2;
const MOST_SEEDS = 4;
/** No other family at the place of a draft this many nats behind, more than a family's own parameters gain, becomes the best. */
const HOPELESS = 200;
/** Hypotheses below this probability do not widen an interval. */
const RELEVANT = 0.005;

/**
 * @param candidates minima of the scan or of the closed form; each is refined, and judged with and without a free scale
 * @throws nothing; without candidates the gradient is foreign
 */
export function judgeLabels(
  problem: ScanProblem,
  candidates: readonly LabelCandidate[],
  options: PosteriorOptions = {},
): LabelPosterior {
  const found: Draft[] = [];
  judgeAll(problem, candidates, options, found);
  if (options.isPlain === true) {
    return normalise(found);
  }
  // Families contain each other: each is tried where any of them fits best, or one would win because another was not looked for.
  const sorted = [...found].sort((one, other) => other.logEvidence - one.logEvidence);
  const least = (sorted[0]?.logEvidence ?? 0) - HOPELESS;
  const best = sorted.filter(({ logEvidence }) => logEvidence > least).slice(0, MOST_SEEDS);
  judgeAll(
    problem,
    best.flatMap(({ scalar, scale }) => labelFamilies(problem.u.length).map((family) => ({ scalar, scale, family }))),
    options,
    found,
  );
  return normalise(found);
}

function judgeAll(
  problem: ScanProblem,
  candidates: readonly LabelCandidate[],
  options: PosteriorOptions,
  found: Draft[],
): void {
  for (const { scalar, family, scale } of candidates) {
    for (const isScaled of options.isPlain === true
      ? [false]
      : options.isScaleKnown === false
        ? [true]
        : [false, true]) {
      if (!isScaled && scale < 0) {
        continue;
      }
      for (const classes of setsAt(problem, family, scalar, isScaled ? scale : 1)) {
        const start = { scalar, scale: isScaled ? scale : 1, isScaled };
        if (found.some((other) => isAt(other, family, classes, start))) {
          continue;
        }
        const draft = fitHypothesis(problem, family, classes, start, options);
        if (draft && !found.some((other) => isSame(other, draft))) {
          found.push(draft);
        }
      }
    }
  }
}
/** Refining from here would end where the draft is. */
function isAt(
  { family, classes, isScaled, scalar, scale }: Draft,
  wanted: LabelFamily,
  lifted: readonly number[],
  start: Start,
): boolean {
  return (
    isScaled === start.isScaled &&
    family.m === wanted.m &&
    family.smoothed === wanted.smoothed &&
    lifted.every((index) => classes.includes(index)) &&
    Math.abs(scalar - start.scalar) < 1e-3 * Math.abs(scalar) &&
    Math.abs(scale - start.scale) < 1e-3 * Math.abs(scale)
  );
}
function isSame(one: Draft, other: Draft): boolean {
  return (
    one.isScaled === other.isScaled &&
    one.family.m === other.family.m &&
    one.family.smoothed === other.family.smoothed &&
    one.classes.every((index) => other.classes.includes(index)) &&
    Math.abs(one.scalar - other.scalar) < 1e-3 * Math.abs(one.scalar)
  );
}
/** The lifted classes at this scalar, and the set with the next class in place of the last. */
function setsAt(problem: ScanProblem, family: LabelFamily, scalar: number, scale: number): number[][] {
  const y = labelAt(problem, scalar, 1 / scale).y;
  const top = largest(y, Math.min(family.m + 1, y.length));
  const first = top.slice(0, family.m);
  const next = top[family.m];
  // Without noise the next class is as far from being lifted as numbers can tell.
  const isClean = problem.noise * problem.noise * y.length < 1e-10 * dot(problem.u, problem.u);
  return next === undefined || isClean ? [first] : [first, [...first.slice(0, -1), next]];
}
function normalise(drafts: readonly Draft[]): LabelPosterior {
  const [best] = [...drafts].sort((one, other) => other.logEvidence - one.logEvidence);
  if (!best) {
    return {
      hypotheses: [],
      foreign: 1,
      reversed: 0,
      classConfidence: 0,
      kinds: [],
      topRange: [0, 1],
      smoothingRange: [0, 1],
    };
  }
  const foreign = Math.log(FOREIGN_PRIOR) + best.logAccident;
  const total = logSum([foreign, ...drafts.map(({ logEvidence }) => logEvidence)]);
  const hypotheses = drafts
    .map((draft): LabelHypothesis => ({
      ...draft,
      label: fitLabel(draft.y, draft.family),
      probability: Math.exp(draft.logEvidence - total),
    }))
    .sort((one, other) => other.probability - one.probability);
  const kinds = new Map<LabelKind, number>();
  for (const { label, probability } of hypotheses) {
    kinds.set(label.kind, (kinds.get(label.kind) ?? 0) + probability);
  }
  const first = hypotheses[0]!;
  const top = topOf(first);
  const alike = hypotheses.filter((own) => topOf(own) === top && own.probability >= RELEVANT);
  const range = (
    value: (own: LabelHypothesis) => number,
    error: (own: LabelHypothesis) => number,
  ): [number, number] => {
    const low = alike.map((own) => value(own) - STANDARD_ERRORS * error(own));
    const high = alike.map((own) => value(own) + STANDARD_ERRORS * error(own));
    const clamp = (number: number): number => Math.min(Math.max(number, 0), 1);
    return alike.length === 0 ? [0, 1] : [clamp(Math.min(...low)), clamp(Math.max(...high))];
  };
  return {
    hypotheses,
    foreign: Math.exp(foreign - total),
    reversed: sum(hypotheses.filter(({ scale }) => scale < 0)),
    classConfidence: sum(hypotheses.filter((own) => topOf(own) === top)),
    kinds: [...kinds]
      .map(([kind, probability]) => ({ kind, probability }))
      .sort((one, other) => other.probability - one.probability),
    topRange: range(
      ({ label }) => label.probabilities[top]!,
      ({ topError }) => topError,
    ),
    smoothingRange: range(
      ({ label }) => label.smoothing,
      ({ smoothingError }) => smoothingError,
    ),
  };
}

function topOf({ label, classes }: LabelHypothesis): number {
  return label.classes[0]?.index ?? classes[0] ?? 0;
}

function sum(hypotheses: readonly LabelHypothesis[]): number {
  return hypotheses.reduce((total, { probability }) => total + probability, 0);
}
