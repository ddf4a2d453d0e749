import { describe, expect, it } from 'vitest';
import { leastMissing } from '../../../../src/recovery/walk/train-norms.js';

describe('what is missing in the sum of a channel', () => {
  const sizes = Float64Array.of(1, 1, 1, 1, 1);

  it('stands out against what is missing in the others', () => {
    expect(leastMissing(Float64Array.of(0, 0, 0.3, 0, 0), sizes)).toBeLessThan(1e-3);
    const least = leastMissing(Float64Array.of(1e-3, -1e-3, 0.3, 1e-3, -1e-3), sizes);
    expect(least).toBeGreaterThan(2e-3);
    expect(least).toBeLessThan(0.3);
  });

  it('says nothing while all are off', () => {
    expect(leastMissing(Float64Array.of(0.1, -0.1, 0.3, 0.1, 0.1), sizes)).toBe(Infinity);
  });

  it('is not taken for usual because most channels are silent', () => {
    const missing = Float64Array.of(0.1, -0.1, 0, 0, 0);
    expect(leastMissing(missing, Float64Array.of(1, 1, 0, 0, 0))).toBe(Infinity);
    expect(leastMissing(new Float64Array(5), new Float64Array(5))).toBe(Infinity);
  });
});
