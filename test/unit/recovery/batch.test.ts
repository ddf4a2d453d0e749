import { describe, expect, it } from 'vitest';
import { softmax } from '../../../src/recovery/activation.js';
import { estimateBatch } from '../../../src/recovery/batch/batch-size.js';
import { recoverBatch } from '../../../src/recovery/batch/recover-batch.js';
import { whiten } from '../../../src/recovery/batch/whiten.js';
import { type HeadGradient, shapeOfGradient } from '../../../src/recovery/head-gradient.js';
import { countLabels } from '../../../src/recovery/label-counts.js';
import { rankOne } from '../../../src/recovery/rank-one.js';
import { truncatedSvd } from '../../../src/recovery/truncated-svd.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { norm } from '../../../src/recovery/vectors.js';
import { syntheticBatch } from '../../write-fixtures.js';

const pause = (): Promise<void> => Promise.resolve();

function batchHead(classes: number, features: number, batch: number, seed: number): HeadGradient {
  const made = syntheticBatch({ classes, features, batch, random: generator(seed) });
  return {
    weight: { rows: classes, cols: features, data: Float64Array.from(made.weight.data) },
    bias: undefined,
    weightGradient: { rows: classes, cols: features, data: Float64Array.from(made.gradient.data) },
    biasGradient: undefined,
    roundoff: 2 ** -24,
    underflow: 0,
  };
}

describe('singular values', () => {
  it('of a matrix made of known ones', async () => {
    // Householder reflections are orthogonal: H diag(s) H' has exactly these singular values.
    const [rows, cols, wanted] = [12, 30, [9, 4, 1, 1e-3, 1e-7]] as const;
    const random = generator(1);
    const unit = (length: number): Float64Array => {
      const v = Float64Array.from({ length }, () => random() - 0.5);
      return v.map((value) => value / norm(v));
    };
    const [left, right] = [unit(rows), unit(cols)];
    const reflect = (v: Float64Array, i: number, j: number): number => Number(i === j) - 2 * v[i]! * v[j]!;
    const data = new Float64Array(rows * cols);
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) {
        data[i * cols + j] = wanted.reduce((sum, s, k) => sum + s * reflect(left, i, k) * reflect(right, k, j), 0);
      }
    }
    const found = await truncatedSvd({ rows, cols, data }, { floor: 1e-9, most: 100 }, pause);
    expect(found.rank).toBe(wanted.length);
    wanted.forEach((value, at) => {
      expect(found.values[at]! / value).toBeCloseTo(1, 6);
    });
    // The vectors put the matrix together again.
    let worst = 0;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) {
        let sum = 0;
        for (let k = 0; k < found.rank; k++) {
          sum += found.values[k]! * found.left[i * found.rank + k]! * found.right[j * found.rank + k]!;
        }
        worst = Math.max(worst, Math.abs(sum - data[i * cols + j]!));
      }
    }
    expect(worst).toBeLessThan(1e-9);
    expect(norm(rankOne({ rows, cols, data }).u)).toBeCloseTo(9, 12);
  });
});

describe('two nearly equal samples of one class', () => {
  it.each([3e-3, 1e-2])('are never told to be one, %d apart', async (apart) => {
    const [classes, features] = [10, 64];
    const random = generator(7);
    const weight = Float64Array.from({ length: classes * features }, () => Math.fround(0.2 * (random() - 0.5)));
    const one = Float64Array.from({ length: features }, () => random() * 0.1);
    const gradient = new Float64Array(classes * features);
    for (const feature of [one, one.map((value) => value + apart * 0.1 * random())]) {
      const logits = Float64Array.from({ length: classes }, (_, k) =>
        feature.reduce((sum, value, at) => sum + weight[k * features + at]! * value, 0),
      );
      softmax(logits).forEach((p, k) => {
        feature.forEach((value, at) => (gradient[k * features + at]! += ((p - Number(k === 7)) * value) / 2));
      });
    }
    const head: HeadGradient = {
      weight: { rows: classes, cols: features, data: weight },
      bias: undefined,
      weightGradient: { rows: classes, cols: features, data: gradient.map(Math.fround) },
      biasGradient: undefined,
      roundoff: 2 ** -24,
      underflow: 0,
    };
    const whitened = await whiten(head, pause);
    const found = await recoverBatch(whitened, { timeLimitMs: 20_000, pause });
    const count = found.samples.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
    expect(whitened.svd.rank).toBe(2);
    expect(found.complete ? count : 2).toBe(2);
    // The mean of both is no sample: each is further from it than a sample's error would say.
    expect(found.samples.length === 1 ? found.samples[0]!.multiplicity : 2).toBe(2);
  });
});

describe('batch size', () => {
  it.each([2, 5, 20, 60])('%i samples at K = 100', async (batch) => {
    const head = batchHead(100, 200, batch, batch);
    const shape = shapeOfGradient(head);
    expect(shape.nature).toBe('batch');
    const estimate = await estimateBatch(head, await whiten(head, pause), pause);
    expect(estimate).toMatchObject({ size: batch, lowerBound: batch });
  });

  it('is only bounded when the rank is saturated', async () => {
    const head = batchHead(10, 200, 40, 3);
    const estimate = await estimateBatch(head, await whiten(head, pause), pause);
    expect(estimate).toMatchObject({ size: undefined, lowerBound: 9 });
  });
});

describe('label counts', () => {
  it('sum to the batch, and the estimators without bias are there', async () => {
    const head = batchHead(100, 300, 24, 4);
    const { estimators, agreed } = await countLabels(head, 24, pause);
    expect(estimators.map(({ name }) => name)).toEqual(['llg', 'e2egi', 'gradinversion']);
    for (const { counts, multiplicity } of estimators) {
      const sum = counts.reduce((total, count) => total + count, 0);
      expect(multiplicity ? sum : Math.min(sum, 24)).toBe(multiplicity ? 24 : sum);
    }
    expect(agreed).toHaveLength(100);
  });
});
