import type { ProductKernel } from '../graph/product-kernel.js';
import { gram, productWithTransposed, transposed } from './linear-algebra.js';

/** Cholesky factorisation of a large symmetric matrix in blocks, so that a fast matrix product can be lent to it. */

/** The product in plain loops: what is left where no native library loads. */
export const plainProduct: ProductKernel = (a, b, rows, cols, inner) =>
  Promise.resolve(productWithTransposed(a, b, rows, cols, inner));

export interface Cholesky {
  readonly size: number;
  /** Row-major; the lower triangle holds L. */
  readonly lower: Float64Array;
  /** Pivots so small that their direction is undetermined down to rounding. */
  readonly deficiency: number;
}

const BLOCK = 192;
/** Pivots below this share of their diagonal entry are rounding. */
export const RANK_TOLERANCE = 1e-13;

/**
 * Factorises a symmetric positive semi-definite matrix in place, L L^T. Directions of rank deficiency get a pivot of
 * the size of rounding, and are counted.
 *
 * @param matrix size x size, row-major; only the lower triangle is read
 */
export async function factorise(matrix: Float64Array, size: number, product: ProductKernel): Promise<Cholesky> {
  const diagonal = Float64Array.from({ length: size }, (_, at) => matrix[at * size + at]!);
  let deficiency = 0;
  for (let start = 0; start < size; start += BLOCK) {
    const end = Math.min(start + BLOCK, size);
    const width = end - start;
    deficiency += factoriseBlock(matrix, size, start, end, diagonal);
    const below = size - end;
    if (below === 0) {
      break;
    }
    const panel = await solvePanel(matrix, size, start, end, product);
    for (let from = end; from < size; from += 4 * BLOCK) {
      const to = Math.min(from + 4 * BLOCK, size);
      const rows = panel.subarray((from - end) * width);
      const cols = panel.subarray((from - end) * width, (to - end) * width);
      const update = await product(rows, cols, size - from, to - from, width);
      subtract(matrix, size, update, from, to);
    }
  }
  return { size, lower: matrix, deficiency };
}

/** Below the diagonal only: columns `from` to `to` of the rows from `from` on. */
function subtract(matrix: Float64Array, size: number, update: Float64Array, from: number, to: number): void {
  const width = to - from;
  for (let row = from; row < size; row++) {
    const count = Math.min(width, row + 1 - from);
    const target = row * size + from;
    const source = (row - from) * width;
    for (let at = 0; at < count; at++) {
      matrix[target + at] = matrix[target + at]! - update[source + at]!;
    }
  }
}

/** The same for a small matrix, at once. */
export function factoriseSmall(matrix: Float64Array, size: number): Cholesky {
  const diagonal = Float64Array.from({ length: size }, (_, at) => matrix[at * size + at]!);
  return { size, lower: matrix, deficiency: factoriseBlock(matrix, size, 0, size, diagonal) };
}

function factoriseBlock(
  matrix: Float64Array,
  size: number,
  start: number,
  end: number,
  diagonal: Float64Array,
): number {
  let deficiency = 0;
  for (let row = start; row < end; row++) {
    for (let col = start; col <= row; col++) {
      let sum = matrix[row * size + col]!;
      for (let k = start; k < col; k++) {
        sum -= matrix[row * size + k]! * matrix[col * size + k]!;
      }
      if (col < row) {
        matrix[row * size + col] = sum / matrix[col * size + col]!;
      } else {
        const floor = RANK_TOLERANCE * diagonal[row]!;
        if (!(sum > floor)) {
          deficiency++;
          sum = Math.max(floor, Number.MIN_VALUE);
        }
        matrix[row * size + row] = Math.sqrt(sum);
      }
    }
  }
  return deficiency;
}

/** Rows below a factorised block, solved against it; returned as a contiguous copy. */
async function solvePanel(
  matrix: Float64Array,
  size: number,
  start: number,
  end: number,
  product: ProductKernel,
): Promise<Float64Array> {
  const width = end - start;
  const rows = size - end;
  const panel = columnsBetween(matrix, size, start, end, end, size);
  // A product with the block's inverse takes the place of one substitution per row.
  const solved = await product(panel, inverseOfBlock(matrix, size, start, width), rows, width, width);
  for (let row = 0; row < rows; row++) {
    matrix.set(solved.subarray(row * width, (row + 1) * width), (end + row) * size + start);
  }
  return solved;
}

