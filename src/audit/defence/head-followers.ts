import { featureByBias, lowestClass } from '../../methods/head/best-guess.js';
import { countLabels } from '../../recovery/label-counts.js';
import { factorsOf } from '../../recovery/head-factors.js';
import { dot, least, norm } from '../../recovery/vectors.js';
import { recoverFromFactors } from '../../recovery/single-sample.js';
import { counted } from '../../words/count-words.js';
import { estimatorInWords } from '../../words/terms.js';
import type { DefendedRun, GuessedHead } from './defended-run.js';
import { type Follower, type LimitOf, MEASURES, type RuleGuess, aboveChance } from './follower.js';
import type { Undefended } from './undefended.js';

/** Labels and features that the head told. */

/** @param className names of classes by their index */
export function headFollowers(undefended: Undefended, className: (index: number) => string): Follower[] {
  const { recovered } = undefended;
  if (!recovered || recovered.unassessed !== undefined) {
    return [];
  }
  return recovered.single
    ? ofOneSample(undefended, className)
    : recovered.several.length > 0
      ? ofBatch(undefended)
      : ofCounts(undefended);
}

function ofOneSample(undefended: Undefended, className: (index: number) => string): Follower[] {
  const { single } = undefended.recovered ?? {};
  const truth = single?.label.classes[0]?.index;
  if (!single || truth === undefined || single.status !== 'recovered' || !single.isOneTold) {
    return [];
  }
  const chance = 1 / single.label.probabilities.length;
  const common = { method: 'head-single', sample: 0 };
  const label: Follower = {
    leak: {
      id: 'label-0',
      title: `Label of the sample: ${className(truth)}`,
      ...common,
      measure: MEASURES.label,
      undefended: 1,
      chance,
      limit: aboveChance(chance),
      byChance: aboveChance(chance),
    },
    shown: null,
    methods: [],
    guesses: async (run) =>
      (await oneSampleGuesses(run)).map(({ by, index }) => ({ by, value: index === truth ? 1 : 0 })),
  };
  const flat = flatError([single.feature]);
  const feature: Follower = {
    leak: {
      id: 'feature-0',
      title: 'Feature of the sample, the input of the last layer',
      ...common,
      measure: MEASURES.feature,
      undefended: 0,
      chance: flat,
      limit: featureLimit(flat),
    },
    shown: null,
    methods: [],
    guesses: async (run) =>
      (await oneSampleGuesses(run)).flatMap(({ by, feature: guess }) =>
        guess?.length === single.feature.length ? [{ by, value: error(guess, single.feature) }] : [],
      ),
  };
  // What noise left of a feature is no truth to compare with.
  return undefended.nature === 'single' ? [label, feature] : [label];
}

interface HeadGuess {
  readonly by: string;
  readonly index: number | undefined;
  readonly feature: Float64Array | undefined;
}

const known = new WeakMap<DefendedRun, Promise<readonly HeadGuess[]>>();

/** Both followers ask for the same. */
function oneSampleGuesses(run: DefendedRun): Promise<readonly HeadGuess[]> {
  const own = known.get(run) ?? headGuesses(run);
  known.set(run, own);
  return own;
}

async function headGuesses(run: DefendedRun): Promise<readonly HeadGuess[]> {
  const head = await run.head();
  if (!head) {
    return [];
  }
  const { gradient, shape } = head;
  const isScaleKnown = run.undefended.update.kind !== 'difference';
  const settings = run.isOnlyDraw ? { isScaleKnown } : { isPlain: true, isScaleKnown };
  const again = recoverFromFactors(factorsOf(gradient, shape), shape, settings);
  return [
    { by: 'what the audit computes', index: again.label.classes[0]?.index, feature: again.feature },
    {
      by: gradient.biasGradient
        ? "the class of the bias gradient's lowest number, and least squares by that gradient"
        : "the class of the largest entry of the gradient's first direction",
      index: lowestClass(gradient, shape),
      feature: featureByBias(gradient),
    },
  ];
}

/** What is told of at least one sample counts: of features the nearest, of labels the share. */
function ofBatch(undefended: Undefended): Follower[] {
  const { several = [], features = [], samples = [] } = undefended.recovered ?? {};
  const labels = several.flatMap(({ label, multiplicity }) => {
    const index = label.classes[0]?.index;
    return index === undefined ? [] : new Array<number>(multiplicity).fill(index);
  });
  if (labels.length === 0 || !samples.every(({ status }) => status === 'recovered')) {
    return [];
  }
  const classes = several[0]?.label.probabilities.length ?? 1;
  const flat = flatError(features);
  return [
    ofLabels('labels', `Labels of ${counted(labels.length, 'sample')}`, 'head-batch', labels, classes),
    {
      leak: {
        id: 'features',
        title: `Features of ${counted(several.length, 'sample')}, the nearest of them`,
        method: 'head-batch',
        sample: null,
        measure: MEASURES.feature,
        undefended: 0,
        chance: flat,
        limit: featureLimit(flat),
      },
      shown: null,
      methods: ['head-batch'],
      guesses: (run) => featureGuesses(run, features),
    },
  ];
}

