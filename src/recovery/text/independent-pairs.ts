import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower } from '../cholesky.js';
import type { Pause } from '../pause.js';
import { norm } from '../vectors.js';
import { FARTHEST } from './input-space.js';

/** Of a vector's length, this much outside of all others is more than any candidate's distance to the space. */
const INDEPENDENT = 2 * FARTHEST;
/** Far below that, squared, and above rounding. */
const RIDGE = 1e-10;

/**
 * Which candidates for vectors of a batch are certainly of it: the batch's vectors are among the candidates, and what is not of the
 * batch lies in their span. So a candidate that lies outside of the span of all others is of the batch.
 *
 * @param vectors n x width, row-major, none zero
 * @returns n of them
 */
export async function areIndependent(
  vectors: Float64Array,
  width: number,
  product: ProductKernel,
  pause: Pause,
): Promise<boolean[]> {
  const count = vectors.length / width;
  const unit = vectors.slice();
  for (let start = 0; start < unit.length; start += width) {
    const own = unit.subarray(start, start + width);
    const length = norm(own);
    own.forEach((value, at) => (own[at] = value / length));
  }
  const gram = await product(unit, unit, count, count, width);
  for (let at = 0; at < count; at++) {
    gram[at * count + at]! += RIDGE;
  }
  const factor = await factorise(gram, count, product);
  const found: boolean[] = [];
  for (let at = 0; at < count; at++) {
    await pause();
    const column = new Float64Array(count);
    column[at] = 1;
    // A diagonal entry of the inverse is one over the square of what the others leave of the vector.
    found.push(1 / norm(solveLower(factor, column, at)) > INDEPENDENT);
  }
  return found;
}
