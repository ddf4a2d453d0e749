import { describe, expect, it } from 'vitest';
import { generator } from '../../../../src/recovery/paper-method.js';
import { orderOf } from '../../../../src/recovery/walk/sample-order.js';

const FILTERS = 30;
const PLANE = 16;

/** What a block's convolution gives out, the sum with its shortcut rectified, for three samples. */
function blockOf(share: number) {
  const random = generator(9);
  const draw = () => Float64Array.from({ length: FILTERS * PLANE }, () => random() - 0.5);
  const given = [draw(), draw(), draw()];
  const above = given.map((own) => {
    const shortcut = draw();
    return own.map((value, at) => Math.max(share * value + shortcut[at]!, 0));
  });
  return { given, above };
}

describe('which sample below a sum is which above', () => {
  it('shows by how what the convolution gives out resembles the sum', () => {
    const { given, above } = blockOf(1);
    expect(orderOf([given[2]!, given[0]!, given[1]!], above, FILTERS)).toEqual([1, 2, 0]);
  });

  it('is left open where nothing resembles anything', () => {
    const { given, above } = blockOf(0);
    expect(orderOf(given, above, FILTERS)).toBeUndefined();
  });
});
