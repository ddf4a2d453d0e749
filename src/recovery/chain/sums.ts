import { norm } from '../vectors.js';

/** Sums over channels and distances of what the chain solves. */

/** Sum over each channel's positions of channels x positions; the result has length `channels`. */
export function channelSums(delta: Float64Array, channels: number): Float64Array {
  const plane = delta.length / channels;
  return Float64Array.from({ length: channels }, (_, channel) =>
    delta.subarray(channel * plane, (channel + 1) * plane).reduce((sum, own) => sum + own, 0),
  );
}

/** ||found - expected|| / ||expected||, both of the length of `expected`; huge rather than infinite for zeros. */
export function relativeDistance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let at = 0; at < expected.length; at++) {
    difference += (found[at]! - expected[at]!) ** 2;
    size += expected[at]! ** 2;
  }
  return Math.sqrt(difference / Math.max(size, 1e-300));
}

/** In the unit of the values; 0 without any. */
export function rootMeanSquare(values: Float64Array): number {
  return norm(values) / Math.sqrt(Math.max(values.length, 1));
}
