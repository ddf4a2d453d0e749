import { encode } from 'fast-png';
import type { Normalisation } from '../protocol/normalisations.js';

/** Pictures of reconstructions, for previews and files. */

/** True for what can be drawn: one or three channels, or many, of which the first is drawn. */
export function isImage(shape: readonly number[]): boolean {
  return shape.length === 3 && shape[1]! > 1 && shape[2]! > 1;
}

/**
 * An 8-bit PNG.
 *
 * @param values channels x height x width
 * @param normalisation undone when known; otherwise the picture's own range is stretched over the grey levels
 */
export function encodePicture(
  values: ArrayLike<number>,
  shape: readonly number[],
  normalisation: Normalisation | undefined,
): Uint8Array {
  const [channels, height, width] = shape as [number, number, number];
  const drawn = channels === 3 ? 3 : 1;
  const plane = height * width;
  const level = levelOf(values, drawn * plane, channels, normalisation);
  const data = new Uint8Array(plane * drawn);
  for (let channel = 0; channel < drawn; channel++) {
    for (let at = 0; at < plane; at++) {
      data[at * drawn + channel] = level(values[channel * plane + at]!, channel);
    }
  }
  return encode({ width, height, data, channels: drawn, depth: 8 });
}

const MOST_TILES = 64;

/**
 * All channels of a hidden layer side by side, each stretched over its own range.
 *
 * @param values channels x height x width
 * @returns numbers from 0 to 1: 1 x height x width
 */
export function mosaicOf(
  values: Float64Array,
  shape: readonly number[],
): { readonly shape: readonly [1, number, number]; readonly data: Float64Array } {
  const [channels, height, width] = shape as [number, number, number];
  const tiles = Math.min(channels, MOST_TILES);
  const across = Math.ceil(Math.sqrt(tiles));
  const down = Math.ceil(tiles / across);
  const data = new Float64Array(across * width * down * height);
  for (let tile = 0; tile < tiles; tile++) {
    const own = values.subarray(tile * height * width, (tile + 1) * height * width);
    const level = levelOf(own, own.length, 1, undefined);
    own.forEach((value, at) => {
      const row = Math.floor(tile / across) * height + Math.floor(at / width);
      data[row * across * width + (tile % across) * width + (at % width)] = level(value, 0) / 255;
    });
  }
  return { shape: [1, down * height, across * width], data };
}

/** The same as an 8-bit PNG. */
export function encodeMosaic(values: Float64Array, shape: readonly number[]): Uint8Array {
  const mosaic = mosaicOf(values, shape);
  const data = Uint8Array.from(mosaic.data, (level) => Math.round(255 * level));
  return encode({ width: mosaic.shape[2], height: mosaic.shape[1], data, channels: 1, depth: 8 });
}

function levelOf(
  values: ArrayLike<number>,
  count: number,
  channels: number,
  normalisation: Normalisation | undefined,
): (value: number, channel: number) => number {
  const clamp = (value: number): number => Math.round(255 * Math.min(Math.max(value, 0), 1));
  if (normalisation?.mean.length === channels) {
    return (value, channel) => clamp(value * normalisation.std[channel]! + normalisation.mean[channel]!);
  }
  let low = Infinity;
  let high = -Infinity;
  for (let at = 0; at < count; at++) {
    low = Math.min(low, values[at]!);
    high = Math.max(high, values[at]!);
  }
  const range = high > low ? high - low : 1;
  return (value) => clamp((value - low) / range);
}
