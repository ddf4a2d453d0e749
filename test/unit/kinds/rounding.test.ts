import { describe, expect, it } from 'vitest';
import { exponentOf, roundTo, ulpOf } from '../../../src/kinds/rounding.js';
import { balanceOf, rankOf, zeroPattern } from '../../../src/kinds/structure.js';

describe('floating-point grids', () => {
  it('knows exponents and spacings of the types', () => {
    expect([1, 1.99, 2, -0.75, 2 ** -30].map(exponentOf)).toEqual([0, 0, 1, -1, -30]);
    expect(ulpOf(1, 'float32')).toBe(2 ** -23);
    expect(ulpOf(-0.75, 'float32')).toBe(2 ** -24);
    expect(ulpOf(0, 'float32')).toBe(2 ** -149);
    expect(ulpOf(3, 'bfloat16')).toBe(2 ** -6);
    expect(ulpOf(1, 'float64')).toBe(Number.EPSILON);
  });

  it('rounds as IEEE 754 does, ties to even', () => {
    expect(roundTo(1 + 2 ** -8, 'bfloat16')).toBe(1);
    expect(roundTo(1 + 3 * 2 ** -8, 'bfloat16')).toBe(1 + 2 ** -6);
    expect(roundTo(-1 - 3 * 2 ** -8, 'bfloat16')).toBe(-1 - 2 ** -6);
    expect(roundTo(2049, 'float16')).toBe(2048);
    expect(roundTo(0.1, 'float32')).toBe(Math.fround(0.1));
  });
});

describe('structure', () => {
  // Fixed numbers of both signs without structure.
  const noise = (rows: number, columns: number) => ({
    rows,
    columns,
    data: Float64Array.from({ length: rows * columns }, (_, i) => Math.sin(12.9898 * (i + 1) ** 1.5)),
  });

  it('tells sums of zero from independent numbers', () => {
    const own = noise(10, 64);
    expect(balanceOf(own).significant).toBe(false);
    for (let column = 0; column < 64; column++) {
      let sum = 0;
      for (let row = 0; row < 9; row++) {
        sum += own.data[row * 64 + column]!;
      }
      own.data[9 * 64 + column] = -sum;
    }
    expect(balanceOf(own)).toMatchObject({ significant: true, exact: true });
  });

  it('counts the rank of the largest rows and columns', () => {
    expect(rankOf(noise(10, 64))).toEqual({ rank: 10, most: 10 });
    const [one, other] = [noise(10, 2).data, noise(2, 64).data];
    const product = Float64Array.from({ length: 640 }, (_, i) => {
      const [row, column] = [Math.floor(i / 64), i % 64];
      return one[2 * row]! * other[column]! + one[2 * row + 1]! * other[64 + column]!;
    });
    expect(rankOf({ rows: 10, columns: 64, data: product })).toEqual({ rank: 2, most: 10 });
  });

  it('does not count zeros of whole rows, columns or kernels as scattered', () => {
    const own = noise(16, 36);
    own.data.forEach((_, i) => {
      const [row, column] = [Math.floor(i / 36), i % 36];
      if (row < 4 || column < 9 || (row === 7 && column >= 27)) {
        own.data[i] = 0;
      }
    });
    expect(zeroPattern(own, 9)).toEqual({ rows: 0.25, scattered: 0, scatteredCount: 0 });
    own.data[10 * 36 + 20] = 0;
    expect(zeroPattern(own, 9).scatteredCount).toBe(1);
  });
});
