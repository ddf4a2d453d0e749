import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gradients } from '../../../../src/graph/derivative.js';
import { evaluate, foldConstant } from '../../../../src/graph/evaluate.js';
import { TensorGraph, sizeOf } from '../../../../src/graph/tensor-graph.js';
import type { Recipe } from '../../../../src/network/layers/recipe.js';
import { recogniseNetwork } from '../../../../src/network/built-in.js';
import { type TensorLookup, buildNetwork } from '../../../../src/network/network-graph.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import type { WalkProblem, WalkResult } from '../../../../src/recovery/walk/walk-state.js';
import { walkDown } from '../../../../src/recovery/walk/walk.js';
import { openTensorFile } from '../../../../src/formats/open.js';
import { softmax } from '../../../../src/recovery/activation.js';
import { dot, norm } from '../../../../src/recovery/vectors.js';
import { NETWORKS, hashed, readTensors, relativeError } from '../../../networks.js';

/** Down a residual network of PyTorch without the head. */

function problemOf(name: string, mode: 'eval' | 'train' = 'eval', inputShape = [3, 8, 8]): WalkProblem {
  const parameters = readTensors(join(NETWORKS, name, 'checkpoint.pt'));
  const gradients = readTensors(join(NETWORKS, name, 'gradient.pt'));
  const shapes = [...parameters].map(([own, { shape }]) => ({ name: own, shape }));
  const { recipe } = recogniseNetwork(shapes, { inputShape })[0]!;
  const parameter = (own: string) => parameters.get(own);
  const net = buildNetwork(new TensorGraph(foldConstant), recipe, parameter, 1, mode);
  return {
    recipe,
    head: recipe.layers.length - 1,
    outputShapes: net.outputs.map(({ shape }) => shape.slice(1)),
    parameter,
    gradient: (own) => gradients.get(own),
    mode,
    solution: undefined,
    error: 2 ** -24,
  };
}

function likeness(one: Float64Array, other: Float64Array): number {
  return dot(one, other) / (norm(one) * norm(other));
}

function imageOf(name: string): Float64Array {
  const file = openTensorFile(join(NETWORKS, name, 'image.npy'));
  try {
    return file.read(file.entries[0]!.name).data;
  } finally {
    file.close();
  }
}

