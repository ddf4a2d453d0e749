import { softmax } from './activation.js';
import { factoriseSmall, solveLower, solveUpper } from './cholesky.js';
import type { HeadGradient } from './head-gradient.js';
import { nonNegativeLeastSquares, roundToSum } from './label-counts.js';
import { matrixProduct, multiply, transposed } from './linear-algebra.js';
import type { Pause } from './pause.js';
import { norm } from './vectors.js';

/**
 * How often each class occurs among the samples that a federated client trained on, from the difference that several steps
 * made to its classifier head.
 *
 * A step subtracts lr times the mean of p - y over its batch from the bias. Over E epochs, in each of which every sample is
 * seen once, that adds up to (b_after - b_before) B / (lr E) = n - P: how often each class occurs, less the sum of the samples'
 * probabilities for it, averaged over the epochs. P is never negative, which bounds n from below whatever the network did
 * in between; n itself needs P, which is simulated.
 */

/** What is known, or was stated, of the training between both states. */
export interface LocalTraining {
  readonly learningRate: number;
  readonly epochs: number;
  readonly batchSize: number;
  readonly samples: number;
  /** 0 for plain SGD. */
  readonly momentum: number;
}

export interface ClassShares {
  /** n - P for each class, as the head's bias tells: K. */
  readonly excess: Float64Array;
  /** The same of the head's weight: K rows of sums of features, (n_c - P_c) times their weighted mean: K x d. */
  readonly features: Float64Array;
  /** What each entry of `excess` may be off by, rounding of the weights and of their gradients together. */
  readonly rounding: number;
  /** What weight decay that nothing tells may have added to each entry: K. */
  readonly decay: Float64Array;
}

/** Labels that are smoothed up to this put weight on classes that do not occur. */
const MOST_SMOOTHING = 0.2;
/** A bias decays by this much at most where its head's sums show no decay, as where they are zero from the beginning. */
export const MOST_DECAY = 1e-3;
/** Relative error of a gradient that was computed in bfloat16, or of a rate that was stated in round numbers. */
const MOST_ERROR = 0.02;
/** Relative error of a sum over a batch in float32. */
const OWN_ROUNDING = 1e-6;

/**
 * The head's part of the update in units of samples.
 *
 * @param head what the gradient's place holds is minus the difference: (before - after)
 * @param statedSteps of the optimiser, which momentum needs
 * @returns undefined for a head without a bias, and for numbers that are too large or too small to be divided
 */
export function classShares(head: HeadGradient, training: LocalTraining, statedSteps: number): ClassShares | undefined {
  const { biasGradient, weightGradient } = head;
  if (!biasGradient || norm(biasGradient) === 0) {
    return undefined;
  }
  const { learningRate, epochs, batchSize, samples } = training;
  const perSample = (learningRate * epochs * meanWeight(training.momentum, statedSteps)) / batchSize;
  const shares: ClassShares = {
    excess: biasGradient.map((value) => -value / perSample),
    features: weightGradient.data.map((value) => -value / perSample),
    // Every step rounds its result once more, by up to half a step of the weights' type.
    rounding: (statedSteps * head.underflow) / 2 / perSample + OWN_ROUNDING * samples,
    // lr wd |b| in every step, in units of what one sample adds.
    decay: biasGradient.map((_, index) => MOST_DECAY * samples * Math.abs(head.bias?.[index] ?? 0)),
  };
  return [...shares.excess, ...shares.decay, shares.rounding, norm(shares.features)].every(Number.isFinite)
    ? shares
    : undefined;
}

/** Mean over the steps of what momentum makes of one step's gradient by the last: (1 - m^(T-k)) / (1 - m) for T steps. */
function meanWeight(momentum: number, steps: number): number {
  const rest = 1 - momentum;
  return (1 - (momentum * (1 - momentum ** steps)) / (steps * rest)) / rest;
}

/**
 * How often each class occurs at least, K numbers. It holds for labels that are one class each, smoothed by up to 0.2, in
 * training as it is stated, up to 2 % of the rate and a weight decay of {@link MOST_DECAY}: the probabilities that a class's
 * excess lacks are never negative.
 */
