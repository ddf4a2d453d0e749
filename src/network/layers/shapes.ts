import { sizeOf } from '../../graph/tensor-graph.js';
import { padsOf } from './recipe.js';
import { type LayerRule, axisOf, requireImage } from './layer-rule.js';

/** Layers that move values without changing them, and sums and products of several. */

/** Dropout as in evaluation mode: which entries it dropped is not in a gradient file. */
export const identity: LayerRule<'identity' | 'dropout'> = { fields: {}, forward: (_, [x]) => x! };

export const flatten: LayerRule<'flatten'> = {
  fields: {},
  forward: (_, [x], { graph, batch }) => graph.reshape(x!, [batch, sizeOf(x!.shape) / batch]),
};

export const reshape: LayerRule<'reshape'> = {
  fields: { shape: { kind: 'numbers', required: true } },
  forward({ shape }, [x], { graph, batch }) {
    const known = shape.filter((size) => size !== -1).reduce((product, size) => product * size, 1);
    const rest = sizeOf(x!.shape) / batch / known;
    return graph.reshape(x!, [batch, ...shape.map((size) => (size === -1 ? rest : size))]);
  },
};

export const transpose: LayerRule<'transpose'> = {
  fields: { order: { kind: 'numbers', required: true } },
  forward: ({ order }, [x], { graph }) => graph.transpose(x!, order),
};

export const pad: LayerRule<'pad'> = {
  fields: { padding: { kind: 'padding', required: true } },
  forward({ padding }, [x], { graph }) {
    requireImage(x!);
    const [batch, channels, height, width] = x!.shape as [number, number, number, number];
    const [top, left, bottom, right] = padsOf(padding, [height, width], [1, 1], [1, 1]);
    return graph.embed(x!, [0, 0, top, left], [batch, channels, height + top + bottom, width + left + right]);
  },
};

export const concat: LayerRule<'concat'> = {
  fields: { axis: { kind: 'number' } },
  forward: ({ axis = 1 }, inputs, { graph }) => graph.concat(inputs, axisOf(axis, inputs[0]!.shape.length)),
};

export const add: LayerRule<'add'> = {
  fields: {},
  forward: (_, inputs, { graph }) => inputs.reduce((sum, one) => graph.add(sum, one)),
};

export const mul: LayerRule<'mul'> = {
  fields: {},
  forward: (_, inputs, { graph }) => inputs.reduce((product, one) => graph.mul(product, one)),
};

export const parameter: LayerRule<'parameter'> = {
  fields: { name: { kind: 'string', required: true } },
  forward: ({ name }, _, network) => network.parameter(name),
};

export const constant: LayerRule<'constant'> = {
  fields: { values: { kind: 'numbers', required: true }, shape: { kind: 'numbers', required: true } },
  forward: ({ values, shape }, _, { graph }) => graph.constant(Float64Array.from(values), shape),
};
