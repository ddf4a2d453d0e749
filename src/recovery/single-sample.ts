import { SURE_CLASS } from '../protocol/sample-knowledge.js';
import { softmax } from './activation.js';
import { type ScaledMinimum, fitScale, scanScaled } from './gradient-scale.js';
import { type HeadFactors, activationOf, balancedBy, factorsOf, withRoundedLabel } from './head-factors.js';
import type { GradientShape, HeadGradient } from './head-gradient.js';
import { type LabelFamily, denseLabel, fitLabel, labelFamilies } from './label-family.js';
import type { LabelHypothesis, PosteriorOptions } from './label-hypothesis.js';
import { type LabelCandidate, type LabelPosterior, judgeLabels } from './label-posterior.js';
import { type RecoveredSample, finish, notFound, unknownLabel } from './recovered-sample.js';
import { type ScanMinimum, type ScanProblem, minimumAt, minimumNear, scanScalars } from './scalar-scan.js';
import { recoverSigmoid } from './sigmoid-sample.js';
import { norm, scaled } from './vectors.js';

/** Label and feature of one sample from its head gradient, without ground truth (Wang, Liang, He, ICLR 2024). */

export interface RecoveryOptions {
  /** False where the gradient's scale is unknown beforehand, as a weight difference's is. */
  readonly isScaleKnown?: boolean;
  /** True where scale and sign are beyond doubt, as in trials on a gradient that was recovered: far fewer searches. */
  readonly isPlain?: boolean;
}

/**
 * Recovers one sample. Uses the closed form when the bias gradient is there, the scan otherwise, and
 * the sigmoid variants when the class sum of the gradient rules out softmax.
 *
 * @param shape from {@link shapeOfGradient}; its nature must not be `batch`
 */
export function recoverSingle(
  head: HeadGradient,
  shape: GradientShape,
  options: RecoveryOptions = {},
): RecoveredSample {
  return recoverFromFactors(factorsOf(head, shape), shape, options);
}

/** The same for a head that is already factored. */
export function recoverFromFactors(
  factors: HeadFactors,
  shape: GradientShape,
  options: RecoveryOptions = {},
): RecoveredSample {
  if (shape.nature === 'hidden') {
    return { ...notFound(factors), reason: HIDDEN };
  }
  const sample = recoverVisible(factors, shape, options);
  const share = shape.rankOne.residual / shape.rankOne.total;
  return sample.status === 'recovered' && share > MOST_NOISE
    ? {
        ...sample,
        status: 'ambiguous',
        reason: `${(100 * share).toFixed(0)} % of the gradient is noise; the label shown is the best guess.`,
      }
    : sample;
}

/** With more noise than this in the gradient, the kind of label cannot be told reliably. */
const MOST_NOISE = 0.4;

function recoverVisible(factors: HeadFactors, shape: GradientShape, options: RecoveryOptions): RecoveredSample {
  if (activationOf(factors, shape) === 'sigmoid') {
    return sureSoftmax(factors, options) ?? recoverSigmoid(factors);
  }
  const posterior = posteriorOf(factors, options);
  const [best] = posterior.hypotheses;
  if (!best || posterior.foreign > 0.5) {
    return factors.scalar === undefined
      ? notFound(factors)
      : denseInClosedForm(factors, factors.scalar, options.isScaleKnown !== false);
  }
  if (posterior.reversed > 0.5) {
    return { ...notFound(factors), isReversed: true, reason: REVERSED };
  }
  return sampleOf(factors, best, posterior);
}

/** Without a bias gradient, a sure prediction is known by what its rounding is beside the length that explains the rest. */
function sureSoftmax(factors: HeadFactors, options: RecoveryOptions): RecoveredSample | undefined {
  const { problem, scalar } = factors;
  const { u } = problem;
  const label = scalar === undefined ? loneSign(u) : undefined;
  if (label === undefined) {
    return undefined;
  }
  const balanced = { ...factors, problem: { ...problem, u: balancedBy(u, label) } };
  const posterior = posteriorOf(balanced, { ...options, isPlain: true });
  const [best] = posterior.hypotheses;
  if (!best || posterior.foreign > 0.5 || posterior.reversed > 0.5) {
    return undefined;
  }
  const sample = sampleOf(balanced, best, posterior);
  return sample.status === 'recovered' && withRoundedLabel(u, sample.scalar * sample.scale) ? sample : undefined;
}

/** The one class whose sign is not that of all others. */
function loneSign(u: Float64Array): number | undefined {
  const [positive, negative] = [1, -1].map((sign) => [...u.keys()].filter((index) => u[index]! * sign > 0));
  return negative!.length === 1 ? negative![0] : positive!.length === 1 ? positive![0] : undefined;
}

const REVERSED =
  'These numbers explain a label only with the opposite sign: they look like a weight difference, or a negated gradient. Give weights before minus weights after, or the gradient itself.';

/** Odds of a clear answer, in nats: an accident or another kind of file would have to be this improbable. */
const CLEAR = 25;