export function leastCounts(
  { excess, rounding, decay }: ClassShares,
  training: LocalTraining,
  statedSteps: number,
): number[] {
  const { samples, momentum } = training;
  const classes = excess.length;
  // Under momentum the first steps weigh most, Nesterov's a little more.
  const heaviest = 1 / (1 - momentum) / meanWeight(momentum, statedSteps);
  return [...excess].map((own, index) => {
    const known = ((own - rounding - decay[index]!) / heaviest) * (1 - MOST_ERROR);
    const counted = known - unevenness(training);
    const smoothed = (counted - (MOST_SMOOTHING * samples) / classes) / (1 - MOST_SMOOTHING);
    return Math.max(0, Math.ceil(Math.min(counted, smoothed)));
  });
}

/** A last batch of fewer samples gives each of them more weight, which may all go to one class: in samples. */
function unevenness({ samples, batchSize }: LocalTraining): number {
  const rest = samples % batchSize;
  return rest === 0 ? 0 : batchSize - rest;
}

/** Whether more samples would be needed than there are: then something that was stated is wrong. */
export function contradicts({ excess, rounding, decay }: ClassShares, training: LocalTraining): boolean {
  const needed = excess.reduce((sum, own, index) => sum + Math.max(0, own - rounding - decay[index]!), 0);
  return needed * (1 - MOST_ERROR) > training.samples + unevenness(training);
}

export interface EstimatedCounts {
  /** K whole numbers that sum to the samples. */
  readonly counts: readonly number[];
  /** ||what the counts explain - excess|| / ||excess||: what no counts explain. */
  readonly misfit: number;
}

const ROUNDS = 60;
const MOST_STEPS = 40;
/** Classes that may occur, looked at one by one; fewer where each costs more. */
const MOST_PRESENT = 64;
const MOST_PRESENT_OF_MANY = 32;
const MANY = 256;
/** Features of a class are drawn to those of all by this share of the samples. */
const SHRINKAGE = 1e-3;
/** Of old and new in each round. */
const DAMPING = 0.5;

/**
 * Counts that explain the update best: class by class a mean feature, whose probabilities are simulated as the head learns.
 * Like iLRG (Ma et al., ICLR 2023), which reads features and probabilities from one step, with the head's own course over
 * the steps, the counts' bounds, and the mixture of features that rows of other classes add.
 *
 * @param least bounds from below, K
 * @param statedSteps at least 1
 * @throws CancelledError when `pause` does
 */
export async function estimateCounts(
  head: Pick<HeadGradient, 'weight' | 'bias'>,
  { excess, features }: ClassShares,
  least: readonly number[],
  training: LocalTraining,
  statedSteps: number,
  pause: Pause,
): Promise<EstimatedCounts> {
  const { samples, learningRate, momentum } = training;
  const { rows: classes, cols: width } = head.weight;
  const present = presentClasses(excess);
  const rows = new Float64Array(present.length * width);
  for (const [at, own] of present.entries()) {
    rows.set(features.subarray(own * width, (own + 1) * width), at * width);
  }
  // Features are combinations of the rows of the classes that may occur, so that the rows' products suffice.
  const gram = await productWithTransposed(rows, rows, width, pause);
  const throughHead = await productWithTransposed(rows, head.weight.data, width, pause);
  const bias = head.bias ?? new Float64Array(classes);
  const steps = Math.min(statedSteps, MOST_STEPS);
  const rate = (learningRate * meanWeight(momentum, statedSteps) * statedSteps) / steps;

  let counts = Float64Array.from(present, (own) => Math.max(0, excess[own]!) + (0.2 * samples) / classes);
  counts = counts.map((value) => (value * samples) / sumOf(counts));
  let combinations = startOf(excess, present);
  let misfit = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    await pause();
    const probabilities = await simulate({
      combinations,
      counts,
      present,
      gram,
      throughHead,
      bias,
      samples,
      steps,
      rate,
      pause,
    });
    const shares = sharesOf(probabilities, present, classes);
    const lower = Float64Array.from(present, (own) => least[own]!);
    const found = await boundedCounts(shares, excess, lower, samples, pause);
    misfit = misfitOf(shares, found, excess);
    counts = counts.map((old, at) => (1 - DAMPING) * old + DAMPING * Math.max(found[at]!, 1e-3));
    const next = featuresOf(columnsOf(shares, present, classes), counts, combinations, samples);
    combinations = combinations.map((old, at) => (1 - DAMPING) * old + DAMPING * next[at]!);
  }
  return { counts: wholeCounts(counts, present, least, classes, samples), misfit };
}

