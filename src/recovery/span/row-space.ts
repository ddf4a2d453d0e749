import type { Pause } from '../pause.js';
import { truncatedSvd } from '../truncated-svd.js';
import { most, norm } from '../vectors.js';
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

/** Rows smaller than this share of the largest are rounding, or of dead channels. */
const DEAD = 1e-8;
/** Singular values below this many times the rounding's own largest are not told from it. */
const CLEAR = 30;

/**
 * Every patch of the input lies in the space that the rows of dL/dW span, where delta has full column rank:
 * G = Delta (O x N) Patches (N x C k^2). No published source; R-CONV (arXiv 2406.04227) comes nearest.
 *
 * @param gradient rows x cols, row-major: output channels x (inputs, kernel rows, kernel columns)
 * @param error relative error of each number, such as the unit roundoff of its type
 * @param pause called with the number of directions found
 */
export async function rowSpaceOf(
  gradient: Float64Array,
  rows: number,
  cols: number,
  error: number,
  pause: Pause<number>,
): Promise<RowSpace> {
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
  // A matrix of independent errors of this size per row of length one has this spectral norm.
  const noise = (error / Math.sqrt(3)) * (1 + Math.sqrt(live.length / cols));
  const svd = await truncatedSvd(
    { rows: live.length, cols, data: scaled },
    { floor: CLEAR * noise, most: Math.min(live.length, cols) },
    pause,
  );
  const isFull = svd.rank === Math.min(live.length, cols);
  const rest = Math.max(svd.next, svd.residual / Math.sqrt(live.length), noise);
  // Rows that only nearly sum to zero leave a small singular value above rounding.
  const fall = widestGap([...svd.values, ...(isFull ? [] : [rest])]);
  const { rank, gap } = fall.rank > 0 ? fall : { rank: svd.rank, gap: 1 };
  const basis = new Float64Array(rank * cols);
  for (let col = 0; col < cols; col++) {
    for (let at = 0; at < rank; at++) {
      basis[at * cols + col] = svd.right[col * svd.rank + at]!;
    }
  }
  return { basis, rank, gap, rows: live.length };
}
