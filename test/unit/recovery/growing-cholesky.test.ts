import { describe, expect, it } from 'vitest';
import { factoriseSmall, inverseLower, solveLower, solveUpper } from '../../../src/recovery/cholesky.js';
import { gaussian } from '../../../src/recovery/gaussian.js';
import { GrowingCholesky } from '../../../src/recovery/growing-cholesky.js';
import { generator } from '../../../src/recovery/paper-method.js';

describe('a factorisation of some rows and columns', () => {
  it('is that of the submatrix, whatever came and went', async () => {
    const random = generator(5);
    const [size, rows] = [9, 14];
    const m = Float64Array.from({ length: rows * size }, () => gaussian(random));
    const matrix = new Float64Array(size * size);
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        for (let row = 0; row < rows; row++) {
          matrix[i * size + j]! += m[row * size + i]! * m[row * size + j]!;
        }
      }
    }
    const b = Float64Array.from({ length: size }, () => gaussian(random));
    const own = new GrowingCholesky(matrix, size);
    for (const at of [4, 0, 7, 2, 8, 5, 1]) {
      own.append(at);
    }
    for (const [place, next] of [
      [0, 3],
      [5, 6],
      [2, 4],
    ] as const) {
      own.remove(place);
      own.append(next);
    }
    own.remove(own.variables.length - 1);
    expect(own.variables).toEqual([0, 7, 8, 5, 3, 6]);
    const count = own.variables.length;
    const submatrix = Float64Array.from({ length: count ** 2 }, (_, at) => {
      const [row, col] = [own.variables[Math.floor(at / count)]!, own.variables[at % count]!];
      return matrix[row * size + col]!;
    });
    const factor = factoriseSmall(submatrix, count);
    const solved = (right: Float64Array): Float64Array => solveUpper(factor, solveLower(factor, right));
    const expected = solved(Float64Array.from(own.variables, (variable) => b[variable]!));
    own.solve(b).forEach((value, at) => {
      expect(value).toBeCloseTo(expected[at]!, 10);
    });
    const { inverse } = await inverseLower(own.factor());
    for (let at = 0; at < count; at++) {
      const unit = new Float64Array(count);
      unit[at] = 1;
      own.whitened(unit.slice()).forEach((value, row) => {
        expect(inverse[row * count + at]).toBeCloseTo(value, 10);
      });
    }
  });

  it('gives a direction that is there already a pivot of the size of rounding', () => {
    const own = new GrowingCholesky(Float64Array.of(4, 2, 2, 1), 2);
    own.append(0);
    own.append(1);
    expect(own.solve(Float64Array.of(4, 2)).every(Number.isFinite)).toBe(true);
  });
});
