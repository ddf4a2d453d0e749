import { describe, expect, it } from 'vitest';
import { gradients } from '../../../src/graph/derivative.js';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { TensorGraph, sizeOf } from '../../../src/graph/tensor-graph.js';
import { type StoredTensor, buildNetwork, crossEntropy } from '../../../src/network/network-graph.js';
import type { Layer, Recipe } from '../../../src/network/layers/recipe.js';
import { walkChain } from '../../../src/recovery/chain/chain.js';
import type { ChainProblem } from '../../../src/recovery/chain/chain-state.js';
import { softmax } from '../../../src/recovery/activation.js';
import { plainProduct } from '../../../src/recovery/cholesky.js';
import { hashed, relativeError } from '../../networks.js';

/** Networks that are no single path, with the gradient that the tensor graph has for them. */

const CLASSES = 4;

/** The problem of a network whose last layer is the head, its truth and the gradient of one sample. */
function captured(
  layers: readonly Layer[],
  input: readonly number[],
  shapes: Readonly<Record<string, readonly number[]>>,
): { problem: ChainProblem; truth: Float64Array; dump: Map<string, StoredTensor> } {
  const recipe: Recipe = { schemaVersion: 1, input: [...input], layers: [...layers] };
  const parameters = new Map<string, StoredTensor>(
    Object.entries(shapes).map(([name, shape], at) => [
      name,
      { shape, data: hashed(sizeOf(shape), 100 + at).map((value) => value / Math.sqrt(sizeOf(shape.slice(1)))) },
    ]),
  );
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, recipe, (name) => parameters.get(name), 1, 'eval');
  const label = Float64Array.of(0, 0.9, 0.1, 0);
  const loss = crossEntropy(graph, net.logits, graph.constant(label, [1, CLASSES]));
  const used = [...net.parameters];
  const head = layers.length - 1;
  const truth = hashed(sizeOf(input), 7);
  const [logits, feature, ...slopes] = evaluate(
    [
      net.logits,
      net.outputs[head - 1]!,
      ...gradients(
        graph,
        loss,
        used.map(([, node]) => node),
      ),
    ],
    { x: truth },
  );
  const dump = new Map(used.map(([name, { shape }], at) => [name, { shape, data: slopes[at]! }]));
  const delta = softmax(logits!).map((p, k) => p - label[k]!);
  return {
    truth,
    dump,
    problem: {
      recipe,
      head,
      outputShapes: net.outputs.map(({ shape }) => shape.slice(1)),
      parameter: (name) => parameters.get(name),
      gradient: (name) => dump.get(name),
      solution: {
        feature: feature!,
        featureError: feature!.map(() => 1e-12),
        delta,
        deltaError: delta.map(() => 1e-14),
        scaleError: 0,
      },
      precision: { forward: 2 ** -53, stored: 2 ** -53, noise: 0 },
    },
  };
}

const walk = (problem: ChainProblem) => walkChain(problem, plainProduct, () => Promise.resolve());
const HEAD = { op: 'linear', weight: 'head' } as const;

describe('the walk over a graph of nodes', () => {
  const residual: Layer[] = [
    { op: 'linear', weight: 'a' },
    { op: 'tanh', id: 'h' },
    { op: 'linear', weight: 'b', id: 'branch' },
    { op: 'add', inputs: ['branch', 'h'] },
    { op: 'tanh' },
    HEAD,
  ];
  const RESIDUAL = { a: [6, 9], b: [6, 6], head: [CLASSES, 6] };

  it('adds the gradients of a shortcut and its branch, and takes the values from the branch', async () => {
    const { problem, truth } = captured(residual, [9], RESIDUAL);
    const { input, stopped, layers } = await walk(problem);
    expect(stopped).toBeUndefined();
    expect(relativeError(input!, truth)).toBeLessThan(1e-10);
    expect(layers.map(({ layer }) => layer)).toEqual(['b', 'a']);
    layers.forEach(({ residual: left }) => {
      expect(left).toBeLessThan(1e-10);
    });
  });

  it('ends where the branch ends, since the shortcut alone does not tell the gradient', async () => {
    const { problem, dump } = captured(residual, [9], RESIDUAL);
    dump.delete('b');
    const { input, stopped } = await walk(problem);
    expect(input).toBeUndefined();
    expect(stopped).toMatch(/no gradient of "b"/);
  });

  it('parts what was joined, along any axis', async () => {
    const { problem, truth } = captured(
      [
        { op: 'linear', weight: 'a', inputs: ['input'], id: 'left' },
        { op: 'linear', weight: 'b', inputs: ['input'], id: 'right' },
        { op: 'concat', inputs: ['left', 'right'], axis: -1 },
        { op: 'sigmoid' },
        HEAD,
      ],
      [8],
      { a: [3, 8], b: [4, 8], head: [CLASSES, 7] },
    );
    const { input, stopped } = await walk(problem);
    expect(stopped).toBeUndefined();
    expect(relativeError(input!, truth)).toBeLessThan(1e-10);
  });

  it('takes biases that are sums with a parameter, padding as a layer, and a transposition', async () => {
    const { problem, truth } = captured(
      [
        { op: 'transpose', order: [0, 1, 3, 2] },
        { op: 'pad', padding: [1, 2, 0, 1] },
        { op: 'conv', weight: 'filter', id: 'z' },
        { op: 'parameter', name: 'bias', id: 'b' },
        { op: 'add', inputs: ['z', 'b'] },
        { op: 'tanh' },
        { op: 'flatten' },
        HEAD,
      ],
      [2, 4, 5],
      { filter: [5, 2, 3, 3], bias: [5, 1, 1], head: [CLASSES, 5 * 4 * 5] },
    );
    const { input, stopped, layers } = await walk(problem);
    expect(stopped).toBeUndefined();
    expect(relativeError(input!, truth)).toBeLessThan(1e-8);
    expect(layers).toHaveLength(1);
  });

  it('says at a mean over positions that the values above a ReLU are not known', async () => {
    const { problem } = captured(
      [{ op: 'conv', weight: 'filter' }, { op: 'relu' }, { op: 'global-average-pool' }, { op: 'flatten' }, HEAD],
      [2, 5, 5],
      { filter: [5, 2, 3, 3], head: [CLASSES, 5] },
    );
    const { input, stopped } = await walk(problem);
    expect(input).toBeUndefined();
    expect(stopped).toMatch(/relu.*not known, so its slope is not/);
  });
});
