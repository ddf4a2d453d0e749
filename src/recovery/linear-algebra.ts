import { dotAt, norm } from './vectors.js';

/** Dense float64 matrices of classifier heads and layers, row-major, and their products. */

export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  /** rows x cols, row-major. */
  readonly data: Float64Array;
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
export function transpose({ rows, cols, data }: Matrix): Matrix {
  return { rows: cols, cols: rows, data: transposed(data, rows, cols) };
}

/** The transpose of rows x cols, row-major: cols x rows, row-major. */
export function transposed(data: Float64Array, rows: number, cols: number): Float64Array {
  const out = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      out[col * rows + row] = data[row * cols + col]!;
    }
  }
  return out;
}

/** The matrix with one more column on its right, of length `rows`. */
export function withColumn({ rows, cols, data }: Matrix, column: Float64Array): Matrix {
  const wide = cols + 1;
  const out = new Float64Array(rows * wide);
  for (let row = 0; row < rows; row++) {
    out.set(data.subarray(row * cols, (row + 1) * cols), row * wide);
    out[row * wide + cols] = column[row]!;
  }
  return { rows, cols: wide, data: out };
}
