import { describe, expect, it } from 'vitest';
import { checkRank } from '../../../src/audit/consistency.js';
import { batchOfScale } from '../../../src/methods/head/recover-head.js';
import { verdictOfInput } from '../../../src/methods/input/batch-leak.js';
import { labelsFrom, roundedOf } from '../../../src/methods/input/batch-maps.js';
import { softmax } from '../../../src/recovery/activation.js';
import type { GradientShape } from '../../../src/recovery/head-gradient.js';

describe('an input of a batch', () => {
  const together = (sizeOpen = false) => ({ sizeOpen });
  const sample = (error: number | null, ofLayer?: number, mostOfLayer = 0.015) => ({
    error,
    worst: ofLayer === undefined ? undefined : { weight: 'conv1.weight', error: ofLayer },
    mostOfLayer,
  });

  it('is confirmed by what it adds to the gradient itself, whatever all inputs leave together', () => {
    expect(verdictOfInput(together(), sample(1e-5))).toBe('exact');
    expect(verdictOfInput(together(true), sample(1e-5))).toBe('close');
    expect(verdictOfInput(together(), sample(5e-3))).toBe('close');
    // Predicted surely, so that all fit to 1e-3 without it.
    expect(verdictOfInput(together(), sample(0.4))).toBe('uncertain');
    expect(verdictOfInput(together(), sample(Infinity))).toBe('uncertain');
    expect(verdictOfInput(together(), sample(NaN))).toBe('uncertain');
    expect(verdictOfInput(together(), sample(null))).toBe('uncertain');
    expect(verdictOfInput(together(), sample(5e-3, 5e-3))).toBe('close');
    expect(verdictOfInput(together(), sample(1e-5, 5e-3))).toBe('close');
    expect(verdictOfInput(together(), sample(5e-3, 0.02))).toBe('uncertain');
    // Maps as exact as float32 with a max pooling below: a few maxima chosen wrongly.
    expect(verdictOfInput(together(), sample(5e-3, 0.02, 0.1))).toBe('close');
    expect(verdictOfInput(together(), sample(5e-3, 0.2, 0.1))).toBe('uncertain');
  });

  it('has labels under the mean or the sum that gives whole ones, sure predictions included', () => {
    // p of the first class, and of two samples (p - y) of its label.
    const of = (sure: number, scale: number, off = 0) => {
      const logits = Float64Array.of(Math.log(sure / (1 - sure)), 0, Math.log(sure / (1 - sure)), 0);
      const own = [sure - 1, 1 - sure].map((value) => (scale * value * (1 + off)) / 2);
      return labelsFrom(Float64Array.of(...own, ...own), logits, 2, Math.max(off, 2 ** -24))!;
    };
    for (const sure of [0.9995, 0.9, 0.5]) {
      expect(of(sure, 1).scale).toBe(1);
      expect(of(sure, 2).scale).toBe(2);
      expect(of(sure, 1).values[0]).toBeCloseTo(1, 9);
      expect(of(sure, 2).values[0]).toBeCloseTo(1, 9);
    }
    // In half precision p - y is off by 5e-4 of itself, and the label just above one.
    expect(of(0.5, 1, 2 ** -11).scale).toBe(1);
    expect(labelsFrom(Float64Array.of(-9, 9, -9, 9), new Float64Array(4), 2, 2 ** -24)).toBeUndefined();
  });

  it('is judged under the gradient as captured only where a label could not give it but for its rounding', () => {
    const logits = Float64Array.of(20, 0, 0, 1, 0, 0);
    const p = softmax(logits.slice(3));
    const labels = Float64Array.of(1, 0, 0, 0, 1, 0);
    const own = [...p].map((value, k) => value - (k === 1 ? 1 : 0));
    const delta = (sure: number, other: number) =>
      Float64Array.of(-sure / 2, 0, sure / 2, ...own.map((value) => (1 + other) * (value / 2)));
    const isTaken = (values: Float64Array) =>
      roundedOf(labels, values, logits, 2, 1).map((found) => found !== undefined);
    // The first is predicted surely: float32 rounds its p - 1 of 4e-9 to nothing, or to 6e-8.
    expect(isTaken(delta(6e-8, 1e-3))).toEqual([true, false]);
    expect(isTaken(delta(0, 0))).toEqual([true, true]);
    // Not any gradient that the head allows.
    expect(isTaken(delta(1e-3, 0))).toEqual([false, true]);
    expect(roundedOf(labels, delta(6e-8, 1e-3), logits, 2, 1)[0]).toEqual(Float64Array.of(-3e-8, 0, 3e-8));
  });
});

describe('a head of rank one', () => {
  it('is of a single sample, unless others may add nothing', () => {
    const shape = { nature: 'single', rankOne: { residual: 0, total: 1 } } as GradientShape;
    expect(checkRank(shape, true, true).detail).toMatch(/it is of a single sample\.$/);
    expect(checkRank(shape, true, false).detail).toContain('or of a batch in which the others add nothing');
    expect(checkRank(shape, false, false)).toMatchObject({ status: 'warn' });
  });
});

describe('a scale of one over a whole number', () => {
  it('may be that of a batch whose other samples add nothing', () => {
    expect(batchOfScale(0.5)).toBe(2);
    expect(batchOfScale(0.33334)).toBe(3);
    expect([1, 0.47, 2, 1 / 300, 0, NaN].map(batchOfScale)).toEqual(new Array(6).fill(undefined));
  });
});
