import { describe, expect, it } from 'vitest';
import { batchOfScale } from '../../../src/methods/head/recover-head.js';
import { verdictOfInput } from '../../../src/methods/input/batch-leak.js';
import type { BatchMaps } from '../../../src/methods/input/batch-maps.js';

describe('an input of a batch', () => {
  const maps = (sizeOpen = false) => ({ sizeOpen }) as BatchMaps;

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
    expect(verdictOfInput(maps(), { error: null, worstLayer: undefined })).toBe('uncertain');
  });
});

describe('a scale of one over a whole number', () => {
  it('may be that of a batch whose other samples add nothing', () => {
    expect(batchOfScale(0.5)).toBe(2);
    expect(batchOfScale(0.33334)).toBe(3);
    expect([1, 0.47, 2, 1 / 300, 0, NaN].map(batchOfScale)).toEqual(new Array(6).fill(undefined));
  });
});
