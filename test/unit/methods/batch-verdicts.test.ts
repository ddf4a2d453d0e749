import { describe, expect, it } from 'vitest';
import { checkRank } from '../../../src/audit/consistency.js';
import { batchOfScale } from '../../../src/methods/head/recover-head.js';
import { verdictOfInput } from '../../../src/methods/input/batch-leak.js';
import type { BatchMaps } from '../../../src/methods/input/batch-maps.js';
import type { GradientShape } from '../../../src/recovery/head-gradient.js';

describe('an input of a batch', () => {
  const maps = (sizeOpen = false, error = 1e-4) =>
    ({ sizeOpen, run: { walk: { maps: [{ error }] } } }) as unknown as BatchMaps;

  it('is confirmed by what it adds to the gradient itself, whatever all inputs leave together', () => {
    expect(verdictOfInput(maps(), { error: 1e-5, worstLayer: undefined })).toBe('exact');
    expect(verdictOfInput(maps(true), { error: 1e-5, worstLayer: undefined })).toBe('close');
    expect(verdictOfInput(maps(), { error: 5e-3, worstLayer: undefined })).toBe('close');
    // Predicted surely, so that all fit to 1e-3 without it.
    expect(verdictOfInput(maps(), { error: 0.4, worstLayer: undefined })).toBe('uncertain');
    expect(verdictOfInput(maps(), { error: Infinity, worstLayer: undefined })).toBe('uncertain');
    expect(verdictOfInput(maps(), { error: NaN, worstLayer: undefined })).toBe('uncertain');
    const ofLayer = (error: number) => ({ error: 5e-3, worstLayer: { weight: 'conv1.weight', error } });
    expect(verdictOfInput(maps(), ofLayer(5e-3))).toBe('close');
    expect(verdictOfInput(maps(), ofLayer(0.02))).toBe('uncertain');
    // Maps as exact as float32: a few maxima chosen wrongly.
    expect(verdictOfInput(maps(false, 1e-7), ofLayer(0.02))).toBe('close');
    expect(verdictOfInput(maps(false, 1e-7), { ...ofLayer(0.02), error: 1e-5 })).toBe('close');
    expect(verdictOfInput(maps(false, 1e-7), ofLayer(0.2))).toBe('uncertain');
    expect(verdictOfInput(maps(), { error: null, worstLayer: undefined })).toBe('uncertain');
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
