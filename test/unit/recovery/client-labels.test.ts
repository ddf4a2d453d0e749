import { describe, expect, it } from 'vitest';
import { softmax } from '../../../src/recovery/activation.js';
import {
  type LocalTraining,
  classShares,
  contradicts,
  estimateCounts,
  leastCounts,
} from '../../../src/recovery/client-labels.js';
import type { HeadGradient } from '../../../src/recovery/head-gradient.js';
import { multiply } from '../../../src/recovery/linear-algebra.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import { gaussian } from '../../synthetic-head.js';
import { generator } from '../../../src/recovery/paper-method.js';

/** A head that learns from fixed features, step by step, as a client's optimiser does it. */

const pause = (): Promise<void> => Promise.resolve();

interface Client {
  readonly head: HeadGradient;
  readonly training: LocalTraining;
  readonly steps: number;
  /** Samples of each class, and the sum of what was predicted for it, averaged over the epochs. */
  readonly counts: readonly number[];
  readonly predicted: Float64Array;
}

interface Plan {
  readonly counts: readonly number[];
  readonly batchSize: number;
  readonly epochs: number;
  readonly learningRate: number;
  readonly momentum?: number;
  readonly smoothing?: number;
  readonly spread?: number;
  readonly decay?: number;
  /** Of the first class; the others share its opposite. */
  readonly bias?: number;
}

function trained({
  counts,
  batchSize,
  epochs,
  learningRate,
  momentum = 0,
  smoothing = 0,
  spread = 0.1,
  ...other
}: Plan): Client {
  const { decay = 0, bias: first = 0 } = other;
  const [classes, width] = [counts.length, 24];
  const random = generator(7);
  const noise = (): number => gaussian(random);
  const centres = counts.map(() => Float64Array.from({ length: width }, noise));
  const labels = counts.flatMap((count, index) => new Array<number>(count).fill(index));
  const features = labels.map((label) => centres[label]!.map((value) => value + spread * noise()));
  const weight = {
    rows: classes,
    cols: width,
    data: Float64Array.from({ length: classes * width }, () => 0.1 * noise()),
  };
  const bias = Float64Array.from({ length: classes }, (_, index) => (index === 0 ? first : -first / (classes - 1)));
  const before = { weight: { ...weight, data: weight.data.slice() }, bias: bias.slice() };
  const [weightSpeed, biasSpeed] = [new Float64Array(weight.data.length), new Float64Array(classes)];
  const predicted = new Float64Array(classes);
  let steps = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = labels.map((_, index) => ({ index, key: random() })).sort((one, other) => one.key - other.key);
    for (let start = 0; start < order.length; start += batchSize) {
      const batch = order.slice(start, start + batchSize);
      const [weightStep, biasStep] = [new Float64Array(weight.data.length), new Float64Array(classes)];
      for (const { index } of batch) {
        const own = features[index]!;
        const p = softmax(multiply(weight, own).map((value, at) => value + bias[at]!));
        for (let row = 0; row < classes; row++) {
          predicted[row]! += p[row]! / epochs;
          const wanted = (labels[index] === row ? 1 - smoothing : 0) + smoothing / classes;
          const error = (p[row]! - wanted) / batch.length;
          biasStep[row]! += error;
          for (let col = 0; col < width; col++) {
            weightStep[row * width + col]! += error * own[col]!;
          }
        }
      }
      const move = (values: Float64Array, speed: Float64Array, step: Float64Array): void => {
        for (let at = 0; at < values.length; at++) {
          speed[at] = momentum * speed[at]! + step[at]! + decay * values[at]!;
          values[at]! -= learningRate * speed[at]!;
        }
      };
      move(weight.data, weightSpeed, weightStep);
      move(bias, biasSpeed, biasStep);
      steps++;
    }
  }
  const samples = labels.length;
  return {
    head: {
      ...before,
      weightGradient: { ...weight, data: before.weight.data.map((value, at) => value - weight.data[at]!) },
      biasGradient: before.bias.map((value, at) => value - bias[at]!),
      roundoff: 2 ** -53,
      underflow: 0,
    },
    training: { learningRate, epochs, batchSize, samples, momentum },
    steps,
    counts,
    predicted,
  };
}

/** 300 samples, none of the first class. */
const ABSENT = [0, 102, ...new Array<number>(99).fill(2)];
const FEW = [6, 0, 3, 0, 1, 0, 2, 0, 0, 0];

