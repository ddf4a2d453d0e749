import { sizeOf } from '../graph/tensor-graph.js';
import type { ConvLayer } from '../network/layers/recipe.js';
import type { StoredTensor } from '../network/network-graph.js';

/** Tensors with their axes in another order. */

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

/** A filter or its gradient as output channels x input channels x rows x columns, however its layer stores it. */
export function toOihw({ data, shape }: StoredTensor, { layout }: ConvLayer): StoredTensor & { data: Float64Array } {
  if (layout !== 'hwio') {
    return { data: Float64Array.from(data), shape };
  }
  const axes = [3, 2, 0, 1];
  const out = new Float64Array(data.length);
  transposedPlaces(shape, axes).forEach((place, at) => {
    out[place] = data[at]!;
  });
  return { data: out, shape: axes.map((axis) => shape[axis]!) };
}
