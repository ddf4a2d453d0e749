import { describe, expect, it } from 'vitest';
import { chooseColumns } from '../../../src/methods/texts/choose-columns.js';
import { plainProduct } from '../../../src/recovery/cholesky.js';

const column = (...values: number[]): Float64Array => Float64Array.from(values);

describe('one column of each group', () => {
  it('are exchanged in pairs where no single exchange comes nearer', async () => {
    // Both groups hold nearly the same: a and b, or b and a.
    const groups = [
      [column(1, 0, 0.1), column(0, 1, 0)],
      [column(1, 0, 0), column(0, 1, 0.1)],
    ];
    const { picked, left, least } = await chooseColumns(groups, column(1, 1, 0), plainProduct);
    expect(picked).toEqual([1, 0]);
    expect(left).toBeCloseTo(0, 12);
    expect(least).toBeCloseTo(0.2, 12);
  });

  it('have no other where each group has one', async () => {
    const found = await chooseColumns([[column(1, 2)], [column(0, 1)]], column(1, 4), plainProduct);
    expect(found).toEqual({ picked: [0, 0], left: 1, least: Infinity });
  });
});
