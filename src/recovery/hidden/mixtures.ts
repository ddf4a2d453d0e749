import type { Matrix } from '../linear-algebra.js';
import { smallSvd } from '../truncated-svd.js';
import { dot, norm, scaled, withoutShares } from '../vectors.js';

/** Mixtures of a few vectors: bases, coordinates, duals. */

/** What a new mixture must have outside of those before it. */
export const INDEPENDENT = 1e-2;

/** Of a vector in an orthonormal basis. */
export function coordinates(basis: readonly Float64Array[], vector: Float64Array): Float64Array {
  return Float64Array.from(basis, (own) => dot(own, vector));
}

/** The vector of some shares of a basis, which is not empty. */
export function mixed(basis: readonly Float64Array[], shares: Float64Array): Float64Array {
  const out = new Float64Array(basis[0]!.length);
  basis.forEach((own, at) => own.forEach((value, k) => (out[k]! += shares[at]! * value)));
  return out;
}

/** Vectors of equal length as the columns of a matrix. */
export function columnsOf(vectors: readonly Float64Array[]): Matrix {
  const cols = vectors.length;
  const rows = vectors[0]?.length ?? 0;
  const data = new Float64Array(rows * cols);
  vectors.forEach((vector, col) => vector.forEach((own, row) => (data[row * cols + col] = own)));
  return { rows, cols, data };
}

/** The vectors that have something outside of those before them, and that part. */
export function independent(vectors: readonly Float64Array[]): { vector: Float64Array; unit: Float64Array }[] {
  const kept: { vector: Float64Array; unit: Float64Array }[] = [];
  for (const vector of vectors) {
    const rest = withoutShares(
      vector,
      kept.map(({ unit }) => unit),
    );
    const length = norm(rest);
    if (length > INDEPENDENT) {
      kept.push({ vector, unit: scaled(rest, 1 / length) });
    }
  }
  return kept;
}

/** Rows of the inverse of a square matrix given by its columns; undefined where it has none. */
export function inverseOf(columns: readonly Float64Array[]): Float64Array[] | undefined {
  const size = columns.length;
  const { values, left, right, rank } = smallSvd(columns.map((own) => own.slice()));
  if (rank < size) {
    return undefined;
  }
  return Array.from({ length: size }, (_, row) =>
    Float64Array.from({ length: size }, (__, col) => {
      let sum = 0;
      for (let k = 0; k < size; k++) {
        sum += (right[row * rank + k]! * left[col * rank + k]!) / values[k]!;
      }
      return sum;
    }),
  );
}