/** Every label that could explain the gradient, first those that need no factor and no change of sign. */
function posteriorOf(factors: HeadFactors, options: RecoveryOptions): LabelPosterior {
  const { problem, scalar, scalarError } = factors;
  const settings: PosteriorOptions = {
    scalar:
      scalar === undefined ? undefined : { value: scalar, error: Math.max(scalarError, 4 * problem.forwardError) },
    ...(options.isScaleKnown === false ? { isScaleKnown: false } : {}),
    ...(options.isPlain === true ? { isPlain: true } : {}),
  };
  const negated = { ...problem, u: scaled(problem.u, -1) };
  if (scalar !== undefined) {
    const families = labelFamilies(problem.u.length);
    const minima = families.map((family): LabelCandidate => ({
      scalar: closedFormMinimum(factors, family, scalar).scalar,
      family,
      scale: 1,
    }));
    if (options.isScaleKnown !== false) {
      const quick = judgeLabels(problem, minima, settings);
      if (options.isPlain === true || isClear(quick, problem)) {
        return quick;
      }
    }
    const closed = families.flatMap((family, at) => [
      minima[at]!,
      ...asCandidates([fitScale(problem, family, scalar)], 1),
      ...asCandidates([fitScale(negated, family, scalar)], -1),
    ]);
    return judgeLabels(problem, closed, settings);
  }
  const plain = scanScalars(problem)
    .slice(0, MOST_CANDIDATES)
    .map((minimum): LabelCandidate => ({ scalar: minimum.scalar, family: minimum.family, scale: 1 }));
  // The best few by the scan's score settle a clean gradient, which is what most are.
  const quick = judgeLabels(problem, plain.slice(0, FEW_CANDIDATES), settings);
  if (options.isPlain === true || (options.isScaleKnown !== false && isClear(quick, problem))) {
    return quick;
  }
  // Many classes leave few basins, and each costs more to judge.
  const most = problem.u.length > 200 ? FEW_CANDIDATES / 2 : MOST_CANDIDATES;
  const families = labelFamilies(problem.u.length).filter(({ m }) => m <= 2);
  return judgeLabels(
    problem,
    [
      ...plain.slice(0, most),
      ...scanScaled(problem, families).slice(0, most),
      ...scanScalars(negated)
        .slice(0, most / 2)
        .map((minimum) => ({ scalar: minimum.scalar, family: minimum.family, scale: -1 })),
      ...scanScaled(negated, families)
        .slice(0, most / 2)
        .map((basin) => ({ ...basin, scale: -basin.scale })),
    ],
    settings,
  );
}

/** Under noise another factor or sign may fit as well, so only a clean gradient is settled before those are tried. */
function isClear({ hypotheses: [best] }: LabelPosterior, { noise, u }: ScanProblem): boolean {
  const isClean = noise * Math.sqrt(u.length) < CLEAN * norm(u);
  return isClean && best !== undefined && !best.isScaled && best.oddsAgainstAccident > CLEAR && best.misfit < 10;
}

/** Rounding to float32 stays below this share of u. */
const CLEAN = 1e-6;

const MOST_CANDIDATES = 16;
const FEW_CANDIDATES = 8;

function asCandidates(fits: readonly (ScaledMinimum | undefined)[], sign: 1 | -1): LabelCandidate[] {
  return fits.flatMap((fit) =>
    fit && Number.isFinite(fit.scale) && fit.scale > 0
      ? [{ scalar: fit.minimum.scalar, family: fit.minimum.family, scale: sign * fit.scale }]
      : [],
  );
}

/** With noise, the scalar that makes the label flattest within the bias gradient's error is the better one. */
function closedFormMinimum({ problem, scalarError }: HeadFactors, family: LabelFamily, scalar: number): ScanMinimum {
  const exact = minimumAt(problem, family, scalar);
  const margin = 3 * scalarError;
  if (margin < 1e-6 || margin > 0.5) {
    return exact;
  }
  const near = minimumNear(problem, family, scalar * (1 - margin), scalar * (1 + margin));
  const isNear = Math.abs(near.scalar - scalar) <= 2 * margin * Math.abs(scalar);
  return isNear && near.residual < exact.residual ? near : exact;
}

/** As `SURE_CLASS`, for the kind of a label that is called recovered. */
const SURE_KIND = 0.98;
/** A label known worse than this is not called recovered, however well it beats its rivals. */
const MOST_LABEL_ERROR = 0.03;
/** No confidence is stated above this: the model of the errors is itself not known better. */
const MOST_CONFIDENCE = 0.9999;
const LOOSE_CONFIDENCE = 0.9;

