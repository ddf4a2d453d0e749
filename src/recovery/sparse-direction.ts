import { type Cholesky, factoriseSmall, solveLower, solveUpper } from './cholesky.js';
import type { Pause } from './pause.js';
import { dotAt, norm, scaled } from './vectors.js';

/**
 * The vectors of a span that are zero most often. What a rectifier leaves of one sample is zero at many places, and a
 * mixture of several samples at few, so these are the samples'. The sum of log(v^2 + mu^2) over all entries, mu falling from
 * the largest entry to rounding, is minimised by reweighting: each step is the smallest eigenvector of a small matrix
 * (graduated iteratively reweighted least squares; the search over a sphere is that of Sun, Qu and Wright, 2015).
 */

export interface SparseSearch {
  /** Entries below zero cost so many times as much; 1 where both signs are as good. */
  readonly negative: number;
  /** Share of the largest entry that mu begins at. */
  readonly first: number;
  /** Factor from step to step. */
  readonly cooling: number;
  /** Share of the largest entry that it ends at. */
  readonly last: number;
}

/** Where values are known not to be negative: the sign alone all but tells the samples. */
export const NON_NEGATIVE: SparseSearch = { negative: 100, first: 0.3, cooling: 0.85, last: 1e-5 };
/** The same from random mixtures to whichever sample is nearest, and not always to the same one. */
export const FROM_ANYWHERE: SparseSearch = { ...NON_NEGATIVE, first: 0.1, last: 1e-4 };
/** Where only zeros tell: slower, as the way leads past other minima. */
export const EITHER_SIGN: SparseSearch = { negative: 1, first: 0.5, cooling: 0.93, last: 1e-6 };

/** From a mixture that is all but right. */
export const FROM_NEAR: SparseSearch = { ...NON_NEGATIVE, first: 0.01 };

const INVERSE_STEPS = 3;

/**
 * @param rows entries x size, row-major, with orthonormal columns: a basis of the span
 * @param start size numbers, not all zero
 * @returns the mixture of the columns, of length one; where signs count, one whose entries have a positive sum
 */
export async function sparseDirection(
  rows: Float64Array,
  size: number,
  start: Float64Array,
  { negative, first, cooling, last }: SparseSearch,
  pause: Pause,
): Promise<Float64Array> {
  const entries = rows.length / size;
  let direction: Float64Array = scaled(start, 1 / norm(start));
  const values = new Float64Array(entries);
  const fill = (): number => {
    let largest = 0;
    for (let at = 0; at < entries; at++) {
      values[at] = dotAt(rows, at * size, direction, size);
      largest = Math.max(largest, Math.abs(values[at]!));
    }
    return largest;
  };
  const top = fill();
  for (let mu = first * top; mu > last * top; mu *= cooling) {
    await pause();
    const matrix = new Float64Array(size * size);
    for (let at = 0; at < entries; at++) {
      const value = values[at]!;
      addSquare(matrix, size, rows, at * size, (value < 0 ? negative : 1) / (value * value + mu * mu));
    }
    const factor = factoriseSmall(matrix, size);
    for (let step = 0; step < INVERSE_STEPS; step++) {
      direction = solveUpper(factor, solveLower(factor, direction.slice()));
      direction = scaled(direction, 1 / norm(direction));
    }
    fill();
    if (negative > 1 && values.reduce((sum, own) => sum + own, 0) < 0) {
      direction = scaled(direction, -1);
      fill();
    }
  }
  return direction;
}

/** Rows made those of a matrix with orthonormal columns: a direction of theirs is a mixture of the columns before, times L^-T. */
export interface WhitenedRows {
  /** entries x size, row-major. */
  readonly data: Float64Array;
  /** L L^T of the rows before. */
  readonly factor: Cholesky;
}

/** @param rows of `size` numbers each, which span all of them */
export function whitenedRows(rows: readonly Float64Array[], size: number): WhitenedRows {
  const gram = new Float64Array(size * size);
  for (const row of rows) {
    addSquare(gram, size, row, 0, 1);
  }
  const factor = factoriseSmall(gram, size);
  const data = new Float64Array(rows.length * size);
  rows.forEach((row, at) => data.set(solveLower(factor, row.slice()), at * size));
  return { data, factor };
}

/** Adds weight * row row^T to the lower triangle of a matrix, the row being `size` numbers from `start` on. */
export function addSquare(matrix: Float64Array, size: number, rows: Float64Array, start: number, weight: number): void {
  for (let i = 0; i < size; i++) {
    const own = weight * rows[start + i]!;
    const line = i * size;
    for (let j = 0; j <= i; j++) {
      matrix[line + j]! += own * rows[start + j]!;
    }
  }
}
