import { softmax } from '../activation.js';
import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import { multiply } from '../linear-algebra.js';
import { accumulate, accumulateSquare } from './refine.js';
import type { WhitenedHead } from './whiten.js';

/** Batches of hard labels whose samples of one class have nearly equal features, as untrained networks give. */
export interface Groups {
  readonly found: readonly {
    /** The class. */
    readonly row: number;
    /** How many samples. */
    readonly count: number;
    /** Their mean feature, with the bias column's 1 where there is one. */
    readonly feature: Float64Array;
    /** p - y at it, K. */
    readonly errorVector: Float64Array;
  }[];
  /** 1 / B. */
  readonly coefficient: number;
  /** What the groups leave of the whitened gradient, squared and relative, and what lies below their rank. */
  readonly misfit: number;
  readonly expected: number;
  /** Relative error of the features, from the last change of the iteration and from what is left unexplained. */
  readonly featureError: number;
}

const ITERATIONS = 60;
const SETTLED = 1e-10;
/** The groups may leave this many times what a matrix of their rank has to leave. */
const MOST_MISFIT = 5;
/** A group's feature has a last entry of 1 when there is a bias gradient; a wrong count shows as another number. */
const MOST_COLUMN_ERROR = 0.02;
/** Without one, features of an untrained network are about equally long. */
const MOST_LENGTH_RATIO = 1.5;

/**
 * One group per class: with the counts n known, G = sum_g (n_g / B) (p_g - e_g) x_g^T is solved for the features x_g by
 * weighted least squares, p_g follows from them, and so on until nothing changes; softmax of an untrained head
 * depends so little on the feature that this contracts. undefined when it does not, or when the groups do not explain G.
 *
 * @param counts K whole numbers, how often each class occurs
 */
export function recoverGroups(head: WhitenedHead, counts: readonly number[] | undefined): Groups | undefined {
  const rows = counts ? [...counts.keys()].filter((row) => counts[row]! > 0) : [];
  if (!counts || rows.length < 2 || rows.length > head.svd.rank || rows.length >= head.classes - 1) {
    return undefined;
  }
  const size = counts.reduce((sum, count) => sum + count, 0);
  let features: Float64Array[] = rows.map(() => new Float64Array(head.columns));
  let change = Infinity;
  for (let iteration = 0; iteration < ITERATIONS && change > SETTLED; iteration++) {
    const errors = rows.map((row, at) => errorOf(head, features[at]!, row));
    const next = featuresFrom(
      head,
      errors.map((error, at) => error.map((value) => (value * counts[rows[at]!]!) / size)),
    );
    if (!next) {
      return undefined;
    }
    change = largestChange(features, next);
    features = next;
  }
  const errors = rows.map((row, at) => errorOf(head, features[at]!, row));
  const { misfit, expected } = misfitOf(
    head,
    features,
    errors.map((error, at) => error.map((value) => (value * counts[rows[at]!]!) / size)),
  );
  const found = rows.map((row, at) => ({
    row,
    count: counts[row]!,
    feature: features[at]!.map((value, col) => value * head.columnScale[col]!),
    errorVector: errors[at]!,
  }));
  const isExplained = change < 1e-3 && misfit <= MOST_MISFIT ** 2 * expected;
  return isExplained && haveRightCounts(head, found)
    ? { found, coefficient: 1 / size, misfit, expected, featureError: Math.max(change, Math.sqrt(misfit)) }
    : undefined;
}

/** p - y, K, in plain units. */
function errorOf(head: WhitenedHead, feature: Float64Array, row: number): Float64Array {
  const logits = multiply(head.weight, feature);
  if (head.offset) {
    head.offset.forEach((value, at) => (logits[at]! += value));
  }
  const error = softmax(logits);
  error[row]! -= 1;
  return error;
}

/** Weighted least squares for X in G = E X, everything in whitened units. */
function featuresFrom(head: WhitenedHead, parts: readonly Float64Array[]): Float64Array[] | undefined {
  const { classes, columns, rowError, gradient, columnScale } = head;
  const count = parts.length;
  const whitened = new Float64Array(classes * count);
  const target = new Float64Array(gradient.data.length);
  for (let row = 0; row < classes; row++) {
    parts.forEach((part, at) => (whitened[row * count + at] = part[row]! / rowError[row]!));
    for (let col = 0; col < columns; col++) {
      target[row * columns + col] = gradient.data[row * columns + col]! / rowError[row]! / columnScale[col]!;
    }
  }
  const normal = new Float64Array(count * count);
  accumulateSquare(whitened, count, classes, normal, 1);
  const right = new Float64Array(count * columns);
  accumulate(whitened, count, target, columns, classes, right);
  const factored = factoriseSmall(normal, count);
  if (factored.deficiency > 0) {
    return undefined;
  }
  const out = parts.map(() => new Float64Array(columns));
  for (let col = 0; col < columns; col++) {
    const x = Float64Array.from({ length: count }, (_, at) => right[at * columns + col]!);
    solveUpper(factored, solveLower(factored, x));
    x.forEach((value, at) => (out[at]![col] = value));
  }
  return out;
}

function largestChange(before: readonly Float64Array[], after: readonly Float64Array[]): number {
  let worst = 0;
  after.forEach((feature, at) => {
    let squares = 0;
    let total = 0;
    feature.forEach((value, col) => {
      squares += (value - before[at]![col]!) ** 2;
      total += value * value;
    });
    worst = Math.max(worst, Math.sqrt(squares / total));
  });
  return worst;
}

function misfitOf(
  head: WhitenedHead,
  features: readonly Float64Array[],
  parts: readonly Float64Array[],
): { misfit: number; expected: number } {
  const { classes, columns, rowError, gradient, columnScale, svd, sigma } = head;
  let left = 0;
  let total = 0;
  for (let row = 0; row < classes; row++) {
    for (let col = 0; col < columns; col++) {
      const captured = gradient.data[row * columns + col]! / rowError[row]! / columnScale[col]!;
      let value = captured;
      for (let at = 0; at < parts.length; at++) {
        value -= (parts[at]![row]! / rowError[row]!) * features[at]![col]!;
      }
      left += value * value;
      total += captured * captured;
    }
  }
  const below = svd.values.slice(parts.length).reduce((sum, value) => sum + value * value, 0);
  return { misfit: left / total, expected: (below + sigma * sigma * classes * columns) / total };
}

function haveRightCounts(head: WhitenedHead, found: Groups['found']): boolean {
  if (head.hasBiasColumn) {
    return found.every(({ feature }) => Math.abs(feature[head.columns - 1]! - 1) <= MOST_COLUMN_ERROR);
  }
  const lengths = found.map(({ feature }) => Math.sqrt(feature.reduce((sum, value) => sum + value * value, 0)));
  return Math.max(...lengths) <= MOST_LENGTH_RATIO * Math.min(...lengths);
}
