import type { ProductKernel } from '../../graph/product-kernel.js';
import { type Matrix, transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { symmetricEigenvalues } from '../symmetric-eigenvalues.js';
import { truncatedSvd } from '../truncated-svd.js';
import { joined, most, norm, orthonormalised } from '../vectors.js';
import { widestGap } from '../widest-gap.js';

/** The row space of a convolution's weight gradient: as many directions as it has patches. */
export interface RowSpace {
  /** rank x cols, row-major, orthonormal rows. */
  readonly basis: Float64Array;
  readonly rank: number;
  /** Smallest singular value kept over the largest left out, rows being of length one: how clearly the rank shows. */
  readonly gap: number;
  /** Rows used: those that are not all but zero. */
  readonly rows: number;
}

/** No rank shows: noise, more directions than rows, or than are of use. */
export interface UnclearRank {
  readonly basis: undefined;
  /** Where singular values fall furthest, or the number of directions that was given up at. */
  readonly rank: number;
  /** By how much they fall there. */
  readonly gap: number;
  readonly rows: number;
}

/** Rows smaller than this share of the largest are rounding, or of dead channels. */
const DEAD = 1e-8;
/** Singular values below this many times the rounding's own largest are not told from it. */
const CLEAR = 30;
/** A rank without such a gap is no rank. */
const LEAST_GAP = 30;
/** Each leaves the square of one over the gap of what is wrong. */
const POWER_STEPS = 2;
/** So many directions are looked for before all singular values are looked at. */
const FEW = 40;
/** Lengths of rows of noise differ by 1 / sqrt(2 cols) in the mean: all but the longest of hundreds of them are this near to the shortest. */
const NOISE_SPREAD = 5;
const FEWEST_OF_NOISE = 3;
const NOISE_SHARE = 0.01;
/** Rows of noise, of the longest: others are no longer than those that say something. */
const DROWNED = 1e-2;
/** Of the largest: smaller singular values are rounding in a matrix of inner products. */
const VISIBLE = 3e-6;

/**
 * Every patch of the input lies in the space that the rows of dL/dW span, where delta has full column rank:
 * G = Delta (O x N) Patches (N x C k^2). No published source; R-CONV (arXiv 2406.04227) comes nearest.
 *
 * Rounding is relative, so rows of length one are looked at first. Noise of one size, and what is too small for half
 * precision, drown weak rows; then the rows are looked at as they are, where that shows a rank.
 *
 * @param gradient rows x cols, row-major: output channels x (inputs, kernel rows, kernel columns)
 * @param error relative error of each number, such as the unit roundoff of its type
 * @param limit more directions than these are of no use, and are not looked for
 * @param pause called with the number of directions found
 * @param canBe whether there may be so many directions: rows of noise alone, brought to length one, are directions too, which the rows
 *   as they are do not have
 */
export async function rowSpaceOf(
  gradient: Float64Array,
  rows: number,
  cols: number,
  error: number,
  limit: number,
  product: ProductKernel,
  pause: Pause<number>,
  canBe: (rank: number) => boolean = () => true,
): Promise<RowSpace | UnclearRank> {
  const lengths = Float64Array.from({ length: rows }, (_, row) =>
    norm(gradient.subarray(row * cols, (row + 1) * cols)),
  );
  const longest = most(lengths);
  const live = [...lengths.keys()].filter((row) => lengths[row]! > DEAD * longest);
  const sizes = Float64Array.from(live, (row) => lengths[row]!);
  const even = { rows: live.length, cols, data: scaledRows(gradient, cols, live, sizes) };
  // A matrix of independent errors of this size per row of length one has this spectral norm.
  const noise = (error / Math.sqrt(3)) * (1 + Math.sqrt(live.length / cols));
  const asTheyAre = async (): Promise<RowSpace | undefined> => {
    const data = scaledRows(gradient, cols, live, new Float64Array(live.length).fill(longest));
    const own = await spaceAsTheyAre({ ...even, data }, limit, product, pause);
    return own?.basis && canBe(own.rank) ? own : undefined;
  };
  const isDrowned = hasRowsOfNoise(sizes, cols);
  const drowned = isDrowned ? await asTheyAre() : undefined;
  if (drowned) {
    return drowned;
  }
  const first = await spaceOf(even, CLEAR * noise, noise, Math.min(limit, FEW), pause);
  if (first.basis && canBe(first.rank)) {
    return first;
  }
  const gram = live.length <= cols ? await product(even.data, even.data, live.length, live.length, cols) : undefined;
  await pause(0);
  const relative = gram && rankBySpectrum(singularValues(gram), CLEAR * noise, noise);
  if (!gram || (!relative && !first.basis)) {
    return first.basis ? first : spaceOf(even, CLEAR * noise, noise, limit, pause);
  }
  if (relative && isClear(relative, limit) && canBe(relative.rank)) {
    return spaceOfRank(even, relative, product, pause);
  }
  // Where noise showed by rows of its own, they were looked at before.
  const strong = isDrowned ? undefined : await asTheyAre();
  if (strong) {
    return strong;
  }
  if (first.basis) {
    return first;
  }
  return relative && isClear(relative, limit)
    ? spaceOfRank(even, relative, product, pause)
    : { basis: undefined, rank: relative?.rank ?? 0, gap: relative?.gap ?? 1, rows: live.length };
}

/** Without bringing rows to one length; undefined where no rank shows. */
async function spaceAsTheyAre(
  strong: Matrix,
  limit: number,
  product: ProductKernel,
  pause: Pause<number>,
): Promise<RowSpace | UnclearRank | undefined> {
  const { rows, cols, data } = strong;
  if (rows > cols) {
    return undefined;
  }
  const visible = rankAmong(singularValues(await product(data, data, rows, rows, cols)));
  await pause(0);
  return isClear(visible, limit) ? spaceOfRank(strong, visible, product, pause) : undefined;
}

/**
 * Whether the weakest rows hold nothing but noise of one size: their lengths are all but equal then, as those of long rows of
 * independent numbers are.
 *
 * @param sizes lengths of rows
 */
function hasRowsOfNoise(sizes: Float64Array, cols: number): boolean {
  const least = sizes.reduce((smallest, own) => Math.min(smallest, own), Infinity);
  const near = sizes.filter((own) => own <= (1 + NOISE_SPREAD / Math.sqrt(cols)) * least).length;
  return near >= Math.max(FEWEST_OF_NOISE, NOISE_SHARE * sizes.length) && least < DROWNED * most(sizes);
}

/** Rows span it at first, as noisy as they are; what all of them hold is taken from products with all of them. */
async function spaceOfRank(
  { rows, cols, data }: Matrix,
  { rank, gap, floor }: VisibleRank,
  product: ProductKernel,
  pause: Pause<number>,
): Promise<RowSpace | UnclearRank> {
  const svd = await truncatedSvd({ rows, cols, data }, { floor, most: Math.min(rows, cols) }, pause);
  if (svd.rank !== rank) {
    return { basis: undefined, rank, gap: 1, rows };
  }
  const turned = transposed(data, rows, cols);
  let basis = transposed(svd.right, cols, rank);
  for (let step = 0; step < POWER_STEPS; step++) {
    await pause(rank);
    const images = await product(basis, data, rank, rows, cols);
    const pulled = await product(images, turned, rank, cols, rows);
    basis = joined(
      orthonormalised(Array.from({ length: rank }, (_, at) => pulled.subarray(at * cols, (at + 1) * cols))),
    );
  }
  return { basis, rank, gap, rows };
}

function scaledRows(
  gradient: Float64Array,
  cols: number,
  wanted: readonly number[],
  sizes: Float64Array,
): Float64Array {
  const out = new Float64Array(wanted.length * cols);
  wanted.forEach((row, at) => {
    for (let col = 0; col < cols; col++) {
      out[at * cols + col] = gradient[row * cols + col]! / sizes[at]!;
    }
  });
  return out;
}

/** @param floor singular values below it are not wanted */
async function spaceOf(
  matrix: Matrix,
  floor: number,
  noise: number,
  limit: number,
  pause: Pause<number>,
): Promise<RowSpace | UnclearRank> {
  const { rows, cols } = matrix;
  const whole = Math.min(rows, cols);
  const enough = Math.min(whole, limit + 1);
  const svd = await truncatedSvd(matrix, { floor, most: enough, unlessSaturated: enough < whole }, pause);
  if (svd.saturated && enough < whole) {
    return { basis: undefined, rank: enough, gap: 1, rows };
  }
  const rest = Math.max(svd.next, svd.residual / Math.sqrt(rows), noise);
  const { rank, gap } = furthestFall([...svd.values], svd.rank === whole ? undefined : rest);
  if (!(gap >= LEAST_GAP)) {
    return { basis: undefined, rank, gap, rows };
  }
  return { basis: transposed(svd.right, cols, svd.rank).slice(0, rank * cols), rank, gap, rows };
}

interface VisibleRank {
  readonly rank: number;
  readonly gap: number;
  /** Between the singular values of the rank and the others. */
  readonly floor: number;
}

function isClear({ rank, gap }: VisibleRank, limit: number): boolean {
  return gap >= LEAST_GAP && rank <= limit;
}

/** Of the rows whose inner products these are, falling; the small ones only as far as rounding lets them be seen. */
function singularValues(gram: Float64Array): number[] {
  const values = symmetricEigenvalues(gram.slice(), Math.sqrt(gram.length));
  return [...values].reverse().map((own) => Math.sqrt(Math.max(own, 0)));
}

/**
 * @param values falling
 * @param floor smaller ones count as the rest
 * @param noise the rest is at least this
 * @returns undefined where what decides is too small to be seen
 */
function rankBySpectrum(values: readonly number[], floor: number, noise: number): VisibleRank | undefined {
  const wanted = values.filter((own) => own > floor);
  const next = values[wanted.length];
  if (!((next ?? values[values.length - 1] ?? 0) > VISIBLE * (values[0] ?? 0))) {
    return undefined;
  }
  const { rank, gap } = furthestFall(wanted, next === undefined ? undefined : Math.max(next, noise));
  return { rank, gap, floor: wanted[rank] === undefined ? floor : between(wanted, rank) };
}

/**
 * The same where it is not known which are the rest: some may be zero, as what is too small for half precision leaves. What is too
 * small to be seen, as noise of one size beside strong rows is, is at most as large as what can be.
 */
function rankAmong(values: readonly number[]): VisibleRank {
  const least = VISIBLE * values[0]!;
  const visible = values.filter((own) => own > least);
  const { rank, gap } = furthestFall(visible, visible.length < values.length ? least : undefined);
  return { rank, gap, floor: between([...visible, least], rank) };
}

function between(values: readonly number[], rank: number): number {
  return Math.sqrt((values[rank - 1] ?? 0) * (values[rank] ?? 0));
}

/** @param rest what comes after the values, undefined for nothing */
function furthestFall(values: readonly number[], rest: number | undefined): { rank: number; gap: number } {
  const fall = widestGap(rest === undefined ? values : [...values, rest]);
  return fall.rank > 0 ? fall : { rank: values.length, gap: 1 };
}