/** The inverse of a lower triangular block, width x width. */
function inverseOfBlock(matrix: Float64Array, size: number, start: number, width: number): Float64Array {
  const inverse = new Float64Array(width * width);
  for (let row = 0; row < width; row++) {
    const line = (start + row) * size + start;
    const pivot = matrix[line + row]!;
    for (let k = 0; k < row; k++) {
      const weight = matrix[line + k]!;
      for (let col = 0; col <= k; col++) {
        inverse[row * width + col]! -= weight * inverse[k * width + col]!;
      }
    }
    for (let col = 0; col < row; col++) {
      inverse[row * width + col]! /= pivot;
    }
    inverse[row * width + row] = 1 / pivot;
  }
  return inverse;
}

/** (L L^T)^-1, size x size, row-major; only its lower triangle is meant to be read. */
export function inverseOf({ size, lower }: Cholesky): Float64Array {
  const out = new Float64Array(size * size);
  gram(transposed(inverseOfBlock(lower, size, 0, size), size, size), size, size, out, size);
  return out;
}

/**
 * Solves L x = b in place.
 *
 * @param first entries of b before this one are zero
 */
export function solveLower({ size, lower }: Cholesky, b: Float64Array, first = 0): Float64Array {
  for (let row = first; row < size; row++) {
    const line = row * size;
    let even = b[row]!;
    let odd = 0;
    const whole = row - ((row - first) % 2);
    for (let k = first; k < whole; k += 2) {
      even -= lower[line + k]! * b[k]!;
      odd -= lower[line + k + 1]! * b[k + 1]!;
    }
    if (whole < row) {
      even -= lower[line + whole]! * b[whole]!;
    }
    b[row] = (even + odd) / lower[line + row]!;
  }
  return b;
}

/**
 * L^-1, row-major, and its transpose.
 *
 * @param pause before each column
 */
export async function inverseLower(
  factor: Cholesky,
  pause: () => Promise<unknown> = () => Promise.resolve(),
): Promise<{ inverse: Float64Array; columns: Float64Array }> {
  const { size } = factor;
  const columns = new Float64Array(size * size);
  for (let at = 0; at < size; at++) {
    await pause();
    columns[at * size + at] = 1;
    solveLower(factor, columns.subarray(at * size, (at + 1) * size), at);
  }
  return { inverse: transposed(columns, size, size), columns };
}

/** Below so many right-hand sides, substitution is cheaper than the blocks' inverses. */
const FEW_ROWS = 16;

/**
 * Solves L x = b in place for many right-hand sides, by blocks.
 *
 * @param rows n x size, row-major: each row a b
 */
export async function solveLowerRows(factor: Cholesky, rows: Float64Array, product: ProductKernel): Promise<void> {
  const { size, lower } = factor;
  const count = rows.length / size;
  if (count < FEW_ROWS) {
    for (let row = 0; row < count; row++) {
      solveLower(factor, rows.subarray(row * size, (row + 1) * size));
    }
    return;
  }
  for (let start = 0; start < size; start += BLOCK) {
    const end = Math.min(start + BLOCK, size);
    const width = end - start;
    const block = columnsBetween(rows, size, start, end, 0, count);
    if (start > 0) {
      const before = columnsBetween(rows, size, 0, start, 0, count);
      const known = await product(before, columnsBetween(lower, size, 0, start, start, end), count, width, start);
      for (let at = 0; at < block.length; at++) {
        block[at]! -= known[at]!;
      }
    }
    const solved = await product(block, inverseOfBlock(lower, size, start, width), count, width, width);
    for (let row = 0; row < count; row++) {
      rows.set(solved.subarray(row * width, (row + 1) * width), row * size + start);
    }
  }
}

function columnsBetween(
  matrix: Float64Array,
  size: number,
  from: number,
  to: number,
  firstRow: number,
  endRow: number,
): Float64Array {
  const width = to - from;
  const out = new Float64Array((endRow - firstRow) * width);
  for (let row = firstRow; row < endRow; row++) {
    out.set(matrix.subarray(row * size + from, row * size + to), (row - firstRow) * width);
  }
  return out;
}

/** Solves L^T x = b in place. */
export function solveUpper({ size, lower }: Cholesky, b: Float64Array): Float64Array {
  for (let row = size - 1; row >= 0; row--) {
    const value = b[row]! / lower[row * size + row]!;
    b[row] = value;
    const line = row * size;
    for (let k = 0; k < row; k++) {
      b[k]! -= value * lower[line + k]!;
    }
  }
  return b;
}
