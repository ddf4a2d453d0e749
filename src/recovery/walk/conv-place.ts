import type { PatchGeometry } from '../../graph/patches.js';
import type { ConvGeometry } from '../../graph/tensor-graph.js';
import { geometryOf } from '../../network/layers/conv.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { TensorLookup } from '../../network/network-graph.js';
import { toOihw } from '../axes.js';
import { transposed } from '../linear-algebra.js';

/** A layer with a weight gradient; a linear layer is a convolution of one pixel. */
export interface ConvPlace extends PatchGeometry {
  readonly index: number;
  readonly name: string;
  /** Output channels x input channels of a group x kernel rows x kernel columns. */
  readonly gradient: Float64Array;
  /** Output channels. */
  readonly filters: number;
}

const ONE_PIXEL: ConvGeometry = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 };

/**
 * @param index of the layer in the recipe
 * @param input shape of what it takes, one sample
 * @param output shape of what it gives out
 * @returns undefined for a layer that has no weight gradient, or whose input is no image and no vector
 */
export function convPlaceOf(
  { layers }: Recipe,
  index: number,
  input: readonly number[],
  output: readonly number[],
  gradient: TensorLookup,
): ConvPlace | undefined {
  const layer = layers[index]!;
  if (layer.op !== 'conv' && layer.op !== 'linear') {
    return undefined;
  }
  const stored = gradient(layer.weight);
  if (!stored || input.length !== (layer.op === 'conv' ? 3 : 1)) {
    return undefined;
  }
  const about = { index, name: layer.weight.replace(/\.weight$/, ''), filters: output[0]! };
  if (layer.op === 'linear') {
    const data = Float64Array.from(stored.data);
    return {
      ...about,
      gradient: layer.layout === 'dxk' ? transposed(data, input[0]!, output[0]!) : data,
      input: [input[0]!, 1, 1],
      kernel: [1, 1],
      output: [1, 1],
      geometry: ONE_PIXEL,
    };
  }
  const { data, shape } = toOihw(stored, layer);
  const kernel: [number, number] = [shape[2]!, shape[3]!];
  const image = input as [number, number, number];
  return {
    ...about,
    gradient: data,
    input: image,
    kernel,
    output: [output[1]!, output[2]!],
    geometry: geometryOf(layer, [image[1], image[2]], kernel),
  };
}