/** Those whose bias grew most: a class that occurs has lost less than others to what was predicted. */
function presentClasses(excess: Float64Array): number[] {
  return [...excess.keys()]
    .sort((one, other) => excess[other]! - excess[one]!)
    .slice(0, excess.length > MANY ? MOST_PRESENT_OF_MANY : MOST_PRESENT);
}

/** A row of the update is a class's own feature as often as it occurs, where it is not the mean of all. */
function startOf(excess: Float64Array, present: readonly number[]): Float64Array {
  const size = present.length;
  const grown = present.reduce((sum, own) => sum + Math.max(0, excess[own]!), 0);
  const combinations = new Float64Array(size * size);
  for (const [at, own] of present.entries()) {
    if (excess[own]! > 0) {
      combinations[at * size + at] = 1 / excess[own]!;
    } else {
      for (const [row, other] of present.entries()) {
        combinations[at * size + row] = grown > 0 && excess[other]! > 0 ? 1 / grown : 0;
      }
    }
  }
  return combinations;
}

interface Course {
  /** present x present: each class's mean feature as a combination of the update's rows. */
  readonly combinations: Float64Array;
  readonly counts: Float64Array;
  readonly present: readonly number[];
  /** present x present: products of those rows, and with the head's, present x K. */
  readonly gram: Float64Array;
  readonly throughHead: Float64Array;
  readonly bias: Float64Array;
  readonly samples: number;
  readonly steps: number;
  readonly rate: number;
  readonly pause: Pause;
}

/** Logits that a step of the course takes milliseconds for. */
const LARGE = 4096;

/** Probabilities of each present class's samples, averaged over the head's course: present x K. */
async function simulate(course: Course): Promise<Float64Array> {
  const { combinations, counts, present, gram, throughHead, bias, samples, steps, rate, pause } = course;
  const [size, classes] = [present.length, bias.length];
  const logits = matrixProduct(combinations, throughHead, size, size, classes);
  for (let at = 0; at < logits.length; at++) {
    logits[at]! += bias[at % classes]!;
  }
  const between = matrixProduct(
    matrixProduct(combinations, gram, size, size, size),
    transposed(combinations, size, size),
    size,
    size,
    size,
  );
  // The bias learns as a feature that is 1 everywhere.
  const weights = between.map((value) => (rate * (value + 1)) / samples);
  const mean = new Float64Array(size * classes);
  const errors = new Float64Array(size * classes);
  for (let step = 0; step < steps; step++) {
    for (let at = 0; at < size; at++) {
      const p = softmax(logits.subarray(at * classes, (at + 1) * classes));
      for (const [index, value] of p.entries()) {
        mean[at * classes + index]! += value / steps;
        errors[at * classes + index] = counts[at]! * ((index === present[at] ? 1 : 0) - value);
      }
    }
    const change = matrixProduct(weights, errors, size, size, classes);
    for (let at = 0; at < logits.length; at++) {
      logits[at]! += change[at]!;
    }
    if (logits.length > LARGE) {
      await pause();
    }
  }
  return mean;
}

/** What one sample of each present class adds to the excess of every class: one-hot less probabilities, present x K. */
function sharesOf(probabilities: Float64Array, present: readonly number[], classes: number): Float64Array {
  const shares = probabilities.map((value) => -value);
  for (const [at, own] of present.entries()) {
    shares[at * classes + own]! += 1;
  }
  return shares;
}

