import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Matrix } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { symmetricEigenvalues } from '../symmetric-eigenvalues.js';
import { type TruncatedSvd, truncatedSvd } from '../truncated-svd.js';
import { most, norm } from '../vectors.js';

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
/** So many directions are looked for before all singular values are. */
const FEW = 80;
/** Of the largest: smaller singular values are rounding in a matrix of inner products. */
const VISIBLE = 3e-6;

/**
 * Every patch of the input lies in the space that the rows of dL/dW span, where delta has full column rank:
 * G = Delta (O x N) Patches (N x C k^2). No published source; R-CONV (arXiv 2406.04227) comes nearest.
 *
 * @param gradient rows x cols, row-major: output channels x (inputs, kernel rows, kernel columns)
 * @param error relative error of each number, such as the unit roundoff of its type
 * @param limit more directions than these are of no use, and are not looked for
 * @param pause called with the number of directions found
 */
export async function rowSpaceOf(
  gradient: Float64Array,
  rows: number,
  cols: number,
  error: number,
  limit: number,
  product: ProductKernel,
  pause: Pause<number>,
): Promise<RowSpace | UnclearRank> {
  const lengths = Array.from({ length: rows }, (_, row) => norm(gradient.subarray(row * cols, (row + 1) * cols)));
  const longest = most(lengths);
  const live = lengths.flatMap((length, row) => (length > DEAD * longest ? [row] : []));
  const scaled = new Float64Array(live.length * cols);
  live.forEach((row, at) => {
    const factor = 1 / lengths[row]!;
    for (let col = 0; col < cols; col++) {
      scaled[at * cols + col] = gradient[row * cols + col]! * factor;
    }
  });
  const matrix = { rows: live.length, cols, data: scaled };
  // A matrix of independent errors of this size per row of length one has this spectral norm.
  const noise = (error / Math.sqrt(3)) * (1 + Math.sqrt(live.length / cols));
  const whole = Math.min(live.length, cols);
  const enough = Math.min(whole, limit + 1);
  const strongest = (floor: number, count: number): Promise<TruncatedSvd> =>
    truncatedSvd(matrix, { floor, most: count, unlessSaturated: count < whole }, pause);
  let svd = await strongest(CLEAR * noise, Math.min(enough, FEW));
  if (svd.saturated && enough > FEW) {
    const seen = await spectrumOf(matrix, CLEAR * noise, product, pause);
    if (seen && !(seen.gap >= LEAST_GAP)) {
      return { basis: undefined, rank: seen.rank, gap: seen.gap, rows: live.length };
    }
    svd = await strongest(seen?.between ?? CLEAR * noise, enough);
  }
  if (svd.saturated && enough < whole) {
    return { basis: undefined, rank: enough, gap: 1, rows: live.length };
  }
  return spaceOf(svd, whole, noise, matrix);
}

function spaceOf(svd: TruncatedSvd, whole: number, noise: number, { rows, cols }: Matrix): RowSpace | UnclearRank {
  const rest = Math.max(svd.next, svd.residual / Math.sqrt(rows), noise);
  const { rank, gap } = widestGap([...svd.values], svd.rank === whole ? undefined : rest);
  if (!(gap >= LEAST_GAP)) {
    return { basis: undefined, rank, gap, rows };
  }
  const basis = new Float64Array(rank * cols);
  for (let col = 0; col < cols; col++) {
    for (let at = 0; at < rank; at++) {
      basis[at * cols + col] = svd.right[col * svd.rank + at]!;
    }
  }
  return { basis, rank, gap, rows };
}

/**
 * Where the singular values fall furthest, by inner products of rows, which is quick.
 *
 * @param floor what is below it is not of interest
 * @returns undefined where some that count are too small to be seen this way; `between` parts those above from those below
 */
async function spectrumOf(
  { rows, cols, data }: Matrix,
  floor: number,
  product: ProductKernel,
  pause: Pause<number>,
): Promise<{ rank: number; gap: number; between: number } | undefined> {
  if (rows > cols) {
    return undefined;
  }
  const gram = await product(data, data, rows, rows, cols);
  await pause(FEW);
  const values = [...symmetricEigenvalues(gram, rows)].reverse().map((own) => Math.sqrt(Math.max(own, 0)));
  if (!(values[rows - 1]! > Math.max(floor, VISIBLE * values[0]!))) {
    return undefined;
  }
  const { rank, gap } = widestGap(values, undefined);
  return { rank, gap, between: Math.sqrt(values[rank - 1]! * (values[rank] ?? 0)) };
}

/**
 * The rank, where the singular values fall furthest: rows that only nearly sum to zero leave a small one above rounding.
 *
 * @param values falling
 * @param rest what comes after them, undefined for nothing
 */
function widestGap(values: readonly number[], rest: number | undefined): { rank: number; gap: number } {
  let best = { rank: values.length, gap: 1 };
  values.forEach((value, at) => {
    const next = values[at + 1] ?? rest;
    if (next !== undefined && value / next > best.gap) {
      best = { rank: at + 1, gap: value / next };
    }
  });
  return best;
}
