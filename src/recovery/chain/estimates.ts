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
