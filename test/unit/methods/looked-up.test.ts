import { describe, expect, it } from 'vitest';
import type { Tensors } from '../../../src/methods/texts/first-block.js';
import { lookUpsOf } from '../../../src/methods/texts/looked-up.js';
import { gaussian } from '../../../src/recovery/gaussian.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { readAs, transformerCase } from '../../transformers.js';

const [WIDTH, VOCABULARY, POSITIONS] = [32, 400, 64];
const OWN = transformerCase('bert-sequence');
const TRANSFORMER = { ...readAs(OWN.entries, OWN.config), width: WIDTH, vocabulary: VOCABULARY };

/** Gradients of two embeddings: rows of noise, and larger ones that were looked up. */
function lookedUp(noise: number, tokens: readonly number[], count: number): Tensors {
  const random = generator(5);
  const table = (rows: number, used: (row: number) => boolean): Float64Array =>
    Float64Array.from({ length: rows * WIDTH }, (_, at) => {
      const own = noise * gaussian(random);
      return own + (used(Math.floor(at / WIDTH)) ? gaussian(random) : 0);
    });
  const tables = new Map([
    [TRANSFORMER.embedding.tokens, table(VOCABULARY, (row) => tokens.includes(row))],
    [TRANSFORMER.embedding.positions!, table(POSITIONS, (row) => row < count)],
  ]);
  return {
    hasGradient: (name: string) => tables.has(name),
    shape: (name: string) => [tables.get(name)!.length / WIDTH, WIDTH],
    rows: (name: string, start: number, end: number) => tables.get(name)!.slice(start * WIDTH, end * WIDTH),
  } as unknown as Tensors;
}

describe('what was looked up', () => {
  it.each([0, 1e-6, 1e-2])('is told above noise of %s', (noise) => {
    const tensors = lookedUp(noise, [3, 77, 399], 9);
    expect(lookUpsOf(TRANSFORMER, tensors).tokens).toEqual([3, 77, 399]);
    expect(lookUpsOf(TRANSFORMER, tensors).positions).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('is every position where all were used', () => {
    expect(lookUpsOf(TRANSFORMER, lookedUp(0, [3], POSITIONS)).positions.length).toBe(POSITIONS);
  });
});
