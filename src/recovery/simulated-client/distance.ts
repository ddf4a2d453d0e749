import type { TensorData } from '../../graph/tensor-graph.js';
import type { Weights } from './client.js';

/** How far a simulated update is from the captured one. */
export interface Distance {
  /** Squared norm of the difference over all tensors together, relative to that of the captured update. */
  readonly loss: number;
  /** dloss/dweights after the last step. */
  readonly adjoint: Weights;
  /** The root of the loss: the share of the update that is not explained. */
  readonly error: number;
}

/**
 * All tensors together and not one by one: what an order of samples that is not the client's changes most is small tensors.
 *
 * @param start,reached weights before the first step, and after the last one as simulated
 * @param update captured: weights after minus weights before
 * @throws RangeError for an update of zeros
 */
export function distanceOf(start: Weights, reached: Weights, update: Weights): Distance {
  let misfit = 0;
  let size = 0;
  const differences = update.map((captured, index): TensorData => {
    const [before, after] = [start[index]!, reached[index]!];
    const difference = new Float64Array(captured.length);
    for (let at = 0; at < captured.length; at++) {
      const own = after[at]! - before[at]! - captured[at]!;
      difference[at] = own;
      misfit += own * own;
      size += captured[at]! * captured[at]!;
    }
    return difference;
  });
  if (size === 0) {
    throw new RangeError('The update is zero.');
  }
  for (const difference of differences) {
    for (let at = 0; at < difference.length; at++) {
      difference[at]! *= 2 / size;
    }
  }
  return { loss: misfit / size, adjoint: differences, error: Math.sqrt(misfit / size) };
}

/**
 * How far two ends of one client's training are apart, relative to the second's way: what an order of samples that is not the
 * client's may leave unexplained.
 *
 * @param start weights before the first step
 * @throws RangeError where the second end is the start
 */
export function relativeDifference(start: Weights, one: Weights, other: Weights): number {
  return distanceOf(
    start,
    one,
    other.map((data, index) => Float64Array.from(data, (own, at) => own - start[index]![at]!)),
  ).error;
}