/** Counts that are confirmed although no sample was told. */
function ofCounts(undefended: Undefended): Follower[] {
  const counts = undefended.recovered?.labelCounts;
  if (typeof counts?.confirmedBy !== 'string') {
    return [];
  }
  const labels = counts.agreed.flatMap((count, index) => new Array<number>(count ?? 0).fill(index));
  const classes = counts.agreed.length;
  const title = `How often each class occurs, of ${counted(labels.length, 'sample')}`;
  return [ofLabels('counts', title, 'label-counts', labels, classes)];
}

function ofLabels(id: string, title: string, method: string, labels: readonly number[], classes: number): Follower {
  const limit = (): number => limitOfCounts(labels, classes);
  return {
    leak: {
      id,
      title,
      method,
      sample: null,
      measure: MEASURES.label,
      undefended: 1,
      chance: chanceOfCounts(labels, classes),
      limit,
      byChance: limit,
    },
    shown: null,
    methods: [method],
    guesses: (run) => labelGuesses(run, labels),
  };
}

async function labelGuesses(run: DefendedRun, truth: readonly number[]): Promise<RuleGuess[]> {
  const head = await run.head();
  if (!head) {
    return [];
  }
  const { recovered } = await run.methodGuesses();
  const found = (recovered?.several ?? []).flatMap(({ label, multiplicity }) => {
    const index = label.classes[0]?.index;
    return index === undefined ? [] : new Array<number>(multiplicity).fill(index);
  });
  const { estimators } = await countLabels(head.gradient, truth.length, () => Promise.resolve());
  const rules = estimators.map(({ name, counts }) => ({
    by: `the estimate "${estimatorInWords(name).title}"`,
    labels: counts.flatMap((count, index) => new Array<number>(count).fill(index)),
  }));
  return [{ by: 'the samples that the audit tells apart', labels: found }, ...rules].map(({ by, labels }) => ({
    by,
    value: overlap(labels, truth) / truth.length,
  }));
}

async function featureGuesses(run: DefendedRun, truth: readonly Float64Array[]): Promise<RuleGuess[]> {
  const head = await run.head();
  if (!head) {
    return [];
  }
  const { recovered } = await run.methodGuesses();
  return [
    { by: 'the samples that the audit tells apart', features: recovered?.features ?? [] },
    { by: 'rows of the gradient over those of the bias', features: rowsOverBias(head) },
  ].flatMap(({ by, features }) => {
    const errors = features.flatMap((guess) => truth.map((own) => error(guess, own)));
    return errors.length > 0 ? [{ by, value: least(errors) }] : [];
  });
}

/** A class that occurs once has the feature in its row, over its part of the bias gradient (Geiping et al., NeurIPS 2020). */
function rowsOverBias({ gradient: { weightGradient, biasGradient } }: GuessedHead): Float64Array[] {
  const { data, cols } = weightGradient;
  return Array.from(biasGradient ?? []).flatMap((bias, row) =>
    bias === 0 ? [] : [data.slice(row * cols, (row + 1) * cols).map((value) => value / bias)],
  );
}

/** Of the guess at the length that brings it nearest, since a factor hides nothing: the sine of the angle between both. */
function error(guess: Float64Array, truth: Float64Array): number {
  const cosine = dot(guess, truth) / (norm(guess) * norm(truth));
  return Number.isFinite(cosine) ? Math.sqrt(Math.max(0, 1 - cosine * cosine)) : 1;
}

/** The nearest that a feature of equal numbers comes to one of these. */
function flatError(features: readonly Float64Array[]): number {
  return least(features.map((own) => error(new Float64Array(own.length).fill(1), own)));
}

/** Half of the length is wrong; nearer than equal numbers come in any case. */
function featureLimit(chance: number): LimitOf {
  return () => Math.min(0.5, 0.9 * chance);
}

/** How many labels of two lists agree, each counted once. */
function overlap(guess: readonly number[], truth: readonly number[]): number {
  const left = [...truth];
  return guess.filter((index) => {
    const at = left.indexOf(index);
    return at >= 0 && left.splice(at, 1).length > 0;
  }).length;
}

/** Expected overlap with as many labels drawn evenly: of each class, the smaller of its count and a binomial's. */
function chanceOfCounts(labels: readonly number[], classes: number): number {
  return momentsOfChance(labels, classes).mean;
}

function limitOfCounts(labels: readonly number[], classes: number): number {
  const { mean, deviation } = momentsOfChance(labels, classes);
  return Math.min(0.95, mean + 2 * deviation);
}

function momentsOfChance(labels: readonly number[], classes: number): { mean: number; deviation: number } {
  const size = labels.length;
  const counts = new Map<number, number>();
  for (const index of labels) {
    counts.set(index, (counts.get(index) ?? 0) + 1);
  }
  const probability = 1 / classes;
  // P(X = k) of the binomial, from k to k + 1.
  const binomial: number[] = [(1 - probability) ** size];
  for (let k = 0; k < size; k++) {
    binomial.push(((binomial[k] ?? 0) * (size - k) * probability) / ((k + 1) * (1 - probability || 1)));
  }
  let [mean, variance] = [0, 0];
  for (const count of counts.values()) {
    const first = binomial.reduce((sum, own, k) => sum + own * Math.min(k, count), 0);
    const second = binomial.reduce((sum, own, k) => sum + own * Math.min(k, count) ** 2, 0);
    mean += first;
    variance += second - first * first;
  }
  // Counts of classes exclude each other, so their sum varies by less than this.
  return { mean: mean / size, deviation: Math.sqrt(variance) / size };
}
