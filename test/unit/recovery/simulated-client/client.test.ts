import { describe, expect, it } from 'vitest';
import { evaluate, foldConstant } from '../../../../src/graph/evaluate.js';
import type { Recipe } from '../../../../src/network/layers/recipe.js';
import type { StoredTensor } from '../../../../src/network/network-graph.js';
import { CancelledError } from '../../../../src/protocol/errors.js';
import { oneHot } from '../../../../src/recovery/one-hot.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { agreedImages } from '../../../../src/recovery/simulated-client/agreement.js';
import { type Compile, simulatedClient } from '../../../../src/recovery/simulated-client/client.js';
import { distanceOf, relativeDifference } from '../../../../src/recovery/simulated-client/distance.js';
import {
  type StatedSteps,
  batchSizes,
  labelsOf,
  shuffledSteps,
} from '../../../../src/recovery/simulated-client/plan.js';
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
const LABELS = [0, 0, 1, 2, 2];
const STATED: StatedSteps = { samples: 5, batchSize: 2, epochs: 2, steps: 6, rate: 0.7 };
const STEPS = shuffledSteps(STATED, generator(1));

/** In float64, where finite differences are exact enough to tell. */
const inLoops: Compile = (outputs) =>
  Promise.resolve({
    run: (feeds) => Promise.resolve(evaluate(outputs, feeds)),
    dispose: () => Promise.resolve(),
  });

const clientOf = (labels = LABELS) =>
  simulatedClient(
    START,
    oneHot(labels, 3),
    3,
    batchSizes(STATED),
    (batch) => stepGraph(foldConstant, RECIPE, (name) => STORED.get(name), NAMES, batch, 'eval'),
    inLoops,
  );
const free = () => Promise.resolve();

async function endOf(images: Float64Array, steps = STEPS, labels = LABELS) {
  return (await (await clientOf(labels)).states(images, steps, free)).at(-1)!;
}

async function updateOf(images: Float64Array): Promise<Float64Array[]> {
  return (await endOf(images)).map((data, index) => Float64Array.from(data, (own, at) => own - START[index]![at]!));
}

