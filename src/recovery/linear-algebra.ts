/** Dense float64 linear algebra for classifier heads; matrices are row-major. */

export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  /** rows x cols, row-major. */
  readonly data: Float64Array;
}

/** sum_i x[i] y[i] over vectors of equal length. */
export function dot(x: Float64Array, y: Float64Array): number {
  return dotAt(x, 0, y, x.length);
}

/** Four running sums let the processor overlap the multiplications; they also lose less to rounding. */
function dotAt(data: Float64Array, start: number, y: Float64Array, length: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  const whole = length - (length % 4);
  for (let i = 0; i < whole; i += 4) {
    s0 += data[start + i]! * y[i]!;
    s1 += data[start + i + 1]! * y[i + 1]!;
    s2 += data[start + i + 2]! * y[i + 2]!;
    s3 += data[start + i + 3]! * y[i + 3]!;
  }
  for (let i = whole; i < length; i++) {
    s0 += data[start + i]! * y[i]!;
  }
  return s0 + s1 + (s2 + s3);
}

/** Euclidean norm of a vector, Frobenius norm of a matrix's data. */
export function norm(x: Float64Array): number {
  return Math.sqrt(dot(x, x));
}

/** A x, with x of length `cols`; the result has length `rows`. */
export function multiply(a: Matrix, x: Float64Array): Float64Array {
  const out = new Float64Array(a.rows);
  for (let row = 0; row < a.rows; row++) {
    out[row] = dotAt(a.data, row * a.cols, x, a.cols);
  }
  return out;
}

/** A^T y, with y of length `rows`; the result has length `cols`. */
export function multiplyTransposed(a: Matrix, y: Float64Array): Float64Array {
  const out = new Float64Array(a.cols);
  for (let row = 0; row < a.rows; row++) {
    const weight = y[row]!;
    if (weight !== 0) {
      const start = row * a.cols;
      for (let col = 0; col < a.cols; col++) {
        out[col]! += weight * a.data[start + col]!;
      }
    }
  }
  return out;
}

/** Euclidean norm of each row. */
export function rowNorms(a: Matrix): Float64Array {
  const out = new Float64Array(a.rows);
  for (let row = 0; row < a.rows; row++) {
    const values = a.data.subarray(row * a.cols, (row + 1) * a.cols);
    out[row] = norm(values);
  }
  return out;
}

/** x times a number, as a new vector. */
export function scaled(x: Float64Array, factor: number): Float64Array {
  return x.map((value) => value * factor);
}

/** The transpose, as a new matrix. */
export function transpose(a: Matrix): Matrix {
  const data = new Float64Array(a.data.length);
  for (let row = 0; row < a.rows; row++) {
    for (let col = 0; col < a.cols; col++) {
      data[col * a.rows + row] = a.data[row * a.cols + col]!;
    }
  }
  return { rows: a.cols, cols: a.rows, data };
}

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
  let v = scaled(a.data.subarray(longest * a.cols, (longest + 1) * a.cols), 1 / norms[longest]!);
  let u = multiply(a, v);
  for (let iteration = 0; iteration < POWER_ITERATIONS; iteration++) {
    const w = multiplyTransposed(a, u);
    const length = norm(w);
    const next = scaled(w, 1 / length);
    const change = 1 - Math.abs(dot(v, next));
    v = next;
    u = multiply(a, v);
    if (change < 1e-15) {
      break;
    }
  }
  return { u, v, residual: residualNorm(a, u, v), total };
}

/** ||A - u v^T||_F by its entries: subtracting squared norms would lose everything below 1e-8. */
export function residualNorm(a: Matrix, u: Float64Array, v: Float64Array): number {
  let sum = 0;
  for (let row = 0; row < a.rows; row++) {
    const start = row * a.cols;
    const weight = u[row]!;
    for (let col = 0; col < a.cols; col++) {
      const rest = a.data[start + col]! - weight * v[col]!;
      sum += rest * rest;
    }
  }
  return Math.sqrt(sum);
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

/**
 * Singular values, largest first, down to `floor` (absolute) and at most `most` of them: Gram-Schmidt on
 * the rows with pivoting (twice, for orthogonality), then one-sided Jacobi on the small factor.
 * Values near the floor are accurate to the floor itself. Costs O(rows cols rank).
 *
 * @param pause called between pivots with how many are done, so that a caller can report and cancel
 */
export async function singularValues(
  a: Matrix,
  floor: number,
  most: number,
  pause: (pivots: number) => Promise<void>,
): Promise<Float64Array> {
  const rest = a.data.slice();
  const factors: Float64Array[] = [];
  const limit = Math.min(a.rows, a.cols, most);
  const squares = new Float64Array(a.rows);
  for (let row = 0; row < a.rows; row++) {
    const values = rest.subarray(row * a.cols, (row + 1) * a.cols);
    squares[row] = dot(values, values);
  }
  while (factors.length < limit) {
    const left = squares.reduce((sum, value) => sum + value, 0);
    if (Math.sqrt(left) <= floor) {
      break;
    }
    const pivot = squares.indexOf(squares.reduce((top, value) => Math.max(top, value), 0));
    const length = Math.sqrt(squares[pivot]!);
    if (!(length > 0)) {
      break;
    }
    const direction = scaled(rest.subarray(pivot * a.cols, (pivot + 1) * a.cols), 1 / length);
    factors.push(projectOut(a, rest, direction, squares));
    await pause(factors.length);
  }
  return jacobiSingularValues(factors);
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

/** One-sided Jacobi (Hestenes): rotates pairs of columns until all are orthogonal; their norms are the singular values. */
function jacobiSingularValues(columns: Float64Array[]): Float64Array {
  for (let sweep = 0; sweep < 30; sweep++) {
    let rotated = false;
    for (let p = 0; p < columns.length - 1; p++) {
      for (let q = p + 1; q < columns.length; q++) {
        rotated = rotatePair(columns[p]!, columns[q]!) || rotated;
      }
    }
    if (!rotated) {
      break;
    }
  }
  return Float64Array.from(columns, norm).sort().reverse();
}

function rotatePair(x: Float64Array, y: Float64Array): boolean {
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
  for (let i = 0; i < x.length; i++) {
    const xi = x[i]!;
    const yi = y[i]!;
    x[i] = c * xi - s * yi;
    y[i] = s * xi + c * yi;
  }
  return true;
}
