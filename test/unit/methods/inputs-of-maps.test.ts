import { describe, expect, it } from 'vitest';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { TensorGraph, sizeOf } from '../../../src/graph/tensor-graph.js';
import { type Inverted, inverted } from '../../../src/methods/input/inputs-of-maps.js';
import type { Prepared, NetworkTask } from '../../../src/methods/input/prepare.js';
import type { Context } from '../../../src/methods/method.js';
import type { Recipe } from '../../../src/network/layers/recipe.js';
import { buildNetwork } from '../../../src/network/network-graph.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import { plainProduct } from '../../../src/recovery/cholesky.js';
import { inversionOf } from '../../../src/recovery/inversion/known-maps.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { hashed, relativeError } from '../../networks.js';

/** Two samples whose maps are known, looked for one after the other. */

const RECIPE: Recipe = {
  schemaVersion: 1,
  input: [2, 6, 6],
  layers: [
    { op: 'conv', weight: 'a', padding: 1 },
    { op: 'relu' },
    { op: 'global-average-pool' },
    { op: 'flatten' },
    { op: 'linear', weight: 'b' },
  ],
};
const SHAPES: Readonly<Record<string, number[]>> = { a: [16, 2, 3, 3], b: [3, 16] };
const EFFORT = { starts: 2, work: Infinity };

function problems() {
  const graph = new TensorGraph(foldConstant);
  const lookup = (name: string) => ({ shape: SHAPES[name]!, data: hashed(sizeOf(SHAPES[name]!), name.charCodeAt(0)) });
  const net = buildNetwork(graph, RECIPE, lookup, 1, 'eval');
  const network = { graph, recipe: RECIPE, net, soft: undefined, gradient: () => undefined };
  const truth = [5, 7].map((seed) => hashed(72, seed));
  const known = truth.map((x) =>
    inversionOf(
      network,
      [
        {
          node: 1,
          values: evaluate(net.outputs, { x })[1]!,
          rectified: true,
          upToFactor: false,
          unknown: undefined,
          error: 1e-7,
        },
      ],
      generator(1),
    ),
  );
  return { truth, known };
}

const task = { request: { attack: 'chain', engine: 'onnxruntime-cpu', timeLimitSeconds: 60 } } as NetworkTask;
const prepared = { candidate: { recipe: RECIPE } } as Prepared;

function context(pause: () => Promise<void>): Context {
  return { progress: () => undefined, pause, inputs: [], leaks: [], trueLabels: undefined };
}

const quiet = context(() => Promise.resolve());

function found(inputs: readonly Float64Array[], isSettled: boolean): Inverted {
  return {
    inputs: inputs.map((values) => ({ values, residual: 0.01, isSettled, basis: undefined })),
    engine: undefined,
    stopped: false,
    isSpent: false,
    isSettled,
    isAtFloor: false,
  };
}

describe('inputs of maps', () => {
  it('are computed for each sample', async () => {
    const { truth, known } = problems();
    const run = await inverted(task, known, prepared, EFFORT, plainProduct, quiet);
    expect(run).toMatchObject({ isSettled: true, isAtFloor: true, stopped: false });
    truth.forEach((own, at) => {
      expect(relativeError(run.inputs[at]!.values, own)).toBeLessThan(1e-5);
    });
  });

  it('keep what was found before where the search is stopped, for samples that were not begun too', async () => {
    const { known } = problems();
    const before = [hashed(72, 1), hashed(72, 2)];
    const stopped = context(() => Promise.reject(new CancelledError()));
    const run = await inverted(task, known, prepared, EFFORT, plainProduct, stopped, found(before, true));
    expect(run).toMatchObject({ stopped: true, isAtFloor: false });
    expect(run.inputs.map((input) => input?.values)).toEqual(before);
  });

  it('are not replaced by others that explain less, and replaced by those that explain more', async () => {
    const { truth, known } = problems();
    const before = [hashed(72, 1), hashed(72, 2)];
    const noWork = { starts: 1, work: 1 };
    const kept = await inverted(task, known, prepared, noWork, plainProduct, quiet, found(before, true));
    expect(kept.inputs.map((input) => input?.values)).toEqual(before);
    const run = await inverted(task, known, prepared, EFFORT, plainProduct, quiet, found(before, true));
    truth.forEach((own, at) => {
      expect(relativeError(run.inputs[at]!.values, own)).toBeLessThan(1e-5);
    });
  });
});