describe('a simulated client', () => {
  it('ends where the derivative by finite differences says', async () => {
    const truth = drawn(5 * 16);
    const images = drawn(5 * 16);
    const update = await updateOf(truth);
    const client = await clientOf();
    const lossAt = async (at: Float64Array): Promise<number> =>
      distanceOf(START, (await client.states(at, STEPS, free)).at(-1)!, update).loss;
    const states = await client.states(images, STEPS, free);
    const slope = await client.slope(images, STEPS, states, distanceOf(START, states.at(-1)!, update).adjoint, free);
    for (const at of [0, 7, 18, 40, 65, 79]) {
      const moved = (by: number): Float64Array => images.map((own, index) => (index === at ? own + by : own));
      const expected = ((await lossAt(moved(1e-5))) - (await lossAt(moved(-1e-5)))) / 2e-5;
      expect(Math.abs(slope[at]! - expected)).toBeLessThan(1e-6 * Math.abs(expected) + 1e-10);
    }
  });

  it('explains its own update, and not that of other labels or another rate', async () => {
    const truth = drawn(5 * 16);
    const update = await updateOf(truth);
    expect(distanceOf(START, await endOf(truth), update).error).toBeLessThan(1e-12);
    expect(distanceOf(START, await endOf(truth, STEPS, [1, 0, 1, 2, 2]), update).error).toBeGreaterThan(0.05);
    const slower = STEPS.map((step) => ({ ...step, rate: 0.35 }));
    expect(distanceOf(START, await endOf(truth, slower), update).error).toBeGreaterThan(0.05);
    expect(() => distanceOf(START, START, [])).toThrow(RangeError);
  });

  it('depends on the order of samples in proportion to the rate', async () => {
    const truth = drawn(5 * 16);
    const differenceAt = async (rate: number): Promise<number> => {
      const [one, other] = [1, 2].map((seed) =>
        shuffledSteps({ ...STATED, batchSize: 1, steps: 10, rate }, generator(seed)),
      );
      const client = await simulatedClient(
        START,
        oneHot(LABELS, 3),
        3,
        [1],
        (batch) => stepGraph(foldConstant, RECIPE, (name) => STORED.get(name), NAMES, batch, 'eval'),
        inLoops,
      );
      const ends = [one!, other!].map(async (steps) => (await client.states(truth, steps, free)).at(-1)!);
      return relativeDifference(START, (await ends[0])!, (await ends[1])!);
    };
    const [large, small] = [await differenceAt(1e-3), await differenceAt(1e-4)];
    expect(large).toBeGreaterThan(1e-5);
    expect(small / large).toBeGreaterThan(0.09);
    expect(small / large).toBeLessThan(0.11);
  });

  it('keeps what there is when the search is stopped', async () => {
    const truth = drawn(5 * 16).map((own) => own + 0.5);
    const update = await updateOf(truth);
    let last: Float64Array | undefined;
    let error = Infinity;
    const task = {
      shape: [1, 4, 4],
      samples: 5,
      bounds: [[0, 1]] as const,
      start: START,
      update,
      steps: STEPS,
      iterations: 100,
      priorWeight: 0,
      random: generator(4),
    };
    const found = await searchImages(await clientOf(), task, (state) => {
      if (state) {
        ({ images: last, error } = state);
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

describe('the order of a client’s samples', () => {
  it('has every sample once in each epoch, the last batch smaller', () => {
    expect(STEPS.map(({ samples }) => samples.length)).toEqual([2, 2, 1, 2, 2, 1]);
    for (const epoch of [STEPS.slice(0, 3), STEPS.slice(3)]) {
      expect(epoch.flatMap(({ samples }) => samples).sort()).toEqual([0, 1, 2, 3, 4]);
    }
    expect(batchSizes(STATED)).toEqual([2, 1]);
  });

  it('drops a last batch where the steps say so', () => {
    const dropped = { ...STATED, steps: 4 };
    expect(shuffledSteps(dropped, generator(1)).map(({ samples }) => samples.length)).toEqual([2, 2, 2, 2]);
    expect(batchSizes(dropped)).toEqual([2, 2]);
    expect(batchSizes({ ...STATED, batchSize: 5, steps: 2 })).toEqual([5]);
  });

  it('takes labels from counts', () => {
    expect(labelsOf([2, 0, 1])).toEqual([0, 0, 2]);
    expect(oneHot([0, 2], 3)).toEqual(Float64Array.of(1, 0, 0, 0, 0, 1));
  });
});

describe('what searches find alike', () => {
  const alike = (searches: readonly Float64Array[], labels: readonly number[], range = [1]) =>
    agreedImages(searches, labels, range, free);
  const joined = (...parts: Float64Array[]): Float64Array => Float64Array.from(parts.flatMap((own) => [...own]));

  it('is matched within classes, whatever the order', async () => {
    const [a, b, c] = [drawn(16), drawn(16), drawn(16)];
    const near = joined(b, a, c).map((own) => own + 0.001);
    const { images, agreement } = await alike([joined(a, b, c), near, joined(a, b, drawn(16))], [0, 0, 1]);
    expect(agreement![0]).toBeGreaterThan(0.999);
    expect(agreement![1]).toBeGreaterThan(0.999);
    expect(agreement![2]).toBeLessThan(0.8);
    expect(Math.abs(images[0]! - a[0]!)).toBeLessThan(0.001);
    expect((await alike([joined(a, b)], [0, 0])).agreement).toBeUndefined();
  });

  it('is nothing in even greys and colours, whatever noise is on them', async () => {
    const grey = new Float64Array(32).fill(0.3);
    expect((await alike([grey, grey], [0, 1])).agreement!.every((own) => Math.abs(own) < 1e-6)).toBe(true);
    const colour = (): Float64Array =>
      Float64Array.from({ length: 48 }, (_, at) => [0.2, 0.5, 0.8][Math.floor(at / 16)]! * 4 + 0.04 * (random() - 0.5));
    const { agreement } = await alike([colour(), colour(), colour()], [0], [4, 4, 4]);
    expect(Math.abs(agreement![0]!)).toBeLessThan(0.1);
  });

  it('stops when asked', async () => {
    const stopping = () => Promise.reject(new CancelledError());
    await expect(agreedImages([drawn(32), drawn(32)], [0, 0], [1], stopping)).rejects.toThrow(CancelledError);
  });
});

it('lets go of what was compiled where the rest cannot be', async () => {
  let open = 0;
  const failing: Compile = (outputs) => {
    if (open === 1) {
      throw new Error('refused');
    }
    open++;
    return Promise.resolve({
      run: (feeds) => Promise.resolve(evaluate(outputs, feeds)),
      dispose: () => {
        open--;
        return Promise.resolve();
      },
    });
  };
  const made = simulatedClient(
    START,
    oneHot(LABELS, 3),
    3,
    [2],
    (batch) => stepGraph(foldConstant, RECIPE, (name) => STORED.get(name), NAMES, batch, 'eval'),
    failing,
  );
  await expect(made).rejects.toThrow('refused');
  expect(open).toBe(0);
});