describe('what a head gained over several steps', () => {
  it('is how often each class occurs, less what was predicted for it', () => {
    const { head, training, steps, counts, predicted } = trained({
      counts: FEW,
      batchSize: 4,
      epochs: 5,
      learningRate: 0.05,
    });
    const { excess } = classShares(head, training, steps)!;
    for (const [index, own] of excess.entries()) {
      expect(own).toBeCloseTo(counts[index]! - predicted[index]!, 9);
    }
  });

  it('is told as quickly for any number of steps that is stated', () => {
    const { head, training } = trained({ counts: FEW, batchSize: 4, epochs: 1, learningRate: 0.05, momentum: 0.5 });
    const { excess } = classShares(head, training, 2 ** 50)!;
    expect(excess.every(Number.isFinite)).toBe(true);
  });

  it('needs a bias', () => {
    const { head, training, steps } = trained({ counts: FEW, batchSize: 4, epochs: 1, learningRate: 0.1 });
    expect(classShares({ ...head, biasGradient: undefined }, training, steps)).toBeUndefined();
  });

  it.each([
    ['plain steps', {}],
    ['momentum', { momentum: 0.9, learningRate: 0.01 }],
    ['smoothed labels', { smoothing: 0.2 }],
    ['smoothed labels that are learned to the end', { smoothing: 0.2, epochs: 300, learningRate: 0.5 }],
    ['a last batch of one sample', { counts: [6, 0, 3, 0, 1, 0, 3, 0, 0, 0], batchSize: 3 }],
    ['a last batch of one sample among few', { counts: [5, 0, 3, 1, 0, 0, 0, 0, 0, 0], batchSize: 4, epochs: 20 }],
    ['one class', { counts: [12, 0, 0, 0] }],
  ])('bounds the counts from below: %s', (_, plan: Partial<Plan>) => {
    const { head, training, steps, counts } = trained({
      counts: FEW,
      batchSize: 4,
      epochs: 5,
      learningRate: 0.05,
      ...plan,
    });
    const shares = classShares(head, training, steps)!;
    const least = leastCounts(shares, training, steps);
    expect(contradicts(shares, training)).toBe(false);
    for (const [index, bound] of least.entries()) {
      expect(bound).toBeLessThanOrEqual(counts[index]!);
    }
    // A class that is half of all samples is known to be there, unless one small batch could be all of it, or all is learned.
    const isOpen = training.samples % training.batchSize > 0 || training.epochs > 100;
    expect(least[0]! > 0).toBe(!isOpen);
  });

  it('holds with a weight decay that the sums of the head do not show', () => {
    const plan = { decay: 1e-3, bias: -8, counts: ABSENT, batchSize: 4, epochs: 5, learningRate: 0.01 };
    const { head, training, steps, counts } = trained(plan);
    const least = leastCounts(classShares(head, training, steps)!, training, steps);
    expect(least.every((bound, index) => bound <= counts[index]!)).toBe(true);
    expect(least.some((bound) => bound > 0)).toBe(true);
  });

  it('holds with a rate that is stated in round numbers, or gradients of bfloat16', () => {
    const training = { learningRate: 0.0033, epochs: 1, batchSize: 20, samples: 20, momentum: 0 };
    // One class only, which is never predicted: 1/300 of a rate is stated as 0.0033.
    const excess = Float64Array.of(20 / (300 * 0.0033), -20 / (300 * 0.0033));
    const shares = { excess, features: new Float64Array(2), rounding: 0, decay: new Float64Array(2) };
    expect(contradicts(shares, training)).toBe(false);
    expect(leastCounts(shares, training, 1)).toEqual([20, 0]);
  });

  it('is not told of rates that cannot be divided by', () => {
    const { head, training, steps } = trained({ counts: FEW, batchSize: 4, epochs: 5, learningRate: 0.05 });
    expect(classShares(head, { ...training, learningRate: 5e-324 }, steps)).toBeUndefined();
  });

  it('bounds nothing by what rounding may have added', () => {
    const { head, training, steps } = trained({ counts: FEW, batchSize: 4, epochs: 5, learningRate: 0.05 });
    const shares = classShares({ ...head, underflow: 1 }, training, steps)!;
    expect(leastCounts(shares, training, steps)).toEqual(FEW.map(() => 0));
  });

  it.each([
    ['a learning rate that is too low', { learningRate: 0.005 }],
    ['too few epochs', { epochs: 1 }],
    ['too few samples', { samples: 4 }],
  ])('contradicts %s', (_, wrong) => {
    const { head, training, steps } = trained({ counts: FEW, batchSize: 4, epochs: 5, learningRate: 0.05 });
    const stated = { ...training, ...wrong };
    expect(contradicts(classShares(head, stated, steps)!, stated)).toBe(true);
  });
});

describe('counts that explain it', () => {
  it.each([
    ['one epoch', { epochs: 1, learningRate: 0.05 }],
    ['several epochs', { epochs: 4, learningRate: 0.01 }],
    ['more of them', { epochs: 20, learningRate: 0.002 }],
    ['momentum', { epochs: 3, learningRate: 0.005, momentum: 0.9 }],
  ])('are found: %s', async (_, plan) => {
    const { head, training, steps, counts } = trained({ counts: FEW, batchSize: 4, ...plan });
    const shares = classShares(head, training, steps)!;
    const found = await estimateCounts(head, shares, leastCounts(shares, training, steps), training, steps, pause);
    expect(found.counts).toEqual(counts);
    expect(found.misfit).toBeLessThan(0.1);
  });

  it('are found among more classes than are looked at one by one', async () => {
    const counts = new Array<number>(150).fill(0);
    counts[3] = 5;
    counts[70] = 2;
    counts[149] = 9;
    const { head, training, steps } = trained({ counts, batchSize: 4, epochs: 3, learningRate: 0.05 });
    const shares = classShares(head, training, steps)!;
    const least = leastCounts(shares, training, steps);
    const found = await estimateCounts(head, shares, least, training, steps, pause);
    expect(found.counts).toEqual(counts);
  });

  it('sum to the samples, and are no fewer than is known', async () => {
    const { head, training, steps } = trained({ counts: FEW, batchSize: 4, epochs: 5, learningRate: 0.05 });
    const shares = classShares(head, training, steps)!;
    const least = [0, 0, 0, 3, 0, 0, 0, 0, 2, 0];
    const { counts } = await estimateCounts(head, shares, least, training, steps, pause);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(training.samples);
    expect(counts.every((count, index) => count >= least[index]!)).toBe(true);
  });

  it('are not sought further once the user stops it', async () => {
    const { head, training, steps } = trained({ counts: FEW, batchSize: 4, epochs: 5, learningRate: 0.05 });
    const shares = classShares(head, training, steps)!;
    let calls = 0;
    const stop = (): Promise<void> => (++calls > 3 ? Promise.reject(new CancelledError()) : Promise.resolve());
    const none = FEW.map(() => 0);
    await expect(estimateCounts(head, shares, none, training, steps, stop)).rejects.toThrow(CancelledError);
    expect(calls).toBe(4);
  });
});