function sampleOf(factors: HeadFactors, best: LabelHypothesis, posterior: LabelPosterior): RecoveredSample {
  const { problem } = factors;
  const [kind] = posterior.kinds;
  // A scale that one class alone determines could as well be another scale and a second class in the label.
  const most = best.isScaled && best.isScaleLoose ? LOOSE_CONFIDENCE : MOST_CONFIDENCE;
  const kindConfidence = Math.min(kind?.probability ?? 0, most);
  const classConfidence = Math.min(posterior.classConfidence, most);
  const isKindKnown = kindConfidence >= SURE_KIND && kind?.kind === best.label.kind;
  const isSure = classConfidence >= SURE_CLASS && isKindKnown && best.topError <= MOST_LABEL_ERROR;
  const scale = best.isScaled ? best.scale : 1;
  const unscaled =
    scale === 1 ? problem : { ...problem, u: scaled(problem.u, 1 / scale), noise: problem.noise / scale };
  const minimum = minimumAt(unscaled, best.family, best.scalar);
  const sample = finish(
    factors,
    { ...minimum, y: best.y },
    {
      method: factors.scalar === undefined ? 'scalar-scan' : 'closed-form-bias',
      status: isSure ? 'recovered' : 'ambiguous',
      confidence: Math.min(classConfidence, kindConfidence),
      reason: reasonOf(factors, best, { isSure, classConfidence, isKindKnown }),
      scale,
    },
  );
  return {
    ...sample,
    label: isKindKnown ? sample.label : { ...sample.label, kind: 'undetermined' },
    classConfidence,
    kindConfidence,
    openKinds: isKindKnown
      ? []
      : [
          ...posterior.kinds.filter(({ probability }) => probability >= 1 - SURE_KIND).map((own) => own.kind),
          ...(most === LOOSE_CONFIDENCE && best.family.m === 1
            ? [best.family.smoothed ? ('mixup-smoothed' as const) : ('mixup' as const)]
            : []),
        ].filter((own, at, all) => all.indexOf(own) === at),
    topRange: posterior.topRange,
    smoothingRange: posterior.smoothingRange,
  };
}

function reasonOf(
  { scalar }: HeadFactors,
  best: LabelHypothesis,
  { isSure, classConfidence, isKindKnown }: { isSure: boolean; classConfidence: number; isKindKnown: boolean },
): string {
  if (isSure) {
    const how =
      scalar === undefined
        ? 'Exactly one length of the feature gives a label that is hard, smoothed or mixed, to within the noise of the gradient'
        : 'The bias gradient gives the feature and the label, and that label is hard, smoothed or mixed, to within the noise of the gradient';
    const factor = best.isScaled
      ? `; the gradient is ${best.scale.toPrecision(4)} times the one this loss gives (clipping, a factor in the loss, or another reduction)`
      : '';
    return `${how}${factor}.`;
  }
  if (classConfidence >= SURE_CLASS) {
    return isKindKnown
      ? 'The class is sure; noise leaves open how large its share of the label is.'
      : 'The class is sure; noise leaves open whether the label is hard, smoothed or mixed.';
  }
  return 'Several labels explain this gradient about equally well; the one shown is the most probable.';
}

/**
 * No known kind of label fits, but the bias gradient gives the label itself. It is checked only by lying on the simplex, so
 * a dense label cannot be told from another checkpoint; a label of exact zeros and a one is no accident.
 */
function denseInClosedForm(factors: HeadFactors, scalar: number, isScaleKnown: boolean): RecoveredSample {
  const { problem } = factors;
  const classes = problem.u.length;
  const logits = problem.a.map((value, i) => scalar * value + problem.b[i]!);
  const y = softmax(logits).map((p, i) => p - problem.u[i]! / scalar);
  const error = 8 * (problem.noise / norm(problem.u));
  const tolerance = Math.max(1e-5, error);
  const possible = isScaleKnown && isSimplex(y, tolerance);
  const oneHot = fitLabel(y, { m: 1, smoothed: false });
  const isHard = possible && y.every((value, i) => Math.abs(value - oneHot.probabilities[i]!) <= tolerance);
  const isTelling = isHard && tolerance ** (classes - 1) < 1e-3 && tolerance < 1e-3;
  const sample = finish(
    factors,
    { ...minimumAt(problem, { m: 1, smoothed: false }, scalar), y },
    {
      method: 'closed-form-bias',
      status: possible ? (isTelling ? 'recovered' : 'ambiguous') : 'not-identifiable',
      confidence: possible ? (isTelling ? 0.995 : 0.5) : 0,
      reason: isTelling
        ? 'The bias gradient gives the label, and it came out as one class exactly.'
        : possible
          ? classes <= 3
            ? `With ${classes} classes nothing is left to check a label against: under this checkpoint it is exactly this, and another checkpoint's gradient would look the same.`
            : 'Either the label is a dense soft one (distillation), then it is exactly this, or the gradient was captured from another checkpoint: both look alike.'
          : 'The bias gradient and this checkpoint give label entries outside 0 to 1: the gradient was captured from another checkpoint (for instance after the optimiser step) or with another loss.',
    },
  );
  return { ...sample, label: possible ? (isHard ? oneHot : denseLabel(y)) : unknownLabel(classes) };
}

function isSimplex(y: Float64Array, tolerance: number): boolean {
  return y.every((value) => value >= -tolerance && value <= 1 + tolerance);
}

const HIDDEN =
  'Noise hides everything: not even the largest singular value of the gradient exceeds what noise alone gives.';
