import { describe, expect, it } from 'vitest';
import { shapeOfGradient } from '../../../src/recovery/head-gradient.js';
import { generator, paperCurve, recoverLikePaper } from '../../../src/recovery/paper-method.js';
import { factorsOf } from '../../../src/recovery/head-factors.js';
import { largestDifference, syntheticSample } from '../../synthetic-head.js';

const pause = (): Promise<void> => Promise.resolve();

describe('the published method', () => {
  it('has the slope that finite differences give', () => {
    const { head } = syntheticSample({ classes: 10, features: 64, kind: 'smoothed', bias: true, random: generator(1) });
    const row = factorsOf(head, shapeOfGradient(head)).row;
    for (const augmentation of ['label-smoothing', 'mixup'] as const) {
      const curve = paperCurve(head, row, augmentation);
      for (const lambda of [-7, -1.3, 0.8, 2.5, 20]) {
        const step = 1e-5 * Math.abs(lambda);
        const numeric = (curve.loss(lambda + step) - curve.loss(lambda - step)) / (2 * step);
        expect(curve.lossAndSlope(lambda).slope).toBeCloseTo(numeric, 4 - Math.ceil(Math.log10(Math.abs(numeric) + 1)));
      }
    }
  });

  it.each(['smoothed', 'mixup', 'hard'] as const)('finds %s labels of untrained heads', async (kind) => {
    const random = generator(2);
    for (let run = 0; run < 5; run++) {
      const { head, label } = syntheticSample({ classes: 10, features: 128, kind, bias: false, random });
      const sample = await recoverLikePaper(head, factorsOf(head, shapeOfGradient(head)), false, pause);
      expect(sample.status).toBe('recovered');
      expect(sample.method).toMatch(/^paper-(lbfgs|pso)$/);
      expect(largestDifference(sample.label.probabilities, label)).toBeLessThan(1e-3);
    }
  });

  it('uses the noise variant for noisy gradients', async () => {
    const { head, label } = syntheticSample({
      classes: 10,
      features: 400,
      kind: 'smoothed',
      bias: false,
      random: generator(3),
      noise: 1e-4,
      spread: 4,
    });
    const sample = await recoverLikePaper(head, factorsOf(head, shapeOfGradient(head)), true, pause);
    expect(sample.method).toBe('paper-pso-noise');
    expect(largestDifference(sample.label.probabilities, label)).toBeLessThan(2e-2);
  });
});
