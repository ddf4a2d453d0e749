import type { TensorGraph, TensorNode } from '../../graph/tensor-graph.js';
import { type LayerRule, type NetworkBuilder, RecipeError } from './layer-rule.js';

/** PyTorch's default. */
const EPSILON = 1e-5;

export const batchNorm: LayerRule<'batch-norm'> = {
  fields: {
    weight: { kind: 'string' },
    bias: { kind: 'string' },
    mean: { kind: 'string' },
    variance: { kind: 'string' },
    epsilon: { kind: 'number' },
  },
  forward(layer, [x], network) {
    const { graph, mode } = network;
    const channels = x!.shape[1]!;
    const perChannel = [1, channels, ...x!.shape.slice(2).map(() => 1)];
    const epsilon = layer.epsilon ?? EPSILON;
    if (layer.mean !== undefined && layer.variance !== undefined) {
      network.normalises(x!, layer.mean, layer.variance);
    }
    let normal: TensorNode;
    if (mode === 'train') {
      normal = normalise(graph, x!, [0, ...x!.shape.slice(2).map((_, axis) => axis + 2)], epsilon);
    } else {
      const mean = graph.reshape(network.statistic(layer.mean, channels), perChannel);
      const variance = graph.reshape(network.statistic(layer.variance, channels), perChannel);
      const deviation = graph.unary('sqrt', graph.add(variance, graph.scalar(epsilon)));
      normal = graph.div(graph.sub(x!, mean), deviation);
    }
    return scaledChannels(normal, layer, network);
  },
};

export const layerNorm: LayerRule<'layer-norm'> = {
  fields: {
    weight: { kind: 'string' },
    bias: { kind: 'string' },
    epsilon: { kind: 'number' },
    axes: { kind: 'number' },
  },
  forward(layer, [x], { graph, parameter }) {
    const count = layer.axes ?? 1;
    const axes = x!.shape.map((_, axis) => axis).slice(-count);
    const normal = normalise(graph, x!, axes, layer.epsilon ?? EPSILON);
    const scaled = layer.weight === undefined ? normal : graph.mul(normal, parameter(layer.weight, count));
    return layer.bias === undefined ? scaled : graph.add(scaled, parameter(layer.bias, count));
  },
};

/** Wu and He, ECCV 2018. */
export const groupNorm: LayerRule<'group-norm'> = {
  fields: {
    weight: { kind: 'string' },
    bias: { kind: 'string' },
    epsilon: { kind: 'number' },
    groups: { kind: 'number', required: true },
  },
  forward(layer, [x], network) {
    const { groups, epsilon = EPSILON } = layer;
    const { graph } = network;
    const [batch, channels = 0, ...rest] = x!.shape as [number, ...number[]];
    if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
      throw new RecipeError(`${channels} channels are not parted into ${groups} groups`);
    }
    const each = rest.reduce((product, size) => product * size, channels / groups);
    const normal = graph.reshape(normalise(graph, graph.reshape(x!, [batch, groups, each]), [2], epsilon), x!.shape);
    return scaledChannels(normal, layer, network);
  },
};

/** Each channel times its weight, plus its bias. */
function scaledChannels(
  x: TensorNode,
  { weight, bias }: { readonly weight?: string; readonly bias?: string },
  { graph, parameter }: NetworkBuilder,
): TensorNode {
  const [, channels = 0, ...rest] = x.shape;
  const own = (name: string): TensorNode =>
    graph.reshape(parameter(name, 1, channels), [1, channels, ...rest.map(() => 1)]);
  const scaled = weight === undefined ? x : graph.mul(x, own(weight));
  return bias === undefined ? scaled : graph.add(scaled, own(bias));
}

/** (x - mean) / sqrt(variance + epsilon), both over the given axes. */
export function normalise(graph: TensorGraph, x: TensorNode, axes: readonly number[], epsilon: number): TensorNode {
  const centred = graph.sub(x, graph.mean(x, axes));
  const variance = graph.mean(graph.square(centred), axes);
  return graph.div(centred, graph.unary('sqrt', graph.add(variance, graph.scalar(epsilon))));
}
