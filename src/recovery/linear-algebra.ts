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
  const { rows, cols, data } = a;
  const out = new Float64Array(cols);
  const whole = rows - (rows % 4);
  // Four rows at a time: the result is then read and written a quarter as often.
  for (let row = 0; row < whole; row += 4) {
    const y0 = y[row]!;
    const y1 = y[row + 1]!;
    const y2 = y[row + 2]!;
    const y3 = y[row + 3]!;
    const r0 = row * cols;
    const r1 = r0 + cols;
    const r2 = r1 + cols;
    const r3 = r2 + cols;
    for (let col = 0; col < cols; col++) {
      out[col]! += y0 * data[r0 + col]! + y1 * data[r1 + col]! + (y2 * data[r2 + col]! + y3 * data[r3 + col]!);
    }
  }
  for (let row = whole; row < rows; row++) {
    const weight = y[row]!;
    const start = row * cols;
    for (let col = 0; col < cols; col++) {
      out[col]! += weight * data[start + col]!;
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

/** A x B, all row-major: rows x inner times inner x cols. */
export function matrixProduct(
  a: Float64Array,
  b: Float64Array,
  rows: number,
  inner: number,
  cols: number,
): Float64Array {
  const out = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const to = row * cols;
    for (let k = 0; k < inner; k++) {
      const weight = a[row * inner + k]!;
      const from = k * cols;
      for (let col = 0; col < cols; col++) {
        out[to + col]! += weight * b[from + col]!;
      }
    }
  }
  return out;
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
  pause: (pivots: number) => Promise<void>,
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
