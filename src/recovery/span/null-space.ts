import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower, solveUpper } from '../cholesky.js';
import { gaussian } from '../gaussian.js';
import type { Pause } from '../pause.js';
import { symmetricEigen } from '../symmetric-eigen.js';
import { orthonormalised } from '../vectors.js';

/** The smallest eigenvalues of a positive semi-definite matrix, and their eigenvectors. */
export interface SmallEigen {
  /** Smallest first. */
  readonly values: Float64Array;
  /** Orthonormal. */
  readonly vectors: readonly Float64Array[];
}

const MOST_STEPS = 12;
/** Relative to the diagonal: far below the first eigenvalue that is not zero, far above rounding. */
const SHIFT = 1e-9;

/**
 * Inverse iteration on a block of vectors, with one factorisation.
 *
 * @param matrix size x size, row-major; overwritten
 * @param count how many are wanted
 */
export async function smallestEigen(
  matrix: Float64Array,
  size: number,
  count: number,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<SmallEigen> {
  let largest = 0;
  for (let at = 0; at < size; at++) {
    largest = Math.max(largest, matrix[at * size + at]!);
  }
  const original = matrix.slice();
  for (let at = 0; at < size; at++) {
    matrix[at * size + at]! += SHIFT * largest;
  }
  await pause();
  const factor = await factorise(matrix, size, product);
  const wanted = Math.min(count, size);
  let block = orthonormalised(
    Array.from({ length: wanted }, () => Float64Array.from({ length: size }, () => gaussian(random))),
  );
  let values = new Float64Array(wanted);
  for (let step = 0; step < MOST_STEPS; step++) {
    await pause();
    block = orthonormalised(block.map((vector) => solveUpper(factor, solveLower(factor, vector))));
    const flat = new Float64Array(wanted * size);
    block.forEach((vector, at) => {
      flat.set(vector, at * size);
    });
    const applied = await product(flat, original, wanted, size, size);
    const small = await product(flat, applied, wanted, wanted, size);
    const { values: found, vectors } = symmetricEigen(symmetric(small, wanted), wanted);
    block = Array.from({ length: wanted }, (_, e) =>
      combination(block, vectors.subarray(e * wanted, (e + 1) * wanted)),
    );
    const settled = found.every(
      (value, at) => Math.abs(value - values[at]!) <= 1e-3 * Math.max(Math.abs(value), 1e-15 * largest),
    );
    values = Float64Array.from(found);
    if (settled) {
      break;
    }
  }
  return { values: values.map((value) => value / largest), vectors: block };
}

function symmetric(matrix: Float64Array, size: number): Float64Array {
  return matrix.map((value, at) => (value + matrix[(at % size) * size + Math.floor(at / size)]!) / 2);
}

function combination(vectors: readonly Float64Array[], weights: Float64Array): Float64Array {
  const out = new Float64Array(vectors[0]!.length);
  vectors.forEach((vector, at) => {
    const weight = weights[at]!;
    vector.forEach((value, i) => {
      out[i]! += weight * value;
    });
  });
  return out;
}
