import { type Matrix, multiply, multiplyTransposed } from './linear-algebra.js';
import { dot, dotAt, norm, scaled } from './vectors.js';
import type { Pause } from './pause.js';

/** Singular values and vectors above a floor, the small ones as exact as the large ones. */

/** When to stop looking for directions in a matrix. */
export interface Pivoting {
  /** Singular values below this (absolute) are not wanted. */
  readonly floor: number;
  readonly most: number;
  /** Stop once the longest row of the rest, squared, is below this many times the mean: white noise. */
  readonly flat?: number | undefined;
  /** Leave the factors out when `most` was reached and only whether it was is of interest. */
  readonly unlessSaturated?: boolean;
}

/** A = left diag(values) right^T + rest, with orthonormal columns. */
export interface TruncatedSvd {
  readonly rank: number;
  /** Largest first. */
  readonly values: Float64Array;
  /** rows x rank, row-major. */
  readonly left: Float64Array;
  /** cols x rank, row-major. */
  readonly right: Float64Array;
  /** Frobenius norm of the rest. */
  readonly residual: number;
  /** Largest singular value of the rest, from a few power steps; 0 when it was not looked for. */
  readonly next: number;
  /** True when the search ended at `most`, not at the floor. */
  readonly saturated: boolean;
}

/**
 * The singular values above a floor with their vectors: Gram-Schmidt on the rows with pivoting, the rest's largest
 * direction by power steps until it is below the floor, then one-sided Jacobi. Small values are as accurate,
 * relative to themselves, as large ones. Costs O(rows cols rank).
 *
 * @param pause called between pivots and rotations with how many pivots are done, so that a caller can report and cancel
 */
export async function truncatedSvd(
  a: Matrix,
  { floor, most, flat, unlessSaturated = false }: Pivoting,
  pause: Pause<number>,
): Promise<TruncatedSvd> {
  const rest = a.data.slice();
  const directions: Float64Array[] = [];
  const factors: Float64Array[] = [];
  const limit = Math.min(a.rows, a.cols, most);
  const squares = new Float64Array(a.rows);
  for (let row = 0; row < a.rows; row++) {
    const values = rest.subarray(row * a.cols, (row + 1) * a.cols);
    squares[row] = dot(values, values);
  }
  const total = squares.reduce((sum, value) => sum + value, 0);
  const take = (direction: Float64Array): void => {
    orthogonalise(direction, directions);
    directions.push(direction);
    factors.push(projectOut(a, rest, direction, squares));
  };
  while (factors.length < limit) {
    const left = squares.reduce((sum, value) => sum + value, 0);
    const longest = squares.reduce((top, value) => Math.max(top, value), 0);
    const isFlat = flat !== undefined && longest <= (flat * left) / (a.rows - factors.length);
    if (longest <= floor * floor || left <= 1e-30 * total || isFlat) {
      break;
    }
    const pivot = squares.indexOf(longest);
    take(rest.slice(pivot * a.cols, (pivot + 1) * a.cols));
    await pause(factors.length);
  }
  let next = 0;
  while (factors.length < limit && floor > 0) {
    const { direction, value } = strongestDirection({ ...a, data: rest }, squares);
    next = value;
    if (value <= floor) {
      break;
    }
    take(direction);
    await pause(factors.length);
  }
  const left = squares.reduce((sum, value) => sum + value, 0);
  const saturated = factors.length >= limit;
  const isWanted = !(saturated && unlessSaturated);
  if (isWanted) {
    for (const _step of jacobi(factors, directions)) {
      await pause(factors.length);
    }
  }
  const svd = isWanted ? sortedSvd(factors, directions, floor) : NOTHING;
  const dropped = factors.map((factor) => dot(factor, factor)).filter((square) => square <= floor * floor);
  const residual = Math.sqrt(left + dropped.reduce((sum, square) => sum + square, 0));
  return { ...svd, residual, next: Math.max(next, ...dropped.map(Math.sqrt)), saturated };
}

const NOTHING = { rank: 0, values: new Float64Array(0), left: new Float64Array(0), right: new Float64Array(0) };

/** Twice, as once leaves what rounding makes of the first time. */
function orthogonalise(direction: Float64Array, against: readonly Float64Array[]): void {
  for (let pass = 0; pass < 2; pass++) {
    const size = norm(direction);
    direction.forEach((value, at) => (direction[at] = value / size));
    for (const other of against) {
      const along = dot(direction, other);
      for (let at = 0; at < direction.length; at++) {
        direction[at]! -= along * other[at]!;
      }
    }
  }
  const size = norm(direction);
  direction.forEach((value, at) => (direction[at] = value / size));
}

const POWER_STEPS = 12;