/** Non-negative least squares above the bounds; the sum weighs as a class does. */
async function boundedCounts(
  shares: Float64Array,
  excess: Float64Array,
  lower: Float64Array,
  samples: number,
  pause: Pause,
): Promise<Float64Array> {
  const classes = excess.length;
  const columns = [...lower.keys()].map((at) => {
    const column = new Float64Array(classes + 1);
    column.set(shares.subarray(at * classes, (at + 1) * classes));
    column[classes] = 1;
    return column;
  });
  const target = new Float64Array(classes + 1);
  target.set(excess);
  target[classes] = samples;
  for (const [at, column] of columns.entries()) {
    for (const [index, value] of column.entries()) {
      target[index]! -= lower[at]! * value;
    }
  }
  const above = await nonNegativeLeastSquares(columns, target, pause);
  return above.map((value, at) => value + lower[at]!);
}

function misfitOf(shares: Float64Array, counts: Float64Array, excess: Float64Array): number {
  const explained = matrixProduct(counts, shares, 1, counts.length, excess.length);
  return norm(explained.map((value, index) => value - excess[index]!)) / norm(excess);
}

/** The columns of the present classes: present x present. */
function columnsOf(shares: Float64Array, present: readonly number[], classes: number): Float64Array {
  const columns = new Float64Array(present.length * present.length);
  for (const row of present.keys()) {
    for (const [at, own] of present.entries()) {
      columns[row * present.length + at] = shares[row * classes + own]!;
    }
  }
  return columns;
}

/**
 * Mean features that explain the rows of the present classes under these counts, as combinations of those rows, drawn to the
 * mean of all: ridge regression of the identity on shares times counts.
 *
 * @param shares present x present
 */
function featuresOf(
  shares: Float64Array,
  counts: Float64Array,
  combinations: Float64Array,
  samples: number,
): Float64Array {
  const size = counts.length;
  const centre = matrixProduct(counts, combinations, 1, size, size).map((value) => value / sumOf(counts));
  const weighted = shares.map((value, at) => value * counts[Math.floor(at / size)]!);
  const together = matrixProduct(new Float64Array(size).fill(1), weighted, 1, size, size);
  const rest = new Float64Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let col = 0; col < size; col++) {
      rest[row * size + col] = (row === col ? 1 : 0) - together[row]! * centre[col]!;
    }
  }
  const normal = matrixProduct(weighted, transposed(weighted, size, size), size, size, size);
  for (let at = 0; at < size; at++) {
    normal[at * size + at]! += SHRINKAGE * samples;
  }
  const right = transposed(matrixProduct(weighted, rest, size, size, size), size, size);
  const factor = factoriseSmall(normal, size);
  const out = new Float64Array(size * size);
  for (let col = 0; col < size; col++) {
    const solved = solveUpper(factor, solveLower(factor, right.slice(col * size, (col + 1) * size)));
    for (let at = 0; at < size; at++) {
      out[at * size + col] = centre[col]! + solved[at]!;
    }
  }
  return out;
}

function wholeCounts(
  counts: Float64Array,
  present: readonly number[],
  least: readonly number[],
  classes: number,
  samples: number,
): number[] {
  const bounds = sumOf(least);
  const above = new Float64Array(classes);
  for (const [at, own] of present.entries()) {
    above[own] = Math.max(0, counts[at]! - least[own]!);
  }
  return roundToSum(above, Math.max(0, samples - bounds)).map((value, index) => value + least[index]!);
}

/** A B^T of two matrices with rows of `width` numbers. */
async function productWithTransposed(
  a: Float64Array,
  b: Float64Array,
  width: number,
  pause: Pause,
): Promise<Float64Array> {
  const [rows, cols] = [a.length / width, b.length / width];
  const out = new Float64Array(rows * cols);
  const right = { rows: cols, cols: width, data: b };
  for (let row = 0; row < rows; row++) {
    out.set(multiply(right, a.subarray(row * width, (row + 1) * width)), row * cols);
    await pause();
  }
  return out;
}

function sumOf(values: Float64Array | readonly number[]): number {
  let sum = 0;
  for (const value of values) {
    sum += value;
  }
  return sum;
}
