import { describe, expect, it } from 'vitest';
import { onnxruntimeEngine } from '../../../../src/engine/onnxruntime.js';
import { gradients } from '../../../../src/graph/derivative.js';
import { evaluate, foldConstant } from '../../../../src/graph/evaluate.js';
import { TensorGraph, sizeOf, workOf } from '../../../../src/graph/tensor-graph.js';
import {
  type NetworkGraph,
  type StoredTensor,
  type TensorLookup,
  buildNetwork,
} from '../../../../src/network/network-graph.js';
import type { Recipe } from '../../../../src/network/layers/recipe.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { invertMap } from '../../../../src/recovery/inversion/invert-map.js';
import { type KnownMap, inversionOf, softenedNetwork } from '../../../../src/recovery/inversion/known-maps.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { hashed, relativeError } from '../../../networks.js';

/** Inputs from feature maps of a network that is known. */

const RECIPE: Recipe = {
  schemaVersion: 1,
  input: [2, 6, 6],
  layers: [
    { op: 'conv', weight: 'a', padding: 1 },
    { op: 'relu' },
    { op: 'conv', weight: 'b', padding: 1 },
    { op: 'relu' },
    { op: 'global-average-pool' },
    { op: 'flatten' },
    { op: 'linear', weight: 'c' },
  ],
};
const POOLED: Recipe = {
  ...RECIPE,
  layers: [
    { op: 'conv', weight: 'a', padding: 1 },
    { op: 'relu' },
    { op: 'max-pool', kernel: 2 },
    { op: 'global-average-pool' },
    { op: 'flatten' },
    { op: 'linear', weight: 'd' },
  ],
};
const SHAPES: Readonly<Record<string, number[]>> = { a: [16, 2, 3, 3], b: [24, 16, 3, 3], c: [3, 24], d: [3, 16] };
const FOUR = { starts: 4, work: Infinity, isLate: () => false };
const go = (): Promise<void> => Promise.resolve();

function lookup(name: string): StoredTensor {
  const shape = SHAPES[name]!;
  return { shape, data: hashed(sizeOf(shape), name.charCodeAt(0)) };
}

function prepared(recipe = RECIPE, gradient: TensorLookup = () => undefined) {
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, recipe, lookup, 1, 'eval');
  const truth = hashed(72, 5).map((own) => 3 * own);
  const values = evaluate(net.outputs, { x: truth });
  const map = (node: number, error: number, change = (own: number, _at: number): number => own): KnownMap => ({
    node,
    values: values[node]!.map((own, at) => change(own, at)),
    rectified: true,
    upToFactor: false,
    unknown: undefined,
    error,
  });
  const network = { graph, recipe, net, soft: softenedNetwork(graph, recipe, lookup, 'eval', 1), gradient };
  return { network, truth, map };
}

/** A dL/dvalues of the pooling, and the gradient of the convolution below that follows from it. */
function belowPooling(graph: TensorGraph, { outputs, parameters }: NetworkGraph, x: Float64Array) {
  const pooled = outputs[2]!;
  const parameter = parameters.get('a')!;
  const delta = hashed(sizeOf(pooled.shape), 8);
  const loss = graph.total(graph.mul(pooled, graph.constant(delta, pooled.shape)));
  const [data] = evaluate(gradients(graph, loss, [parameter]), { x });
  const gradient: TensorLookup = (name) => (name === 'a' ? { shape: [...parameter.shape], data: data! } : undefined);
  return { delta, gradient };
}

