import { sizeOf } from '../../graph/tensor-graph.js';
import type { NodeEstimate } from './chain-state.js';

/** Estimates moved about, without a change to their numbers. */

/** Nothing is known of the values; their gradient is. */
export function unknownValues(delta: Float64Array, deltaError: Float64Array): NodeEstimate {
  const none = new Float64Array(delta.length);
  return { values: none, error: none, delta, deltaError, known: new Uint8Array(delta.length) };
}

/**
 * What several consumers of one value know of it: gradients add up, of the values the more precise ones are taken.
 *
 * @param estimates at least one, all of the same length
 */
export function merged(estimates: readonly NodeEstimate[]): NodeEstimate {
  return estimates.reduce((one, other) => {
    const better = (at: number): NodeEstimate =>
      other.known[at] === 1 && (one.known[at] === 0 || other.error[at]! < one.error[at]!) ? other : one;
    return {
      values: one.values.map((_, at) => better(at).values[at]!),
      error: one.error.map((_, at) => better(at).error[at]!),
      known: one.known.map((_, at) => better(at).known[at]!),
      delta: one.delta.map((own, at) => own + other.delta[at]!),
      deltaError: one.deltaError.map((own, at) => Math.hypot(own, other.deltaError[at]!)),
    };
  });
}

/**
 * An estimate with its entries at other places.
 *
 * @param sources for each entry of the result, where it comes from
 */
export function gathered(estimate: NodeEstimate, sources: readonly number[] | Int32Array): NodeEstimate {
  const from = (data: Float64Array): Float64Array => Float64Array.from(sources, (source) => data[source]!);
  return {
    values: from(estimate.values),
    error: from(estimate.error),
    delta: from(estimate.delta),
    deltaError: from(estimate.deltaError),
    known: Uint8Array.from(sources, (source) => estimate.known[source]!),
  };
}

/**
 * Where each entry of a tensor goes when its axes are transposed.
 *
 * @param shape before
 * @param axes axes[i] is the axis before that becomes axis i
 * @returns for each entry before, its index after
 */
export function transposedPlaces(shape: readonly number[], axes: readonly number[]): Int32Array {
  const after = axes.map((axis) => shape[axis]!);
  const strides = shape.map(() => 0);
  axes.forEach((axis, at) => {
    strides[axis] = sizeOf(after.slice(at + 1));
  });
  return Int32Array.from({ length: sizeOf(shape) }, (_, entry) => {
    let rest = entry;
    let place = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    return place;
  });
}
