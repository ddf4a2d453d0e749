/** Dense float64 vectors: products, lengths and multiples. */

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

/** x times a number, as a new vector. */
export function scaled(x: Float64Array, factor: number): Float64Array {
  return x.map((value) => value * factor);
}

/** Vectors of equal length one after the other. */
export function joined(vectors: readonly Float64Array[]): Float64Array {
  const out = new Float64Array(vectors.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const vector of vectors) {
    out.set(vector, at);
    at += vector.length;
  }
  return out;
}

/** Infinity for none. Data is too long to be spread into arguments. */
export function least(values: Iterable<number>): number {
  let found = Infinity;
  for (const value of values) {
    found = Math.min(found, value);
  }
  return found;
}

/** -Infinity for none. */
export function most(values: Iterable<number>): number {
  let found = -Infinity;
  for (const value of values) {
    found = Math.max(found, value);
  }
  return found;
}

/**
 * What of a vector lies outside of a space.
 *
 * @param basis orthonormal
 */
export function withoutShares(vector: Float64Array, basis: readonly Float64Array[]): Float64Array {
  const rest = vector.slice();
  for (const own of basis) {
    const share = dot(rest, own);
    for (let at = 0; at < rest.length; at++) {
      rest[at]! -= share * own[at]!;
    }
  }
  return rest;
}

/** Gram-Schmidt: of each vector what lies outside of those before it, of length one. */
export function orthonormalised(vectors: readonly Float64Array[]): Float64Array[] {
  const done: Float64Array[] = [];
  for (const vector of vectors) {
    done.push(orthonormal(vector, done));
  }
  return done;
}

/**
 * What of a vector lies outside of a space, of length one; twice, as once leaves what rounding makes of the first time.
 *
 * @param basis orthonormal
 */
export function orthonormal(vector: Float64Array, basis: readonly Float64Array[]): Float64Array {
  let rest = vector;
  for (let pass = 0; pass < 2; pass++) {
    rest = withoutShares(rest, basis);
    const length = norm(rest);
    rest.forEach((value, at) => (rest[at] = value / length));
  }
  return rest;
}
