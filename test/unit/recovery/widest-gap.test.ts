import { describe, expect, it } from 'vitest';
import { lastClearGap, widestGap } from '../../../src/recovery/widest-gap.js';

describe('gaps of falling values', () => {
  const values = [9, 8, 0.04, 0.03, 0.0003, 0.0002];

  it('are widest where values fall furthest, between bounds', () => {
    expect(widestGap(values)).toMatchObject({ rank: 2, gap: 200 });
    expect(widestGap(values, 3)).toMatchObject({ rank: 4 });
    expect(widestGap(values, 1, 2)).toMatchObject({ rank: 1 });
    expect(widestGap([1, 1, 1])).toEqual({ rank: 0, gap: 1 });
  });

  it('are last where they still fall clearly, else widest', () => {
    expect(lastClearGap(values, 50).rank).toBe(4);
    expect(lastClearGap(values, 150).rank).toBe(2);
    expect(lastClearGap(values, 1000).rank).toBe(2);
  });
});