describe('the input that a feature map is of', () => {
  it.each([
    ['exact', (own: number) => own],
    ['with two entries that should be zero', (own: number, at: number) => (at === 40 || at === 500 ? own + 2 : own)],
    ['with two entries that should not be zero', (own: number, at: number) => (at === 41 || at === 501 ? 0 : own)],
  ])('is found again: %s', async (_, change) => {
    const { network, truth, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const problem = inversionOf(network, [map(3, 1e-7, change)], generator(1));
    const found = await invertMap(problem, engine, FOUR, plainProduct, go);
    await engine.dispose();
    expect(found.stopped).toBe(false);
    expect(found.residual).toBeLessThan(1e-5);
    expect(relativeError(found.input, truth)).toBeLessThan(1e-4);
  });

  it('is no worse than one that was found before, whenever the search is stopped', async () => {
    const { network, truth, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const begin = truth.map((own, at) => own + 0.01 * Math.sin(at));
    const problem = { ...inversionOf(network, [map(3, 1e-7)], generator(1)), begin };
    const stop = (): Promise<void> => Promise.reject(new CancelledError());
    const stopped = await invertMap(problem, engine, FOUR, plainProduct, stop);
    expect(stopped.stopped).toBe(true);
    expect(relativeError(stopped.input, truth)).toBeLessThan(0.1);
    // From there it needs no random start.
    let isFar = false;
    const found = await invertMap(problem, engine, FOUR, plainProduct, ({ input }) => {
      isFar ||= relativeError(input, truth) > 0.1;
      return Promise.resolve();
    });
    await engine.dispose();
    expect(relativeError(found.input, truth)).toBeLessThan(1e-4);
    expect(isFar).toBe(false);
  });

  it('comes from the exact map where a deeper one is rough', async () => {
    const { network, truth, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const rough = map(1, 0.02, (own, at) => (own > 0 ? own * (1 + 0.02 * Math.sin(at)) : 0));
    const problem = inversionOf(network, [map(3, 1e-7), rough], generator(1));
    expect(problem.stages.map(({ error, deepest }) => [error, deepest])).toEqual([
      [0.02, 1],
      [1e-7, 3],
    ]);
    const found = await invertMap(problem, engine, FOUR, plainProduct, go);
    await engine.dispose();
    expect(relativeError(found.input, truth)).toBeLessThan(1e-4);
  });

  it('contradicts a map of another network', async () => {
    const { network, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const problem = inversionOf(network, [map(3, 1e-7, (_, at) => Math.max(0, Math.sin(at)))], generator(1));
    const found = await invertMap(problem, engine, { ...FOUR, starts: 1 }, plainProduct, go);
    await engine.dispose();
    expect(found.contradicting).toBeGreaterThan(0.1);
  });

  it('is found through a max pooling, smooth at first', async () => {
    const { network, truth, map } = prepared(POOLED);
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const found = await invertMap(inversionOf(network, [map(2, 1e-7)], generator(1)), engine, FOUR, plainProduct, go);
    await engine.dispose();
    expect(found.contradicting).toBe(0);
    expect(relativeError(found.input, truth)).toBeLessThan(1e-4);
  });

  it('has a mismatch of none at the input, as maxima become hard', () => {
    const { network: plain, truth, map } = prepared(POOLED);
    const { graph, net } = plain;
    const { delta, gradient } = belowPooling(graph, net, truth);
    const { mismatch } = inversionOf({ ...plain, gradient }, [{ ...map(2, 1e-7), delta }], generator(1));
    const at = (x: Float64Array, temperature: number): number =>
      evaluate([mismatch!], { x, temperature: Float64Array.of(temperature) })[0]![0]!;
    expect(at(truth, 1e-6)).toBeLessThan(1e-9);
    expect(at(truth, 0.1)).toBeGreaterThan(1e-4);
    expect(at(hashed(72, 6), 1e-6)).toBeGreaterThan(0.5);
  });

  // Values alone leave both of them off by more than a hundredth of their size: the maxima chosen wrongly fit beside each other.
  it.each([5, 8])('is found where maxima are nearly equal, by gradients: seed %d', async (seed) => {
    const input: [number, number, number] = [1, 12, 12];
    const recipe: Recipe = { ...POOLED, input, layers: POOLED.layers.with(0, { op: 'conv', weight: 'a', padding: 2 }) };
    const shapes: Readonly<Record<string, number[]>> = { a: [7, 1, 5, 5], d: [3, 7] };
    const own = (name: string): StoredTensor => {
      const shape = shapes[name]!;
      return { shape, data: hashed(sizeOf(shape), seed + name.charCodeAt(0)) };
    };
    const graph = new TensorGraph(foldConstant);
    const net = buildNetwork(graph, recipe, own, 1, 'eval');
    // Two flat halves, all but without a pattern.
    const truth = hashed(144, seed).map((value, at) => (at % 12 < 6 ? 1 : 0) + 0.05 * value);
    const [values] = evaluate([net.outputs[2]!], { x: truth });
    const { delta, gradient } = belowPooling(graph, net, truth);
    const soft = softenedNetwork(graph, recipe, own, 'eval', 1);
    const map = {
      node: 2,
      values: values!,
      rectified: true,
      upToFactor: false,
      unknown: undefined,
      error: 1e-7,
      delta,
    };
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const problem = inversionOf({ graph, recipe, net, soft, gradient }, [map], generator(1));
    const found = await invertMap(problem, engine, { ...FOUR, starts: 1 }, plainProduct, go);
    await engine.dispose();
    expect(found.settled).toBe(true);
    expect(relativeError(found.input, truth)).toBeLessThan(1e-6);
  });

  it('ends with the best so far when time is up', async () => {
    const { network, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    let steps = 0;
    const problem = inversionOf(network, [map(3, 1e-7)], generator(1));
    const limits = { ...FOUR, starts: Infinity, isLate: () => steps >= 50 };
    const found = await invertMap(problem, engine, limits, plainProduct, () => {
      steps++;
      return Promise.resolve();
    });
    await engine.dispose();
    expect(found.stopped).toBe(false);
    expect(found.residual).toBeLessThan(1);
    expect(steps).toBe(50);
  });

  it('ends once its multiplications are spent, with the best so far', async () => {
    const { network, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const problem = inversionOf(network, [map(3, 1e-7, (_, at) => Math.max(0, Math.sin(at)))], generator(1));
    const each = workOf(problem.stages.map(({ output }) => output));
    const found = await invertMap(problem, engine, { ...FOUR, starts: Infinity, work: 3000 * each }, plainProduct, go);
    const other = await invertMap(
      inversionOf(network, [map(3, 1e-7)], generator(1)),
      engine,
      { ...FOUR, starts: Infinity, work: 1e5 * each },
      plainProduct,
      go,
    );
    await engine.dispose();
    expect(found.spent).toBe(true);
    expect(found.residual).toBeLessThan(1);
    expect(other.spent).toBe(false);
  });

  it('keeps the best so far when stopped', async () => {
    const { network, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    let pauses = 0;
    const problem = inversionOf(network, [map(3, 1e-7)], generator(1));
    const found = await invertMap(problem, engine, { ...FOUR, starts: Infinity }, plainProduct, () =>
      ++pauses > 50 ? Promise.reject(new CancelledError()) : Promise.resolve(),
    );
    await engine.dispose();
    expect(found.stopped).toBe(true);
    expect(found.residual).toBeLessThan(1);
    expect(pauses).toBe(51);
  });
});
