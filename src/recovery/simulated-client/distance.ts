import type { TensorData } from '../../graph/tensor-graph.js';
import type { Weights } from './client.js';

/** How far a simulated update is from the captured one. */

export interface Distance {
  readonly loss: number;
  /** dloss/dweights after the last step. */
  readonly adjoint: Weights;
  /** Norm of the difference over all tensors together, relative to the captured update's. */
  readonly error: number;
}

/**
 * Mean over tensors of the norm of the difference relative to the captured one's. Not squared, so that what is left to explain
 * counts the same however little that is; tensor by tensor, since those of first layers are small.
 *
 * @param start,reached weights before the first step, and after the last one as simulated
 * @param update captured: weights after minus weights before; a tensor of zeros does not count
 */
export function distanceOf(start: Weights, reached: Weights, update: Weights): Distance {
  let whole = 0;
  let difference = 0;
  let loss = 0;
  const counted = update.filter((own) => squares(own) > 0).length;
  const adjoint = update.map((captured, index): TensorData => {
    const own = new Float64Array(captured.length);
    const before = start[index]!;
    const after = reached[index]!;
    for (let at = 0; at < own.length; at++) {
      own[at] = after[at]! - before[at]! - captured[at]!;
    }
    const [misfit, size] = [squares(own), squares(captured)];
    whole += size;
    difference += misfit;
    if (size === 0 || misfit === 0) {
      return new Float64Array(own.length);
    }
    loss += Math.sqrt(misfit / size) / counted;
    const factor = 1 / (counted * Math.sqrt(misfit * size));
    return own.map((value) => value * factor);
  });
  return { loss, adjoint, error: whole > 0 ? Math.sqrt(difference / whole) : Infinity };
}

function squares(data: TensorData): number {
  let sum = 0;
  for (const own of data) {
    sum += own * own;
  }
  return sum;
}
