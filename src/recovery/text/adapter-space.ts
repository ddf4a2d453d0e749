import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise } from '../cholesky.js';
import { transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { norm, orthonormal } from '../vectors.js';
import { mapped } from './first-inputs.js';
import { type Distance, type InputSpace, distancesTo, inputSpaceOf } from './input-space.js';

/**
 * Where the inputs z_t of layers with an adapter have to lie: y = W z + s B A z has the gradients dA = s sum_t B^T d_t z_t^T,
 * whose rows are combinations of the inputs, and dB = s sum_t d_t (A z_t)^T, whose rows are combinations of A z_t.
 */
export interface AdapterSpace {
  /** By what a vector is multiplied before it is compared, space.width x inputs; null where it is compared itself. */
  readonly map: Float64Array | null;
  readonly space: InputSpace;
  /** As many directions are used as there are: inputs beyond would hide all. */
  readonly isFull: boolean;
}

/** A rank that shows less clearly is taken for a full one, which loses no input. */
export const CLEAR_GAP = 30;

/**
 * From gradients of lora_A, of maps that share their input one below the other.
 *
 * @param gradient rows x width, row-major, with fewer rows than columns
 * @param error relative error of each number
 * @returns undefined where it is zero
 */
export async function spaceOfFirstFactors(
  gradient: Float64Array,
  width: number,
  error: number,
  product: ProductKernel,
  pause: Pause,
): Promise<AdapterSpace | undefined> {
  const found = await inputSpaceOf(gradient, width, error, product, pause);
  if (found && found.gap >= CLEAR_GAP) {
    return { map: null, space: found, isFull: false };
  }
  const space = await spaceOfAllRows(gradient, width, error, product);
  return space && { map: null, space, isFull: true };
}

/**
 * From the gradient of one lora_B.
 *
 * @param gradient outputs x rank, row-major
 * @param map lora_A, rank x inputs
 * @returns undefined where the rank is full, or nearly
 */
export async function spaceOfSecondFactor(
  gradient: Float64Array,
  map: Float64Array,
  rank: number,
  error: number,
  product: ProductKernel,
  pause: Pause,
): Promise<AdapterSpace | undefined> {
  const space = await inputSpaceOf(gradient, rank, error, product, pause);
  return space && { map, space, isFull: false };
}

/** Of float32's rounding, as sums of products have it, in each number of a row of length one. */
const SUMS_ERROR = 4;

async function spaceOfAllRows(
  gradient: Float64Array,
  width: number,
  error: number,
  product: ProductKernel,
): Promise<InputSpace | undefined> {
  const directions: Float64Array[] = [];
  const rows: Float64Array[] = [];
  for (let start = 0; start < gradient.length; start += width) {
    const row = gradient.slice(start, start + width);
    const length = norm(row);
    if (length > 0) {
      rows.push(row.map((value) => value / length));
      directions.push(orthonormal(row, directions));
    }
  }
  const rank = rows.length;
  if (rank === 0 || rank >= width) {
    return undefined;
  }
  const basis = new Float64Array(rank * width);
  const all = new Float64Array(rank * width);
  directions.forEach((direction, at) => {
    basis.set(direction, at * width);
    all.set(rows[at]!, at * width);
  });
  const along = await product(basis, all, rank, rank, width);
  const factor = await factorise(await product(along, along, rank, rank, rank), rank, product);
  const columns = transposed(basis, rank, width);
  return { basis, columns, rank, width, gap: 1, noise: (SUMS_ERROR * error) / Math.sqrt(width), factor };
}

/** Distances of vectors, n x width, to the space. */
export async function distancesThrough(
  { map, space }: AdapterSpace,
  vectors: Float64Array,
  width: number,
  product: ProductKernel,
): Promise<Distance[]> {
  return distancesTo(space, await mapped(vectors, map, width, product), product);
}
