import { describe, expect, it } from 'vitest';
import { onnxruntimeEngine } from '../../../../src/engine/onnxruntime.js';
import { evaluate, foldConstant } from '../../../../src/graph/evaluate.js';
import { TensorGraph } from '../../../../src/graph/tensor-graph.js';
import { buildNetwork } from '../../../../src/network/network-graph.js';
import type { Recipe } from '../../../../src/network/layers/recipe.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { invertMap } from '../../../../src/recovery/inversion/invert-map.js';
import { type KnownMap, inversionOf } from '../../../../src/recovery/inversion/known-maps.js';
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
const SHAPES: Readonly<Record<string, number[]>> = { a: [16, 2, 3, 3], b: [24, 16, 3, 3], c: [3, 24] };
const go = (): Promise<void> => Promise.resolve();

function prepared() {
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(
    graph,
    RECIPE,
    (name) => {
      const shape = SHAPES[name]!;
      const size = shape.reduce((all, own) => all * own, 1);
      return { shape, data: hashed(size, name.charCodeAt(0)) };
    },
    1,
    'eval',
  );
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
  return { graph, net, truth, map };
}

describe('the input that a feature map is of', () => {
  it.each([
    ['exact', (own: number) => own],
    ['with two entries that should be zero', (own: number, at: number) => (at === 40 || at === 500 ? own + 2 : own)],
    ['with two entries that should not be zero', (own: number, at: number) => (at === 41 || at === 501 ? 0 : own)],
  ])('is found again: %s', async (_, change) => {
    const { graph, net, truth, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const problem = inversionOf(graph, net, RECIPE, [map(3, 1e-7, change)], generator(1));
    const found = await invertMap(problem, engine, (tried) => tried < 4, plainProduct, go);
    await engine.dispose();
    expect(found.stopped).toBe(false);
    expect(found.residual).toBeLessThan(1e-5);
    expect(relativeError(found.input, truth)).toBeLessThan(1e-4);
  });

  it('comes from the exact map where a deeper one is rough', async () => {
    const { graph, net, truth, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const rough = map(1, 0.02, (own, at) => (own > 0 ? own * (1 + 0.02 * Math.sin(at)) : 0));
    const problem = inversionOf(graph, net, RECIPE, [map(3, 1e-7), rough], generator(1));
    expect(problem.stages.map(({ error }) => error)).toEqual([0.02, 1e-7]);
    const found = await invertMap(problem, engine, (tried) => tried < 4, plainProduct, go);
    await engine.dispose();
    expect(relativeError(found.input, truth)).toBeLessThan(1e-4);
  });

  it('contradicts a map of another network', async () => {
    const { graph, net, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    const problem = inversionOf(graph, net, RECIPE, [map(3, 1e-7, (_, at) => Math.max(0, Math.sin(at)))], generator(1));
    const found = await invertMap(problem, engine, () => false, plainProduct, go);
    await engine.dispose();
    expect(found.contradicting).toBeGreaterThan(0.1);
  });

  it('keeps the best so far when stopped', async () => {
    const { graph, net, map } = prepared();
    const engine = onnxruntimeEngine('onnxruntime-cpu', 1);
    let pauses = 0;
    const problem = inversionOf(graph, net, RECIPE, [map(3, 1e-7)], generator(1));
    const found = await invertMap(
      problem,
      engine,
      () => true,
      plainProduct,
      () => (++pauses > 50 ? Promise.reject(new CancelledError()) : Promise.resolve()),
    );
    await engine.dispose();
    expect(found.stopped).toBe(true);
    expect(found.residual).toBeLessThan(1);
    expect(pauses).toBe(51);
  });
});
