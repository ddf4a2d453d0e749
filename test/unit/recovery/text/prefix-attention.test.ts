import { describe, expect, it } from 'vitest';
import { plainProduct } from '../../../../src/recovery/cholesky.js';
import { gaussian } from '../../../../src/recovery/gaussian.js';
import { generator } from '../../../../src/recovery/paper-method.js';
import {
  type AttentionValues,
  attended,
  attentionWeights,
  project,
  rotated,
} from '../../../../src/recovery/text/first-attention.js';
import { PrefixAttention, placedAt } from '../../../../src/recovery/text/prefix-attention.js';

const random = generator(3);
const normals = (count: number): Float64Array => Float64Array.from({ length: count }, () => gaussian(random));
const width = 12;

function attentionOf(keyValueHeads: number, isRotary: boolean): AttentionValues {
  const [heads, headWidth] = [4, 6];
  const linear = (outputs: number) => ({ weight: normals(outputs * width), bias: normals(outputs), outputs });
  return {
    width,
    heads,
    keyValueHeads,
    headWidth,
    query: linear(heads * headWidth),
    key: linear(keyValueHeads * headWidth),
    value: linear(keyValueHeads * headWidth),
    queryNorm: null,
    keyNorm: null,
    scale: 0.4,
    rotary: isRotary ? { frequencies: Float64Array.of(1, 0.1, 0.01), scale: 1 } : null,
  };
}

describe('PrefixAttention', () => {
  it.each([
    [4, false, 3],
    [2, true, 3],
    [1, true, 0],
  ])('agrees with one token at a time: %d key heads, rotary %s, %d tokens before', async (shared, rotary, before) => {
    const attention = attentionOf(shared, rotary);
    const projected = await project(attention, normals(5 * width), plainProduct);
    const level = placedAt(before, 5, projected, attention);
    const prefix = { keys: [] as Float64Array[], values: [] as Float64Array[] };
    for (let position = 0; position < before; position++) {
      const one = placedAt(position, 1, await project(attention, normals(width), plainProduct), attention);
      prefix.keys.push(one.keys[0]!);
      prefix.values.push(one.values[0]!);
    }
    const many = await PrefixAttention.of(attention, level, { from: 2, to: 5 }, prefix, plainProduct);
    const tokens = [2, 4];
    const weights = tokens.map((token) => many.weights(token, false));
    const outputs = await many.outputs(weights, tokens, plainProduct);
    tokens.forEach((token, at) => {
      const query = rotated(projected.queries.slice(token * 24, (token + 1) * 24), before, attention);
      const expected = attentionWeights(attention, query, [...prefix.keys, level.keys[token]!]);
      close(weights[at]!, expected);
      close(
        outputs.slice(at * 24, (at + 1) * 24),
        attended(attention, expected, [...prefix.values, level.values[token]!]),
      );
    });
  });

  it('leaves out a token that is hidden from itself', async () => {
    const attention = attentionOf(4, false);
    const level = placedAt(2, 1, await project(attention, normals(width), plainProduct), attention);
    const before = placedAt(0, 2, await project(attention, normals(2 * width), plainProduct), attention);
    const many = await PrefixAttention.of(attention, level, { from: 0, to: 1 }, before, plainProduct);
    const weights = many.weights(0, true);
    for (let head = 0; head < 4; head++) {
      expect(weights[head * 3 + 2]).toBe(0);
      expect(weights[head * 3]! + weights[head * 3 + 1]!).toBeCloseTo(1, 12);
    }
  });
});

function close(actual: Float64Array, expected: Float64Array): void {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((value, at) => {
    expect(value).toBeCloseTo(expected[at]!, 10);
  });
}
