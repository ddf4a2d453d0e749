import { type Matrix, multiply, multiplyTransposed, rowNorms } from './linear-algebra.js';
import { dot, norm, scaled } from './vectors.js';

/** The best approximation of a matrix by one of rank one. */

export interface RankOne {
  /** Left factor, length `rows`; its norm is the first singular value. */
  readonly u: Float64Array;
  /** Right factor, length `cols`, norm 1. */
  readonly v: Float64Array;
  /** ||A - u v^T||_F. */
  readonly residual: number;
  /** ||A||_F. */
  readonly total: number;
}

const POWER_ITERATIONS = 60;

/**
 * The best rank-one approximation A = u v^T, by power iteration from A's longest row.
 *
 * A gradient of one sample is rank one up to rounding, so two or three iterations suffice; a batch's
 * gradient may need all of them and is then judged by its residual anyway.
 *
 * @throws RangeError when A is all zero
 */
export function rankOne(a: Matrix): RankOne {
  const norms = rowNorms(a);
  const total = norm(norms);
  if (!(total > 0)) {
    throw new RangeError('A zero matrix has no direction.');
  }
  const longest = norms.indexOf(norms.reduce((most, value) => Math.max(most, value), 0));
  const v = scaled(a.data.subarray(longest * a.cols, (longest + 1) * a.cols), 1 / norms[longest]!);
  const { u, v: direction } = iterate(
    v,
    (x) => multiply(a, x),
    (y) => multiplyTransposed(a, y),
  );
  return { u, v: direction, residual: residualNorm(a, u, direction), total };
}

/**
 * The best rank-one approximation of [A | column], from that of A: two samples' worth of passes less than
 * starting afresh. Its `v` has length `cols + 1`.
 */
export function rankOneWithColumn(a: Matrix, column: Float64Array, start: RankOne): RankOne {
  const size = norm(start.u);
  const last = dot(column, start.u) / (size * size);
  const length = Math.hypot(1, last);
  const v = new Float64Array(a.cols + 1);
  v.set(start.v);
  v[a.cols] = last;
  const found = iterate(
    scaled(v, 1 / length),
    (x) => {
      const product = multiply(a, x.subarray(0, a.cols));
      return product.map((value, row) => value + column[row]! * x[a.cols]!);
    },
    (y) => {
      const out = new Float64Array(a.cols + 1);
      out.set(multiplyTransposed(a, y));
      out[a.cols] = dot(column, y);
      return out;
    },
  );
  const weight = found.v[a.cols]!;
  const rest = column.map((value, row) => value - found.u[row]! * weight);
  return {
    ...found,
    residual: Math.hypot(residualNorm(a, found.u, found.v.subarray(0, a.cols)), norm(rest)),
    total: Math.hypot(start.total, norm(column)),
  };
}

function iterate(
  start: Float64Array,
  forward: (x: Float64Array) => Float64Array,
  back: (y: Float64Array) => Float64Array,
): Pick<RankOne, 'u' | 'v'> {
  let v = start;
  let u = forward(v);
  for (let iteration = 0; iteration < POWER_ITERATIONS; iteration++) {
    const w = back(u);
    const next = scaled(w, 1 / norm(w));
    const change = 1 - Math.abs(dot(v, next));
    v = next;
    u = forward(v);
    // One more step would gain a further factor (second / first singular value) squared, so this is converged.
    if (change < 1e-14) {
      break;
    }
  }
  return { u, v };
}

/** ||A - u v^T||_F by its entries: subtracting squared norms would lose everything below 1e-8. */
export function residualNorm(a: Matrix, u: Float64Array, v: Float64Array): number {
  const { rows, cols, data } = a;
  let even = 0;
  let odd = 0;
  const whole = cols - (cols % 2);
  for (let row = 0; row < rows; row++) {
    const start = row * cols;
    const weight = u[row]!;
    for (let col = 0; col < whole; col += 2) {
      const first = data[start + col]! - weight * v[col]!;
      const second = data[start + col + 1]! - weight * v[col + 1]!;
      even += first * first;
      odd += second * second;
    }
    if (whole < cols) {
      const last = data[start + whole]! - weight * v[whole]!;
      even += last * last;
    }
  }
  return Math.sqrt(even + odd);
}

/** A - u v^T as a new matrix. */
export function deflate(a: Matrix, { u, v }: Pick<RankOne, 'u' | 'v'>): Matrix {
  const data = new Float64Array(a.data.length);
  for (let row = 0; row < a.rows; row++) {
    const start = row * a.cols;
    for (let col = 0; col < a.cols; col++) {
      data[start + col] = a.data[start + col]! - u[row]! * v[col]!;
    }
  }
  return { rows: a.rows, cols: a.cols, data };
}
