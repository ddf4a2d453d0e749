import { describe, expect, it } from 'vitest';
import { factorise, plainProduct, solveLower, solveLowerRows } from '../../../src/recovery/cholesky.js';
import { gaussian } from '../../../src/recovery/gaussian.js';
import { generator } from '../../../src/recovery/paper-method.js';

const random = generator(5);
const normals = (count: number): Float64Array => Float64Array.from({ length: count }, () => gaussian(random));

describe('solveLowerRows', () => {
  it.each([3, 40])('solves as many substitutions do, over several blocks, for %d rows', async (rows) => {
    const size = 410;
    const data = normals(size * 2 * size);
    const factor = await factorise(await plainProduct(data, data, size, size, 2 * size), size, plainProduct);
    const sides = normals(rows * size);
    const solved = sides.slice();
    await solveLowerRows(factor, solved, plainProduct);
    for (let row = 0; row < rows; row++) {
      const expected = solveLower(factor, sides.slice(row * size, (row + 1) * size));
      expected.forEach((value, at) => {
        expect(solved[row * size + at]!).toBeCloseTo(value, 10);
      });
    }
  });
});
