import { visitPatches } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower, solveUpper } from '../cholesky.js';
import type { ConvPlace } from './conv-place.js';

/** The delta of a convolution from its weight gradient, once its input is known: G = Delta Patches. */

/** Above this a gradient does not tell which position gave it. */
const MOST_CONDITION = 1e5;
const MOST_POSITIONS = 3200;

/**
 * @param values the layer's input: batch x channels x rows x columns
 * @param wanted output channels; the others stay zero
 * @returns batch x filters x rows x columns; a sentence where patches are too many or too alike
 */
export async function deltaOf(
  place: ConvPlace,
  values: Float64Array,
  batch: number,
  product: ProductKernel,
  wanted: readonly number[] = Array.from({ length: place.filters }, (_, o) => o),
): Promise<Float64Array | string> {
  const { filters, output, kernel, input, geometry, gradient } = place;
  const plane = output[0] * output[1];
  const positions = batch * plane;
  const perGroup = input[0] / geometry.groups;
  const cols = perGroup * kernel[0] * kernel[1];
  if (positions > cols || positions > MOST_POSITIONS) {
    return `${positions} positions are more than a gradient of ${cols} numbers tells apart`;
  }
  const delta = new Float64Array(batch * filters * plane);
  const each = filters / geometry.groups;
  for (let group = 0; group < geometry.groups; group++) {
    const channels = wanted.filter((o) => Math.floor(o / each) === group);
    if (channels.length === 0) {
      continue;
    }
    const patches = patchesOf(place, values, batch, group);
    const gram = await product(patches, patches, positions, positions, cols);
    const diagonal = Float64Array.from({ length: positions }, (_, at) => gram[at * positions + at]!);
    const factor = await factorise(gram, positions, product);
    let condition = factor.deficiency > 0 ? Infinity : 1;
    for (let at = 0; at < positions; at++) {
      condition = Math.max(condition, Math.sqrt(diagonal[at]!) / factor.lower[at * positions + at]!);
    }
    if (!(condition <= MOST_CONDITION)) {
      return `patches of its input are too alike (condition ${condition.toExponential(0)})`;
    }
    const rows = new Float64Array(channels.length * cols);
    channels.forEach((o, at) => {
      rows.set(gradient.subarray(o * cols, (o + 1) * cols), at * cols);
    });
    const right = await product(rows, patches, channels.length, positions, cols);
    channels.forEach((o, at) => {
      const own = right.subarray(at * positions, (at + 1) * positions);
      solveUpper(factor, solveLower(factor, own));
      for (let b = 0; b < batch; b++) {
        delta.set(own.subarray(b * plane, (b + 1) * plane), (b * filters + o) * plane);
      }
    });
  }
  return delta;
}

/** (batch x positions) x (channels of a group x kernel) */
export function patchesOf(place: ConvPlace, values: Float64Array, batch: number, group: number): Float64Array {
  const { input, kernel, output, geometry } = place;
  const [channels, height, width] = input;
  const perGroup = channels / geometry.groups;
  const columns = perGroup * kernel[0] * kernel[1];
  const positions = output[0] * output[1];
  const out = new Float64Array(batch * positions * columns);
  for (let b = 0; b < batch; b++) {
    const from = (b * channels + group * perGroup) * height * width;
    const to = b * positions * columns;
    visitPatches({ ...place, input: [perGroup, height, width] }, (column, position, pixel) => {
      out[to + position * columns + column] = values[from + pixel]!;
    });
  }
  return out;
}
