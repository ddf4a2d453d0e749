import { softmax } from '../activation.js';
import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import { gram, matrixProduct, multiply } from '../linear-algebra.js';
import { dot, norm, scaled } from '../vectors.js';
import type { WhitenedHead } from './whiten.js';
import type { Pause } from '../pause.js';

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
  /** What the groups leave of the whitened gradient, squared and relative. */
  readonly misfit: number;
  /** True when no more than noise is left. */
  readonly isNoise: boolean;
  /** Relative error of the features, from the last change of the iteration and from what is left unexplained. */
  readonly featureError: number;
}

const ITERATIONS = 60;
const SETTLED = 1e-10;
/** What tells the samples of a group apart is left over; more than this, squared and relative, is something else. */
const MOST_MISFIT = 3e-4;
/** Few shares are whole numbers over some size by chance, so few classes must fit better. */
const FEW_CLASSES = 3;
const STRICT_MISFIT = 1e-6;
/** What is left may deviate by this many times the noise. */
const MOST_DEVIATION = 3;
/** The bias column's shares are whole numbers over the batch size, up to this. */
const MOST_SHARE_ERROR = 0.005;
/** Without one, features of an untrained network are about equally long. */
const MOST_LENGTH_RATIO = 1.5;

/**
 * One group per class: with n_g samples of class g, G = sum_g (n_g / B) (p_g - e_g) x_g^T is solved for (n_g / B) x_g by
 * weighted least squares, p_g follows from x_g, and so on until nothing changes; softmax of an untrained head depends so
 * little on the feature that this contracts. The bias column, where every x_g is 1, gives n_g / B; without one the
 * counts must be known. undefined when it does not contract, or when the groups do not explain G.
 *
 * @param counts K whole numbers, how often each class occurs, if that is known
 * @param pause awaited before each iteration; what it throws ends the work
 */
export async function recoverGroups(
  head: WhitenedHead,
  counts: readonly number[] | undefined,
  pause: Pause,
): Promise<Groups | undefined> {
  const target = whitenedGradient(head);
  for (const rows of classSets(head, counts)) {
    const groups = await groupsOf(head, target, rows, counts, pause);
    if (groups) {
      return groups;
    }
  }
  return undefined;
}

async function groupsOf(
  head: WhitenedHead,
  target: Float64Array,
  rows: readonly number[],
  counts: readonly number[] | undefined,
  pause: Pause,
): Promise<Groups | undefined> {
  if (rows.length < 2 || rows.length > head.svd.rank || rows.length >= head.classes - 1) {
    return undefined;
  }
  const total = counts?.reduce((sum, count) => sum + count, 0) ?? 0;
  let features: Float64Array[] = rows.map(() => new Float64Array(head.columns));
  let shares = new Float64Array(rows.length);
  let change = Infinity;
  let solved: Float64Array[] = [];
  for (let iteration = 0; iteration < ITERATIONS && change > SETTLED; iteration++) {
    await pause();
    const errors = rows.map((row, at) => errorOf(head, features[at]!, row));
    const next = featuresFrom(head, target, errors);
    if (!next) {
      return undefined;
    }
    solved = next;
    shares = Float64Array.from(rows, (row, at) =>
      head.hasBiasColumn ? next[at]![head.columns - 1]! * head.columnScale[head.columns - 1]! : counts![row]! / total,
    );
    if (!shares.every((share) => share > 0)) {
      return undefined;
    }
    const scaledNext = next.map((feature, at) => scaled(feature, 1 / shares[at]!));
    change = largestChange(features, scaledNext);
    features = scaledNext;
  }
  const whole = head.hasBiasColumn ? wholeNumbers(shares, head.svd.rank) : rows.map((row) => counts![row]!);
  const errors = rows.map((row, at) => errorOf(head, features[at]!, row));
  const { misfit, deviation } = misfitOf(head, target, solved, errors);
  const isNoise = deviation <= MOST_DEVIATION * head.sigma;
  const mayDiffer = head.hasBiasColumn && misfit <= (rows.length < FEW_CLASSES ? STRICT_MISFIT : MOST_MISFIT);
  if (!whole || change > 1e-3 || !(isNoise || mayDiffer)) {
    return undefined;
  }
  const found = rows.map((row, at) => ({
    row,
    count: whole[at]!,
    feature: features[at]!.map((value, col) => value * head.columnScale[col]!),
    errorVector: errors[at]!,
  }));
  const size = whole.reduce((sum, count) => sum + count, 0);
  return head.hasBiasColumn || haveLikeLengths(found)
    ? { found, coefficient: 1 / size, misfit, isNoise, featureError: Math.max(change, Math.sqrt(misfit)) }
    : undefined;
}

