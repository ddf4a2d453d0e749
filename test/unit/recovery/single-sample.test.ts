import { describe, expect, it } from 'vitest';
import { effectiveRoundoff, shapeOfGradient } from '../../../src/recovery/head-gradient.js';
import { landscapeOf } from '../../../src/recovery/landscape.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { factorsOf } from '../../../src/recovery/head-factors.js';
import { recoverSingle } from '../../../src/recovery/single-sample.js';
import { type SyntheticLabel, largestDifference, syntheticSample } from '../../synthetic-head.js';

const KINDS: SyntheticLabel[] = ['hard', 'smoothed', 'mixup', 'mixup-smoothed'];

describe('clean float32 gradients, no hint given', () => {
  for (const classes of [10, 17, 100]) {
    for (const spread of [1, 8]) {
      for (const bias of [true, false]) {
        it(`K = ${classes}, weights ${spread}, ${bias ? 'bias' : 'no bias'}: 4 kinds x 10`, () => {
          const random = generator(classes * 1000 + spread * 10 + Number(bias));
          for (const kind of KINDS) {
            for (let run = 0; run < 10; run++) {
              const { head, label, feature } = syntheticSample({ classes, features: 128, kind, bias, random, spread });
              const sample = recoverSingle(head, shapeOfGradient(head));
              expect({ status: sample.status, kind: sample.label.kind }).toEqual({ status: 'recovered', kind });
              expect(largestDifference(sample.label.probabilities, label)).toBeLessThan(1e-5);
              expect(largestDifference(sample.feature, feature)).toBeLessThan(1e-4);
            }
          }
        });
      }
    }
  }
});

describe('noise', () => {
  it.each([true, false])('bias %s: noise of 1e-3 blurs, and is called noise', (bias) => {
    const random = generator(5);
    let certain = 0;
    for (let run = 0; run < 10; run++) {
      const { head, label } = syntheticSample({
        classes: 10,
        features: 400,
        kind: 'smoothed',
        bias,
        random,
        noise: 1e-3,
        spread: 4,
      });
      const shape = shapeOfGradient(head);
      expect(shape.nature).toBe('single-noisy');
      expect(shape.noise).toBeGreaterThan(0.8e-3);
      expect(shape.noise).toBeLessThan(1.2e-3);
      const sample = recoverSingle(head, shape);
      expect(sample.status).not.toBe('not-identifiable');
      certain += sample.status === 'recovered' ? 1 : 0;
      // 1e-3 on every entry is up to a tenth of p - y here, so a few hundredths are what the data allow.
      expect(largestDifference(sample.label.probabilities, label)).toBeLessThan(3e-2);
    }
    expect(certain).toBeGreaterThanOrEqual(8);
  });

  it.each([true, false])('bias %s: noise as large as the gradient is neither a batch nor a recovered label', (bias) => {
    const random = generator(12);
    for (let run = 0; run < 10; run++) {
      const { head } = syntheticSample({ classes: 10, features: 400, kind: 'hard', bias, random, noise: 1 });
      const shape = shapeOfGradient(head);
      expect(['single-noisy', 'hidden']).toContain(shape.nature);
      expect(recoverSingle(head, shape).status).not.toBe('recovered');
    }
  });

  it('overwhelming noise is never called recovered with a wrong label', () => {
    const random = generator(6);
    for (let run = 0; run < 30; run++) {
      const { head, label } = syntheticSample({
        classes: 10,
        features: 64,
        kind: 'hard',
        bias: false,
        random,
        noise: 0.5,
      });
      const shape = shapeOfGradient(head);
      if (shape.nature === 'batch') {
        continue;
      }
      const sample = recoverSingle(head, shape);
      if (sample.status === 'recovered') {
        expect(sample.label.classes[0]?.index).toBe(label.indexOf(1));
      }
    }
  });
});

