import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Facts } from '../../../src/facts/facts.js';
import { TRANSFORMER } from '../../../src/facts/transformer.js';
import { MATCHING } from '../../../src/facts/update.js';
import { openTensorFile } from '../../../src/formats/open.js';
import type { TensorFile } from '../../../src/formats/tensor-file.js';
import { type EncoderTexts, findEncoderTexts } from '../../../src/methods/texts/encoder-texts.js';
import { Tensors } from '../../../src/methods/texts/first-block.js';
import { plainProduct } from '../../../src/recovery/cholesky.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'fixtures', 'encoder-texts', 'bert');
const expected = JSON.parse(readFileSync(join(FOLDER, 'expected.json'), 'utf8')) as {
  tokens: number[][];
  labels: number[];
};
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

async function find(change: (gradients: TensorFile) => TensorFile): Promise<EncoderTexts | string> {
  const paths = {
    checkpoint: join(FOLDER, 'checkpoint.safetensors'),
    gradients: join(FOLDER, 'gradient.safetensors'),
  };
  const checkpoint = openTensorFile(paths.checkpoint);
  const gradients = change(openTensorFile(paths.gradients));
  const request = paths as unknown as Facts['given']['request'];
  const facts = new Facts({ request, checkpoint, gradients, hooks });
  const transformer = await facts.get(TRANSFORMER);
  if (transformer === undefined || 'refused' in transformer) {
    throw new Error('no transformer');
  }
  const tensors = new Tensors(checkpoint, gradients, await facts.get(MATCHING), 1);
  return findEncoderTexts(
    transformer,
    tensors,
    2 ** -24,
    plainProduct,
    () => undefined,
    () => Promise.resolve(),
  );
}

describe('texts of an encoder', () => {
  let found: EncoderTexts;
  beforeAll(async () => {
    const result = await find((own) => own);
    if (typeof result === 'string') {
      throw new Error(result);
    }
    found = result;
  });

  it('are those of the batch, word for word, and no others', () => {
    const sorted = (texts: readonly (readonly number[])[]): string[] => texts.map((own) => own.join(' ')).sort();
    expect(sorted(found.texts.map(({ tokens }) => tokens))).toEqual(sorted(expected.tokens));
  });

  it('have their labels', () => {
    for (const { tokens, label } of found.texts) {
      expect(label).toBe(expected.labels[expected.tokens.findIndex((own) => own.join() === tokens.join())]);
    }
  });

  it('leave nothing open: no other token fits, and the gradient that they have is the captured one', () => {
    expect(found.texts.every(({ alternatives, mayEndEarlier }) => alternatives.length === 0 && !mayEndEarlier)).toBe(
      true,
    );
    expect(found.unplaced).toEqual([]);
    expect(found.misfit!.error).toBeLessThan(1e-5);
    expect(found.nextNearest).toBeGreaterThan(30 * Math.max(...found.texts.map(({ distance }) => distance)));
  });

  it('are not made up where the output projection has another gradient', async () => {
    const result = await find((own) => ({
      ...own,
      entries: own.entries,
      read: (name, range) => {
        const tensor = own.read(name, range);
        return name.endsWith('attention.output.dense.weight')
          ? { ...tensor, data: tensor.data.map((value, at) => value * Math.cos(at * at)) }
          : tensor;
      },
    }));
    expect(typeof result === 'string' ? [] : result.texts).toEqual([]);
  });
});