describe('the walk down', () => {
  it('is stopped on the way through a row space, not only between nodes', async () => {
    let last = -1;
    const walk = await walkDown(problemOf('residual-batch'), plainProduct, generator(1), ({ done }) => {
      if (done === last) {
        return Promise.reject(new CancelledError());
      }
      last = done;
      return Promise.resolve();
    });
    expect(walk.stopped).toBe(true);
    expect(walk.steps).toHaveLength(0);
  });

  it.each([
    ['residual', 1],
    ['residual-batch', 2],
  ])('finds the number of samples and reaches the input: %s', async (name, batch) => {
    const walk = await walkDown(problemOf(name), plainProduct, generator(1), () => Promise.resolve());
    expect(walk.batch).toBe(batch);
    expect(walk.stopped).toBe(false);
    expect(walk.maps.map(({ node }) => node)).toEqual(
      walk.maps.map(({ node }) => node).sort((one, other) => one - other),
    );
    expect(walk.steps[0]).toMatchObject({ by: 'row space', layers: ['layer2.0.conv2'] });
    for (const { residual } of walk.steps) {
      expect(residual).toBeLessThan(1e-5);
    }
  });

  it.each([
    ['by signs alone', 'layer1.0.conv2.weight', 6, 5, 0.5],
    ['by signs and what a shortcut tells', 'layer1.0.conv1.weight', 4, 2, 0.85],
  ] as const)('where equations are fewer than unknowns, %s', async (_, weight, channels, node, least) => {
    const problem = problemOf('residual');
    const net = buildNetwork(new TensorGraph(foldConstant), problem.recipe, problem.parameter, 1, 'eval');
    const truth = evaluate(net.outputs, { x: imageOf('residual') });
    // Gradients of zero are no equations.
    const gradient: TensorLookup = (name) => {
      const own = problem.gradient(name);
      const each = (own?.data.length ?? 0) / (own?.shape[0] ?? 1);
      return own && name === weight
        ? { ...own, data: Float64Array.from(own.data, (value, at) => (at < channels * each ? value : 0)) }
        : own;
    };
    const walk = await walkDown({ ...problem, gradient }, plainProduct, generator(1), () => Promise.resolve());
    expect(walk.steps.find((step) => step.by === 'signs')).toMatchObject({ node, equations: 9 * channels });
    const { values, unknown } = walk.maps.find((own) => own.node === node)!;
    const isTold = values.map((_value, at) => 1 - (unknown?.[at] ?? 0));
    expect(isTold.reduce((sum, own) => sum + own, 0) / values.length).toBeGreaterThanOrEqual(least);
    const wanted = truth[node]!.map((own, at) => own * isTold[at]!);
    expect(relativeError(values, wanted)).toBeLessThan(1e-4);
    expect(walk.goOn).toBeUndefined();
    const left = await walkDown({ ...problem, gradient, leavesSigns: true }, plainProduct, generator(1), () =>
      Promise.resolve(),
    );
    expect(left.maps.some((own) => own.node === node)).toBe(false);
    const steps = left.steps.length;
    const further = await left.goOn!();
    expect(left.steps).toHaveLength(steps);
    expect(further.steps).toEqual(walk.steps);
    const found = (of: WalkResult): unknown[] => of.maps.map((own) => [own.node, own.values, own.unknown]);
    expect(found(further)).toEqual(found(walk));
    expect(further.goOn).toBeUndefined();
  });

  it('solves no node again when it goes on, not even those of which parts are never seen', async () => {
    const shapes: Readonly<Record<string, number[]>> = {
      a: [8, 3, 3, 3],
      b: [6, 8, 3, 3],
      // Stride two sees a quarter of its input.
      c: [64, 6, 1, 1],
      d: [10, 1024],
    };
    const recipe: Recipe = {
      schemaVersion: 1,
      input: [3, 8, 8],
      layers: [
        { op: 'conv', weight: 'a', padding: 1 },
        { op: 'relu' },
        { op: 'conv', weight: 'b', padding: 1 },
        { op: 'relu' },
        { op: 'conv', weight: 'c', stride: 2 },
        { op: 'relu' },
        { op: 'flatten' },
        { op: 'linear', weight: 'd' },
      ],
    };
    const stored = (name: string) => ({
      shape: shapes[name]!,
      data: hashed(sizeOf(shapes[name]!), name.charCodeAt(0)),
    });
    const graph = new TensorGraph(foldConstant);
    const net = buildNetwork(graph, recipe, stored, 1, 'eval');
    const x = hashed(192, 5);
    const truth = evaluate(net.outputs, { x });
    const delta = softmax(truth[7]!).map((own, k) => own - Number(k === 1));
    const loss = graph.total(graph.mul(net.logits, graph.constant(delta, net.logits.shape)));
    const names = [...net.parameters.keys()];
    const slopes = evaluate(gradients(graph, loss, [...net.parameters.values()]), { x });
    const problem: WalkProblem = {
      recipe,
      head: 7,
      outputShapes: net.outputs.map(({ shape }) => shape.slice(1)),
      parameter: stored,
      gradient: (name) => ({ shape: shapes[name]!, data: slopes[names.indexOf(name)]! }),
      mode: 'eval',
      error: 2 ** -24,
      solution: { batch: 1, features: truth[6]!, delta },
      leavesSigns: true,
    };
    const left = await walkDown(problem, plainProduct, generator(1), () => Promise.resolve());
    expect(left.maps.some(({ unknown }) => unknown)).toBe(true);
    const { maps } = await left.goOn!();
    expect(new Set(maps.map(({ node }) => node)).size).toBe(maps.length);
  });

  it('below batch normalisation in train mode: all values up to a factor, by the network that made them', async () => {
    const problem = problemOf('residual-train', 'train');
    const net = buildNetwork(new TensorGraph(foldConstant), problem.recipe, problem.parameter, 1, 'train');
    const image = imageOf('residual-train');
    const truth = evaluate(net.outputs, { x: image });
    const head = problem.recipe.layers.length - 1;
    const labels = [0.02, 0.92, 0.02, 0.02, 0.02];
    const delta = softmax(truth[head]!).map((own, k) => own - labels[k]!);
    const solution = { batch: 1, features: truth[head - 1]!, delta };
    const walk = await walkDown({ ...problem, solution }, plainProduct, generator(1), () => Promise.resolve());
    const maps = walk.maps.filter(({ node, unknown }) => node < head - 1 && !unknown);
    expect(maps.length).toBeGreaterThan(3);
    expect(walk.maps[0]!.node).toBe(-1);
    for (const { node, values } of maps) {
      const wanted = node < 0 ? image : truth[node]!;
      expect(1 - likeness(values, wanted)).toBeLessThan(1e-9);
    }
  });

  it('below batch normalisation in train mode, two samples: told apart, in one size, without the head', async () => {
    const problem = problemOf('residual-train-batch', 'train');
    const net = buildNetwork(new TensorGraph(foldConstant), problem.recipe, problem.parameter, 2, 'train');
    const image = imageOf('residual-train-batch');
    const truth = evaluate(net.outputs, { x: image });
    const walk = await walkDown(problem, plainProduct, generator(1), () => Promise.resolve());
    expect(walk.batch).toBe(2);
    expect(walk.steps.map(({ by }) => by)).toEqual(['row space', 'row space', 'equations', 'equations', 'equations']);
    expect(walk.maps[0]!.node).toBe(-1);
    const sample = (values: Float64Array, at: number): Float64Array =>
      values.subarray((at * values.length) / 2, ((at + 1) * values.length) / 2);
    const orders: number[][] = [];
    for (const { node, values } of walk.maps) {
      const wanted = node < 0 ? image : truth[node]!;
      const order = [0, 1].map((at) => Number(likeness(sample(values, at), sample(wanted, 1)) > 0.999));
      orders.push(order);
      expect(order.slice().sort()).toEqual([0, 1]);
      // One factor for both: the batch as a whole is what it should be.
      const inOrder = Float64Array.from([0, 1].flatMap((at) => [...sample(wanted, order[at]!)]));
      expect(1 - likeness(values, inOrder)).toBeLessThan(1e-8);
    }
    expect(new Set(orders.map(String)).size).toBe(1);
  });

  it('below max poolings: their choices with the values, and what comes down to the deepest map', async () => {
    const problem = problemOf('two-convolutions', 'eval', [3, 12, 12]);
    const graph = new TensorGraph(foldConstant);
    const net = buildNetwork(graph, problem.recipe, problem.parameter, 1, 'eval');
    const image = imageOf('two-convolutions');
    const truth = evaluate(net.outputs, { x: image });
    const head = problem.recipe.layers.length - 1;
    const delta = softmax(truth[head]!).map((own, k) => own - [0.02, 0.92, 0.02, 0.02, 0.02][k]!);
    const solution = { batch: 1, features: truth[head - 1]!, delta };
    const walk = await walkDown({ ...problem, solution }, plainProduct, generator(1), () => Promise.resolve());
    expect(walk.steps.map(({ node, by }) => [node, by])).toEqual([
      [6, 'equations'],
      [2, 'maxima'],
      [-1, 'maxima'],
    ]);
    for (const { node, values } of walk.maps) {
      expect(relativeError(values, node < 0 ? image : truth[node]!)).toBeLessThan(1e-5);
    }
    const hidden: TensorLookup = (name) => (name === 'conv1.weight' ? undefined : problem.gradient(name));
    const part = await walkDown({ ...problem, gradient: hidden, solution }, plainProduct, generator(1), () =>
      Promise.resolve(),
    );
    const loss = graph.total(graph.mul(net.logits, graph.constant(delta, net.logits.shape)));
    const [wanted] = evaluate(gradients(graph, loss, [net.outputs[2]!]), { x: image });
    expect(part.maps[0]!.node).toBe(2);
    expect(relativeError(part.maps[0]!.delta!, wanted!)).toBeLessThan(1e-4);
  });
});
