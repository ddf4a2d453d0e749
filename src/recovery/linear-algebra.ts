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
export function dotAt(data: Float64Array, start: number, y: Float64Array, length: number): number {
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
