import type { ConvGeometry } from '../../graph/tensor-graph.js';
import { type ConvLayer, padsOf, pairOf } from './recipe.js';
import { type LayerRule, requireImage } from './layer-rule.js';

/**
 * How a convolution walks over its input.
 *
 * @param size rows and columns of the input
 * @param kernel rows and columns of the filter
 */
export function geometryOf(
  layer: ConvLayer,
  size: readonly [number, number],
  kernel: readonly [number, number],
): ConvGeometry {
  const strides = pairOf(layer.stride, 1);
  const dilations = pairOf(layer.dilation, 1);
  return {
    strides,
    pads: padsOf(layer.padding, size, kernel, strides, dilations),
    dilations,
    groups: layer.groups ?? 1,
  };
}

export const conv: LayerRule<'conv'> = {
  fields: {
    weight: { kind: 'string', required: true },
    bias: { kind: 'string' },
    stride: { kind: 'extent' },
    padding: { kind: 'padding' },
    dilation: { kind: 'extent' },
    groups: { kind: 'number' },
    layout: { kind: 'string', words: ['oihw', 'hwio'] },
  },
  forward(layer, [x], { graph, parameter }) {
    const stored = parameter(layer.weight, 4);
    const filter = layer.layout === 'hwio' ? graph.transpose(stored, [3, 2, 0, 1]) : stored;
    requireImage(x!);
    const output = graph.conv(
      x!,
      filter,
      geometryOf(layer, [x!.shape[2]!, x!.shape[3]!], [filter.shape[2]!, filter.shape[3]!]),
    );
    return layer.bias === undefined
      ? output
      : graph.add(output, graph.reshape(parameter(layer.bias, 1, output.shape[1]), [1, output.shape[1]!, 1, 1]));
  },
};
