import { describe, expect, it } from 'vitest';
import { evaluate, foldConstant } from '../../../../src/graph/evaluate.js';
import type { Recipe } from '../../../../src/network/layers/recipe.js';
import type { StoredTensor } from '../../../../src/network/network-graph.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { type Compile, simulatedClient } from '../../../../src/recovery/simulated-client/client.js';
import { distanceOf } from '../../../../src/recovery/simulated-client/distance.js';
import { asWhole, inBatches, oneHot, spreadLabels } from '../../../../src/recovery/simulated-client/plan.js';
import { searchImages } from '../../../../src/recovery/simulated-client/search.js';
import { stepGraph } from '../../../../src/recovery/simulated-client/step-graph.js';
import { totalVariation } from '../../../../src/recovery/simulated-client/total-variation.js';

const RECIPE: Recipe = {
  schemaVersion: 1,
  input: [1, 4, 4],
  layers: [
    { op: 'conv', weight: 'conv.weight', bias: 'conv.bias', padding: 1 },
    { op: 'sigmoid' },
    { op: 'flatten' },
    { op: 'linear', weight: 'fc.weight', bias: 'fc.bias' },
  ],
};
const SHAPES = { 'conv.weight': [2, 1, 3, 3], 'conv.bias': [2], 'fc.weight': [3, 32], 'fc.bias': [3] };
const NAMES = Object.keys(SHAPES);
const random = generator(3);
const drawn = (size: number): Float64Array => Float64Array.from({ length: size }, () => random() - 0.5);
const STORED = new Map<string, StoredTensor>(
  Object.entries(SHAPES).map(([name, shape]) => [name, { shape, data: drawn(shape.reduce((all, own) => all * own)) }]),
);
const START = NAMES.map((name) => STORED.get(name)!.data);
const SAMPLES = 5;
const LABELS = [0, 2, 1, 2, 0];

/** In float64, where finite differences are exact enough to tell. */
const inLoops: Compile = (outputs) =>
  Promise.resolve({
    run: (feeds) => Promise.resolve(evaluate(outputs, feeds)),
    dispose: () => Promise.resolve(),
  });

const clientOf = (steps = inBatches(SAMPLES, 2, 2, 0.7), labels = LABELS) =>
  simulatedClient(
    START,
    steps,
    oneHot(labels, 3),
    3,
    (batch) => stepGraph(foldConstant, RECIPE, (name) => STORED.get(name), NAMES, batch, 'eval'),
    inLoops,
  );
const free = () => Promise.resolve();

async function updateOf(images: Float64Array): Promise<Float64Array[]> {
  const states = await (await clientOf()).states(images, free);
  return states.at(-1)!.map((data, index) => Float64Array.from(data, (own, at) => own - START[index]![at]!));
}

describe('a simulated client', () => {
  it('ends where the derivative by finite differences says', async () => {
    const truth = drawn(SAMPLES * 16);
    const images = drawn(SAMPLES * 16);
    const update = await updateOf(truth);
    const client = await clientOf();
    const lossAt = async (at: Float64Array): Promise<number> =>
      distanceOf(START, (await client.states(at, free)).at(-1)!, update).loss;
    const states = await client.states(images, free);
    const slope = await client.slope(images, states, distanceOf(START, states.at(-1)!, update).adjoint, free);
    for (const at of [0, 7, 18, 40, 65, 79]) {
      const moved = (by: number): Float64Array => images.map((own, index) => (index === at ? own + by : own));
      const expected = ((await lossAt(moved(1e-5))) - (await lossAt(moved(-1e-5)))) / 2e-5;
      expect(Math.abs(slope[at]! - expected)).toBeLessThan(1e-6 * Math.abs(expected) + 1e-10);
    }
  });

  it('explains its own update, and not that of other labels or another rate', async () => {
    const truth = drawn(SAMPLES * 16);
    const update = await updateOf(truth);
    const errorOf = async (client: Awaited<ReturnType<typeof clientOf>>): Promise<number> =>
      distanceOf(START, (await client.states(truth, free)).at(-1)!, update).error;
    expect(await errorOf(await clientOf())).toBeLessThan(1e-12);
    expect(await errorOf(await clientOf(undefined, [1, 2, 1, 2, 0]))).toBeGreaterThan(0.05);
    expect(await errorOf(await clientOf(inBatches(SAMPLES, 2, 2, 0.35)))).toBeGreaterThan(0.05);
  });

  it('hardly depends on the order of samples at a small rate', async () => {
    const truth = drawn(SAMPLES * 16);
    const reached = async (rate: number, whole: number) => {
      const steps = whole > 0 ? asWhole(SAMPLES, 1, 2, rate, whole) : inBatches(SAMPLES, 1, 2, rate);
      return (await (await clientOf(steps)).states(truth, free)).at(-1)!;
    };
    const errorAt = async (rate: number): Promise<number> => {
      const update = (await reached(rate, 0)).map((data, index) =>
        Float64Array.from(data, (own, at) => own - START[index]![at]!),
      );
      return distanceOf(START, await reached(rate, 1), update).error;
    };
    const [large, small] = [await errorAt(1e-2), await errorAt(1e-3)];
    expect(large).toBeGreaterThan(1e-3);
    expect(small / large).toBeGreaterThan(0.09);
    expect(small / large).toBeLessThan(0.11);
  });

  it('keeps the best so far when it is stopped', async () => {
    const truth = drawn(SAMPLES * 16).map((own) => own + 0.5);
    const update = await updateOf(truth);
    let last: Float64Array | undefined;
    let error = Infinity;
    const task = {
      shape: [1, 4, 4],
      samples: SAMPLES,
      bounds: [[0, 1]] as const,
      start: START,
      update,
      settings: { iterations: 100, learningRate: 0.05, totalVariation: 0, seed: 1 },
    };
    const found = await searchImages(await clientOf(), task, (state) => {
      if (state) {
        last = state.images;
        error = state.error;
        if (state.iteration === 40) {
          throw new CancelledError();
        }
      }
      return Promise.resolve();
    });
    expect(found).toMatchObject({ stopped: true, error, images: last });
    expect(found.error).toBeLessThan(0.7 * found.curve[0]!.error);
    expect(found.images.every((own) => own >= 0 && own <= 1)).toBe(true);
  });
});

it('gives total variation with its slope', () => {
  const images = drawn(2 * 3 * 4 * 5);
  const { value, slope } = totalVariation(images, 2, [3, 4, 5]);
  expect(value).toBeGreaterThan(0.3);
  for (const at of [0, 33, 119]) {
    const moved = (by: number): number =>
      totalVariation(
        images.map((own, index) => (index === at ? own + by : own)),
        2,
        [3, 4, 5],
      ).value;
    expect(slope[at]).toBeCloseTo((moved(1e-6) - moved(-1e-6)) / 2e-6, 6);
  }
  expect(totalVariation(images, 12, [10])).toEqual({ value: 0, slope: new Float64Array(120) });
});

it('spreads labels of known counts over the batches', () => {
  expect(spreadLabels([4, 0, 2])).toEqual([0, 2, 0, 0, 2, 0]);
  expect(inBatches(5, 2, 1, 0.1).map(({ samples }) => samples)).toEqual([[0, 1], [2, 3], [4]]);
  expect(asWhole(5, 2, 2, 0.1, 1)).toEqual([
    { samples: [0, 1, 2, 3, 4], rate: expect.closeTo(0.3) as number },
    { samples: [0, 1, 2, 3, 4], rate: expect.closeTo(0.3) as number },
  ]);
});
