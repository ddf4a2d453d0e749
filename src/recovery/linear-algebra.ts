import { dotAt, norm } from './vectors.js';

/** Dense float64 matrices of classifier heads and layers, row-major, and their products. */

export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  /** rows x cols, row-major. */
  readonly data: Float64Array;
}

/** A x, with x of length `cols`; the result has length `rows`. */
export function multiply({ rows, cols, data }: Matrix, x: Float64Array): Float64Array {
  const out = new Float64Array(rows);
  const whole = rows - (rows % 4);
  // Four rows at a time: x is then read a quarter as often.
  for (let row = 0; row < whole; row += 4) {
    const r0 = row * cols;
    const r1 = r0 + cols;
    const r2 = r1 + cols;
    const r3 = r2 + cols;
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let col = 0; col < cols; col++) {
      const value = x[col]!;
      s0 += data[r0 + col]! * value;
      s1 += data[r1 + col]! * value;
      s2 += data[r2 + col]! * value;
      s3 += data[r3 + col]! * value;
    }
    out[row] = s0;
    out[row + 1] = s1;
    out[row + 2] = s2;
    out[row + 3] = s3;
  }
  for (let row = whole; row < rows; row++) {
    out[row] = dotAt(data, row * cols, x, cols);
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
  const whole = inner - (inner % 4);
  for (let k = 0; k < whole; k += 4) {
    const b0 = k * cols;
    const b1 = b0 + cols;
    const b2 = b1 + cols;
    const b3 = b2 + cols;
    // Four rows of B into two of the result: each number that is read is used more than once.
    for (let row = 0; row < rows; row += 2) {
      const below = row + 1 < rows;
      const a0 = row * inner + k;
      const a1 = below ? a0 + inner : a0;
      const w00 = a[a0]!;
      const w01 = a[a0 + 1]!;
      const w02 = a[a0 + 2]!;
      const w03 = a[a0 + 3]!;
      const t0 = row * cols;
      if (!below) {
        for (let col = 0; col < cols; col++) {
          out[t0 + col]! += w00 * b[b0 + col]! + w01 * b[b1 + col]! + (w02 * b[b2 + col]! + w03 * b[b3 + col]!);
        }
        continue;
      }
      const w10 = a[a1]!;
      const w11 = a[a1 + 1]!;
      const w12 = a[a1 + 2]!;
      const w13 = a[a1 + 3]!;
      const t1 = t0 + cols;
      for (let col = 0; col < cols; col++) {
        const v0 = b[b0 + col]!;
        const v1 = b[b1 + col]!;
        const v2 = b[b2 + col]!;
        const v3 = b[b3 + col]!;
        out[t0 + col]! += w00 * v0 + w01 * v1 + (w02 * v2 + w03 * v3);
        out[t1 + col]! += w10 * v0 + w11 * v1 + (w12 * v2 + w13 * v3);
      }
    }
  }
  for (let k = whole; k < inner; k++) {
    for (let row = 0; row < rows; row++) {
      const weight = a[row * inner + k]!;
      for (let col = 0; col < cols; col++) {
        out[row * cols + col]! += weight * b[k * cols + col]!;
      }
    }
  }
  return out;
}

/** A B^T, all row-major: rows x inner and cols x inner give rows x cols. */
export function productWithTransposed(
  a: Float64Array,
  b: Float64Array,
  rows: number,
  cols: number,
  inner: number,
): Float64Array {
  const out = new Float64Array(rows * cols);
  for (let row = 0; row < rows; row += 4) {
    for (let col = 0; col < cols; col += 2) {
      fourByTwo(a, b, { row, rows, col, cols, inner }, out, cols);
    }
  }
  return out;
}

/**
 * A A^T, rows x rows, of which only the lower triangle is meant to be read.
 *
 * @param a rows x inner, row-major
 * @param out row-major with `stride` numbers a row; what lies above the diagonal's blocks is left as it is
 */
export function gram(a: Float64Array, rows: number, inner: number, out: Float64Array, stride: number): void {
  for (let row = 0; row < rows; row += 4) {
    const end = Math.min(row + 4, rows);
    for (let col = 0; col < end; col += 2) {
      fourByTwo(a, a, { row, rows, col, cols: end, inner }, out, stride);
    }
  }
}

/** Eight of a product's numbers at once: of six numbers that are read come eight products. */
function fourByTwo(
  a: Float64Array,
  b: Float64Array,
  at: { row: number; rows: number; col: number; cols: number; inner: number },
  out: Float64Array,
  stride: number,
): void {
  const { row, rows, col, cols, inner } = at;
  const r1 = Math.min(row + 1, rows - 1);
  const r2 = Math.min(row + 2, rows - 1);
  const r3 = Math.min(row + 3, rows - 1);
  const c1 = Math.min(col + 1, cols - 1);
  const a0 = row * inner;
  const a1 = r1 * inner;
  const a2 = r2 * inner;
  const a3 = r3 * inner;
  const b0 = col * inner;
  const b1 = c1 * inner;
  let s00 = 0;
  let s01 = 0;
  let s10 = 0;
  let s11 = 0;
  let s20 = 0;
  let s21 = 0;
  let s30 = 0;
  let s31 = 0;
  for (let k = 0; k < inner; k++) {
    const u = b[b0 + k]!;
    const v = b[b1 + k]!;
    const w0 = a[a0 + k]!;
    const w1 = a[a1 + k]!;
    const w2 = a[a2 + k]!;
    const w3 = a[a3 + k]!;
    s00 += w0 * u;
    s01 += w0 * v;
    s10 += w1 * u;
    s11 += w1 * v;
    s20 += w2 * u;
    s21 += w2 * v;
    s30 += w3 * u;
    s31 += w3 * v;
  }
  // Rows and columns beyond the edge were computed again, with the same values.
  out[r3 * stride + c1] = s31;
  out[r3 * stride + col] = s30;
  out[r2 * stride + c1] = s21;
  out[r2 * stride + col] = s20;
  out[r1 * stride + c1] = s11;
  out[r1 * stride + col] = s10;
  out[row * stride + c1] = s01;
  out[row * stride + col] = s00;
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