/** So many classes whose bias gradient is not negative may be labels all the same: their share is below mean(p). */
const DOUBTFUL = 5;

/** Sets of classes that may be the labels: where the bias gradient, mean(p) - share, is negative; then with one or two more. */
function classSets(head: WhitenedHead, counts: readonly number[] | undefined): number[][] {
  const { classes, columns, gradient, hasBiasColumn } = head;
  const all = Array.from({ length: classes }, (_, row) => row);
  if (!hasBiasColumn) {
    return [all.filter((row) => (counts?.[row] ?? 0) > 0)];
  }
  const sign = (row: number): number => gradient.data[row * columns + columns - 1]!;
  const sure = all.filter((row) => sign(row) < 0);
  const doubtful = all
    .filter((row) => sign(row) >= 0)
    .sort((one, other) => sign(one) - sign(other))
    .slice(0, DOUBTFUL);
  const pairs = doubtful.flatMap((one, at) => doubtful.slice(0, at).map((other) => [one, other]));
  const more = [[], ...doubtful.map((row) => [row]), ...pairs];
  return more.map((extra) => [...sure, ...extra].sort((one, other) => one - other));
}

/** B times the shares, for the smallest B that makes them whole; undefined when there is none, or they do not sum to one. */
function wholeNumbers(shares: Float64Array, rank: number): number[] | undefined {
  if (Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) > MOST_SHARE_ERROR) {
    return undefined;
  }
  for (let size = shares.length; size <= 2 * rank + 8; size++) {
    const counts = [...shares].map((share) => Math.round(share * size));
    if (counts.every((count, at) => count > 0 && Math.abs(shares[at]! * size - count) <= MOST_SHARE_ERROR)) {
      return counts;
    }
  }
  return undefined;
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
function featuresFrom(
  { classes, columns, rowError }: WhitenedHead,
  target: Float64Array,
  parts: readonly Float64Array[],
): Float64Array[] | undefined {
  const count = parts.length;
  const whitened = new Float64Array(count * classes);
  parts.forEach((part, at) => part.forEach((value, row) => (whitened[at * classes + row] = value / rowError[row]!)));
  const normal = new Float64Array(count * count);
  gram(whitened, count, classes, normal, count);
  const right = matrixProduct(whitened, target, count, classes, columns);
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

/** What G - E X leaves of the whitened gradient: squared and relative, and per entry in units of its error. */
function misfitOf(
  { classes, columns, rowError }: WhitenedHead,
  target: Float64Array,
  solved: readonly Float64Array[],
  errors: readonly Float64Array[],
): { misfit: number; deviation: number } {
  const rest = target.slice();
  for (let row = 0; row < classes; row++) {
    errors.forEach((error, at) => {
      const weight = error[row]! / rowError[row]!;
      for (let col = 0; col < columns; col++) {
        rest[row * columns + col]! -= weight * solved[at]![col]!;
      }
    });
  }
  const left = dot(rest, rest);
  return { misfit: left / dot(target, target), deviation: Math.sqrt(left / (classes * columns)) };
}

/** The gradient in units of its errors, classes x columns. */
function whitenedGradient({ classes, columns, rowError, gradient, columnScale }: WhitenedHead): Float64Array {
  const out = new Float64Array(classes * columns);
  for (let row = 0; row < classes; row++) {
    for (let col = 0; col < columns; col++) {
      out[row * columns + col] = gradient.data[row * columns + col]! / rowError[row]! / columnScale[col]!;
    }
  }
  return out;
}

function haveLikeLengths(found: Groups['found']): boolean {
  const lengths = found.map(({ feature }) => norm(feature));
  return Math.max(...lengths) <= MOST_LENGTH_RATIO * Math.min(...lengths);
}
