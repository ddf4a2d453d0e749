import { sizeOf } from '../../graph/tensor-graph.js';
import type { LayerRule } from './layer-rule.js';

export const linear: LayerRule<'linear'> = {
  fields: {
    weight: { kind: 'string', required: true },
    bias: { kind: 'string' },
    layout: { kind: 'string', words: ['kxd', 'dxk'] },
  },
  forward(layer, [x], { graph, parameter }) {
    const weight = parameter(layer.weight, 2);
    const { shape } = x!;
    const rows = graph.reshape(x!, [sizeOf(shape.slice(0, -1)), shape[shape.length - 1]!]);
    const product = graph.matmul(rows, weight, false, layer.layout !== 'dxk');
    const output = layer.bias === undefined ? product : graph.add(product, parameter(layer.bias, 1, product.shape[1]));
    return graph.reshape(output, [...shape.slice(0, -1), product.shape[1]!]);
  },
};
