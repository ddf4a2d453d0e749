import { describe, expect, it } from 'vitest';
import { gaussian } from '../../../../src/recovery/gaussian.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import { type Pair, tokenPositions } from '../../../../src/recovery/text/token-positions.js';
import { dot, norm } from '../../../../src/recovery/vectors.js';

const WIDTH = 40;

/** Gradients of embeddings whose sums are normalised, for the given pairs. */
function batchOf(pairs: readonly Pair[]) {
  const random = generator(17);
  const vector = (): Float64Array => Float64Array.from({ length: WIDTH }, () => gaussian(random));
  const table = new Map<string, Float64Array>();
  const row = (key: string): Float64Array => {
    const own = table.get(key) ?? vector();
    table.set(key, own);
    return own;
  };
  const sum = ({ token, position }: Pair): Float64Array =>
    row(`t${token}`).map((value, at) => value + row(`p${position}`)[at]!);
  const tokens = new Map<number, Float64Array>();
  const positions = new Map<number, Float64Array>();
  const add = (to: Map<number, Float64Array>, key: number, own: Float64Array): void => {
    to.set(
      key,
      own.map((value, at) => value + (to.get(key)?.[at] ?? 0)),
    );
  };
  for (const pair of pairs) {
    const x = sum(pair);
    const mean = x.reduce((all, value) => all + value, 0) / WIDTH;
    const direction = x.map((value) => (value - mean) / norm(x.map((own) => own - mean)));
    const noise = vector();
    const along = dot(noise, direction);
    const gradient = noise.map((value, at) => value - along * direction[at]!);
    add(tokens, pair.token, gradient);
    add(positions, pair.position, gradient);
  }
  const all = [...tokens.keys()];
  const places = [...positions.keys()];
  return { byPosition: places.map(() => all), places, gradients: { tokens, positions, sum } };
}

const keyOf = ({ token, position }: Pair): string => `${token}@${position}`;

describe('positions of tokens', () => {
  it('are told one after the other where tokens repeat and positions are shared', () => {
    const pairs = [
      [5, 0],
      [7, 1],
      [8, 1],
      [7, 2],
      [9, 2],
      [6, 3],
      [8, 3],
    ].map(([token, position]) => ({ token: token!, position: position! }));
    const { byPosition, places, gradients } = batchOf(pairs);
    const { settled, open } = tokenPositions({ byPosition }, places, gradients);
    expect(settled.map(keyOf).sort()).toEqual(pairs.map(keyOf).sort());
    expect(open).toEqual([]);
  });

  it('stay open where two tokens stand at the same two positions, and only there', () => {
    const cycle = [
      [1, 1],
      [1, 2],
      [2, 1],
      [2, 2],
    ].map(([token, position]) => ({ token: token!, position: position! }));
    const { byPosition, places, gradients } = batchOf([...cycle, { token: 3, position: 2 }]);
    const { settled, open } = tokenPositions({ byPosition }, places, gradients);
    expect(settled).toEqual([{ token: 3, position: 2 }]);
    expect(open.map(keyOf).sort()).toEqual(cycle.map(keyOf).sort());
  });
});