describe('what cannot be told is not told', () => {
  it('another checkpoint, with and without bias', () => {
    const random = generator(7);
    for (const bias of [true, false]) {
      for (let run = 0; run < 20; run++) {
        const one = syntheticSample({ classes: 10, features: 64, kind: 'hard', bias, random, spread: 4 });
        const other = syntheticSample({ classes: 10, features: 64, kind: 'hard', bias, random, spread: 4 });
        const head = { ...one.head, weight: other.head.weight };
        expect(recoverSingle(head, shapeOfGradient(head)).status).not.toBe('recovered');
      }
    }
  });

  it('a dense label without a bias gradient', () => {
    const random = generator(8);
    for (let run = 0; run < 20; run++) {
      const { head, feature } = syntheticSample({
        classes: 10,
        features: 64,
        kind: 'hard',
        bias: false,
        random,
        spread: 4,
      });
      const dense = Float64Array.from({ length: 10 }, random);
      const total = dense.reduce((sum, value) => sum + value, 0);
      const one = head.weightGradient;
      // G + (y_hard - y_dense) x^T is the gradient under the dense label.
      const data = one.data.map((value, at) => {
        const i = Math.floor(at / one.cols);
        const hard = 0;
        return value + (hard - dense[i]! / total) * feature[at % one.cols]!;
      });
      const changed = { ...head, weightGradient: { ...one, data } };
      const shape = shapeOfGradient(changed);
      expect(recoverSingle(changed, shape).status).not.toBe('recovered');
    }
  });
});

describe('precision that the numbers carry', () => {
  it.each([
    ['bfloat16', 16, 2 ** -8],
    ['float16 or tensor-float32', 13, 2 ** -11],
    ['float32', 0, 2 ** -24],
  ])('%s stored as float32', (_name, dropped, roundoff) => {
    const random = generator(9);
    const floats = new Float32Array(1);
    const words = new Uint32Array(floats.buffer);
    const values = Float64Array.from({ length: 1000 }, () => {
      floats[0] = 2 * random() - 1;
      words[0] = (words[0]! >>> dropped) << dropped;
      return floats[0];
    });
    expect(effectiveRoundoff(values, 2 ** -24)).toBe(roundoff);
  });
});

describe('landscape', () => {
  it('has its lowest point at the solution, on both curves', () => {
    const random = generator(10);
    for (const bias of [true, false]) {
      const { head } = syntheticSample({ classes: 10, features: 64, kind: 'smoothed', bias, random, spread: 4 });
      const shape = shapeOfGradient(head);
      const sample = recoverSingle(head, shape);
      const landscape = landscapeOf(head, sample, factorsOf(head, shape).row)!;
      const lowest = (curve: number[]): number => landscape.lambda[curve.indexOf(Math.min(...curve))]!;
      expect(lowest(landscape.residual)).toBe(sample.lambda);
      expect(lowest(landscape.paperLoss)).toBe(sample.lambda);
      expect(landscape.solution).toBe(sample.lambda);
      expect([...landscape.lambda].sort((a, b) => a - b)).toEqual(landscape.lambda);
    }
  });

  it.each([true, false])('bias %s: so it has where the gradient was clipped', (bias) => {
    const { head } = syntheticSample({
      classes: 10,
      features: 64,
      kind: 'hard',
      bias,
      random: generator(11),
      spread: 4,
    });
    const times = (values: Float64Array): Float64Array => values.map((value) => 0.37 * value);
    const clipped = {
      ...head,
      weightGradient: { ...head.weightGradient, data: times(head.weightGradient.data) },
      biasGradient: head.biasGradient && times(head.biasGradient),
    };
    const shape = shapeOfGradient(clipped);
    const sample = recoverSingle(clipped, shape);
    expect(sample.scale).toBeCloseTo(0.37, 4);
    const { lambda, residual, paperLoss, solution } = landscapeOf(clipped, sample, factorsOf(clipped, shape).row)!;
    const lowest = (curve: number[]): number => lambda[curve.indexOf(Math.min(...curve))]!;
    expect([lowest(residual), lowest(paperLoss)]).toEqual([solution, solution]);
  });

  it('marks the lowest point where no label was told', () => {
    const { head } = syntheticSample({
      classes: 10,
      features: 64,
      kind: 'hard',
      bias: false,
      random: generator(11),
      spread: 4,
    });
    const foreign = {
      ...head,
      weight: { ...head.weight, data: head.weight.data.map((value) => value + 1 / (3 + value)) },
    };
    const shape = shapeOfGradient(foreign);
    const sample = recoverSingle(foreign, shape);
    expect(sample.status).toBe('not-identifiable');
    const { lambda, residual, solution } = landscapeOf(foreign, sample, factorsOf(foreign, shape).row)!;
    expect(lambda[residual.indexOf(Math.min(...residual))]).toBe(solution);
  });
});