function strongestDirection(rest: Matrix, squares: Float64Array): { direction: Float64Array; value: number } {
  const pivot = squares.indexOf(squares.reduce((top, value) => Math.max(top, value), 0));
  let direction: Float64Array = rest.data.slice(pivot * rest.cols, (pivot + 1) * rest.cols);
  let value = 0;
  for (let step = 0; step < POWER_STEPS; step++) {
    const size = norm(direction);
    if (!(size > 0)) {
      return { direction, value: 0 };
    }
    direction = scaled(direction, 1 / size);
    const image = multiply(rest, direction);
    value = norm(image);
    direction = multiplyTransposed(rest, image);
  }
  return { direction: scaled(direction, 1 / norm(direction)), value };
}

/** Sorts sum_i factor_i direction_i^T, both orthogonal, into an SVD; values below the floor are dropped. */
function sortedSvd(
  factors: readonly Float64Array[],
  directions: readonly Float64Array[],
  floor: number,
): Pick<TruncatedSvd, 'rank' | 'values' | 'left' | 'right'> {
  const sizes = factors.map(norm);
  const order = [...sizes.keys()].filter((at) => sizes[at]! > floor).sort((i, j) => sizes[j]! - sizes[i]!);
  const rank = order.length;
  const rows = factors[0]?.length ?? 0;
  const cols = directions[0]?.length ?? 0;
  const left = new Float64Array(rows * rank);
  const right = new Float64Array(cols * rank);
  order.forEach((from, to) => {
    const size = sizes[from]!;
    factors[from]!.forEach((value, row) => (left[row * rank + to] = value / size));
    directions[from]!.forEach((value, col) => (right[col * rank + to] = value));
  });
  return { rank, values: Float64Array.from(order, (at) => sizes[at]!), left, right };
}

/** The SVD of a small square matrix given by its columns, which are overwritten. */
export function smallSvd(columns: readonly Float64Array[]): Pick<TruncatedSvd, 'rank' | 'values' | 'left' | 'right'> {
  const unit = columns.map((_, at) => {
    const vector = new Float64Array(columns.length);
    vector[at] = 1;
    return vector;
  });
  const steps = jacobi(columns, unit);
  while (steps.next().done !== true) {
    // Small enough to be done at once.
  }
  return sortedSvd(columns, unit, 0);
}

/** Removes a direction from every row, once; returns the coefficients. Residual norms are recomputed, not updated. */
function projectOut(a: Matrix, rest: Float64Array, direction: Float64Array, squares: Float64Array): Float64Array {
  const coefficients = new Float64Array(a.rows);
  for (let row = 0; row < a.rows; row++) {
    const start = row * a.cols;
    const coefficient = dotAt(rest, start, direction, a.cols);
    coefficients[row] = coefficient;
    let square = 0;
    for (let col = 0; col < a.cols; col++) {
      const value = rest[start + col]! - coefficient * direction[col]!;
      rest[start + col] = value;
      square += value * value;
    }
    squares[row] = square;
  }
  return coefficients;
}

/**
 * One-sided Jacobi (Hestenes): rotates pairs of columns until all are orthogonal, and the directions they belong
 * to with them; sum_i column_i direction_i^T stays the same. Yields after every column, so that a caller can breathe.
 */
function* jacobi(columns: readonly Float64Array[], directions: readonly Float64Array[]): Generator<void, void> {
  for (let sweep = 0; sweep < 30; sweep++) {
    let rotated = false;
    for (let p = 0; p < columns.length - 1; p++) {
      for (let q = p + 1; q < columns.length; q++) {
        rotated = rotatePair(columns[p]!, columns[q]!, directions[p]!, directions[q]!) || rotated;
      }
      yield;
    }
    if (!rotated) {
      break;
    }
  }
}

function rotatePair(x: Float64Array, y: Float64Array, ofX: Float64Array, ofY: Float64Array): boolean {
  const alpha = dot(x, x);
  const beta = dot(y, y);
  const gamma = dot(x, y);
  if (Math.abs(gamma) <= 1e-12 * Math.sqrt(alpha * beta) || gamma === 0) {
    return false;
  }
  const zeta = (beta - alpha) / (2 * gamma);
  const t = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const c = 1 / Math.hypot(1, t);
  const s = c * t;
  rotate(x, y, c, s);
  rotate(ofX, ofY, c, s);
  return true;
}

function rotate(x: Float64Array, y: Float64Array, c: number, s: number): void {
  for (let i = 0; i < x.length; i++) {
    const xi = x[i]!;
    const yi = y[i]!;
    x[i] = c * xi - s * yi;
    y[i] = s * xi + c * yi;
  }
}
