/** Least squares of a linear map that is only known by its products: CGLS (Hestenes and Stiefel, 1952). */

import { dot } from './vectors.js';

export interface LinearMap {
  /** A x */
  readonly forward: (x: Float64Array) => Promise<Float64Array>;
  /** A^T y */
  readonly back: (y: Float64Array) => Promise<Float64Array>;
}

/**
 * Yields x after each step, the residual's length falling; the first steps settle what shows most.
 *
 * @param target y in A x = y
 */
export async function* leastSquaresSteps(
  { forward, back }: LinearMap,
  target: Float64Array,
  steps: number,
): AsyncGenerator<Float64Array, undefined> {
  const rest = target.slice();
  let slope = await back(rest);
  const x = new Float64Array(slope.length);
  const direction = slope.slice();
  let size = dot(slope, slope);
  for (let step = 0; step < steps && size > 0; step++) {
    const moved = await forward(direction);
    const length = size / dot(moved, moved);
    if (!Number.isFinite(length)) {
      return undefined;
    }
    direction.forEach((value, at) => (x[at]! += length * value));
    moved.forEach((value, at) => (rest[at]! -= length * value));
    slope = await back(rest);
    const next = dot(slope, slope);
    direction.forEach((value, at) => (direction[at] = slope[at]! + (next / size) * value));
    size = next;
    yield x;
  }
  return undefined;
}
