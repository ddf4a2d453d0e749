import { describe, expect, it } from 'vitest';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { gaussian } from '../../../../src/recovery/gaussian.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { areIndependent } from '../../../../src/recovery/text/independent-pairs.js';
import { joined } from '../../../../src/recovery/vectors.js';

describe('pairs that no others make up', () => {
  const width = 24;
  const random = generator(11);
  const row = (): Float64Array => Float64Array.from({ length: width }, () => gaussian(random));
  const [tokens, positions] = [Array.from({ length: 4 }, row), Array.from({ length: 3 }, row)];
  const judge = (pairs: readonly (readonly [token: number, position: number])[]): Promise<boolean[]> =>
    areIndependent(
      joined(pairs.map(([token, position]) => tokens[token]!.map((value, at) => value + positions[position]![at]!))),
      width,
      plainProduct,
      () => Promise.resolve(),
    );

  it('are those outside of every circle of tokens and positions', async () => {
    const circle = [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const;
    expect(await judge([...circle, [2, 1], [3, 2], [2, 2]])).toEqual([false, false, false, false, true, true, true]);
    expect(await judge([...circle.slice(1), [2, 1]])).toEqual([true, true, true, true]);
  });

  it('are none of two that are all but equal', async () => {
    const same = Float64Array.from(tokens[0]!, (value, at) => value * (1 + 1e-3 * Math.cos(at)));
    expect(
      await areIndependent(joined([tokens[0]!, same, tokens[1]!]), width, plainProduct, () => Promise.resolve()),
    ).toEqual([false, false, true]);
  });
});
