import { describe, expect, it } from 'vitest';
import { gaussian } from '../../../src/recovery/gaussian.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { nonNegative } from '../../../src/recovery/non-negative.js';

describe('non-negative least squares', () => {
  it('frees no variable that others span already', async () => {
    // The second column is the first, the third is both: any share of them gives the same sum.
    const columns = [
      [1, 2, 0],
      [1, 2, 0],
      [2, 4, 0],
      [0, 0, 1],
    ];
    const dot = (one: number[], other: number[]): number => one.reduce((sum, own, at) => sum + own * other[at]!, 0);
    const a = Float64Array.from(columns.flatMap((one) => columns.map((other) => dot(one, other))));
    const wanted = [3, 6, 5];
    const b = Float64Array.from(columns, (own) => dot(own, wanted));
    const x = await nonNegative(a, b, undefined, () => Promise.resolve(true));
    wanted.forEach((own, at) => {
      expect(columns.reduce((sum, column, variable) => sum + column[at]! * x[variable]!, 0)).toBeCloseTo(own, 9);
    });
    expect(x.filter((value) => value > 0)).toHaveLength(2);
  });

  it('meets the conditions of the least: no slope where free, none downwards where bound, from wherever it starts', async () => {
    const random = generator(3);
    const [size, rows] = [12, 20];
    const m = Float64Array.from({ length: rows * size }, () => gaussian(random));
    const a = new Float64Array(size * size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        for (let row = 0; row < rows; row++) {
          a[i * size + j]! += m[row * size + i]! * m[row * size + j]!;
        }
      }
    }
    const b = Float64Array.from({ length: size }, () => gaussian(random, 10));
    const goOn = (): Promise<boolean> => Promise.resolve(true);
    const x = await nonNegative(a, b, undefined, goOn);
    expect(x.some((value) => value > 0) && x.some((value) => value === 0)).toBe(true);
    for (let i = 0; i < size; i++) {
      const slope = x.reduce((sum, value, j) => sum + a[i * size + j]! * value, -b[i]!);
      expect(x[i]).toBeGreaterThanOrEqual(0);
      expect(x[i]! > 0 ? Math.abs(slope) : Math.max(0, -slope)).toBeLessThan(1e-9);
    }
    const others = [x, x.map((_, at) => at % 3), new Float64Array(size).fill(2)];
    for (const start of others) {
      (await nonNegative(a, b, start, goOn)).forEach((value, at) => {
        expect(value).toBeCloseTo(x[at]!, 9);
      });
    }
  });
});
