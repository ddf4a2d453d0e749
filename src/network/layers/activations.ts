import type { TensorGraph, TensorNode } from '../../graph/tensor-graph.js';
import { type LayerRule, axisOf } from './layer-rule.js';

export const relu: LayerRule<'relu'> = unaryRule('relu');
export const sigmoid: LayerRule<'sigmoid'> = unaryRule('sigmoid');
export const tanh: LayerRule<'tanh'> = unaryRule('tanh');
export const erf: LayerRule<'erf'> = unaryRule('erf');

function unaryRule<Op extends 'relu' | 'sigmoid' | 'tanh' | 'erf'>(op: Op): LayerRule<Op> {
  return { fields: {}, forward: (_, [x], { graph }) => graph.unary(op, x!) };
}

export const silu: LayerRule<'silu'> = {
  fields: {},
  forward: (_, [x], { graph }) => siluOf(graph, x!),
};

/** x sigmoid(x), entry by entry. */
export function siluOf(graph: TensorGraph, x: TensorNode): TensorNode {
  return graph.mul(x, graph.unary('sigmoid', x));
}

export const leakyRelu: LayerRule<'leaky-relu'> = {
  fields: { slope: { kind: 'number' } },
  forward: ({ slope = 0.01 }, [x], { graph }) =>
    graph.sub(graph.unary('relu', x!), graph.scale(graph.unary('relu', graph.neg(x!)), slope)),
};

/** Hard limits; 0 and 6 are ReLU6. */
export const clip: LayerRule<'clip'> = {
  fields: { low: { kind: 'number' }, high: { kind: 'number' } },
  forward({ low, high }, [x], { graph }) {
    const above = (y: TensorNode, bound: number): TensorNode => graph.unary('relu', graph.sub(y, graph.scalar(bound)));
    const raised = low === undefined ? x! : graph.add(above(x!, low), graph.scalar(low));
    return high === undefined ? raised : graph.sub(raised, above(raised, high));
  },
};

export const elu: LayerRule<'elu'> = {
  fields: { alpha: { kind: 'number' } },
  forward({ alpha = 1 }, [x], { graph }) {
    const below = graph.neg(graph.unary('relu', graph.neg(x!)));
    const bent = graph.scale(graph.sub(graph.unary('exp', below), graph.scalar(1)), alpha);
    return graph.add(graph.unary('relu', x!), bent);
  },
};

export const gelu: LayerRule<'gelu'> = {
  fields: { approximate: { kind: 'boolean' } },
  forward: ({ approximate = false }, [x], { graph }) => geluOf(graph, x!, approximate),
};

/** GELU entry by entry. @param approximate by a hyperbolic tangent instead of the error function */
export function geluOf(graph: TensorGraph, x: TensorNode, approximate: boolean): TensorNode {
  const cubic = (z: TensorNode): TensorNode => graph.scale(graph.mul(graph.square(z), z), 0.044715);
  const inner = approximate
    ? graph.unary('tanh', graph.scale(graph.add(x, cubic(x)), Math.sqrt(2 / Math.PI)))
    : graph.unary('erf', graph.scale(x, Math.SQRT1_2));
  return graph.mul(graph.scale(x, 0.5), graph.add(inner, graph.scalar(1)));
}

export const softmax: LayerRule<'softmax'> = {
  fields: { axis: { kind: 'number' } },
  forward: ({ axis = -1 }, [x], { graph }) => graph.unary('exp', logSoftmax(graph, x!, axisOf(axis, x!.shape.length))),
};

/** log softmax along an axis; the maximum is subtracted first, as a constant. */
export function logSoftmax(graph: TensorGraph, x: TensorNode, axis: number): TensorNode {
  const shifted = graph.sub(x, graph.maxOver(x, [axis]));
  return graph.sub(shifted, graph.unary('log', graph.sum(graph.unary('exp', shifted), [axis])));
}
