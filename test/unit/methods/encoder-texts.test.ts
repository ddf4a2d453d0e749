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
import { tellEncoder } from '../../../src/methods/texts/tell-encoder.js';
import type { TextsToTell } from '../../../src/methods/texts/texts-leak.js';
import { plainProduct } from '../../../src/recovery/cholesky.js';

const FOLDER = join(import.meta.dirname, '..', '..', 'fixtures', 'encoder-texts');
const NAMES = ['bert', 'distilbert', 'bert-token', 'bert-masked', 'roberta-masked'];
/** Of a token without a label. */
const NONE = -100;
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

interface Expected {
  readonly tokens: readonly (readonly number[])[];
  /** Of sentences, or of their tokens. */
  readonly labels: readonly number[] | readonly (readonly number[])[];
}

function expectedOf(name: string): Expected {
  return JSON.parse(readFileSync(join(FOLDER, name, 'expected.json'), 'utf8')) as Expected;
}

interface Found {
  readonly found: EncoderTexts;
  readonly told: TextsToTell;
}

async function find(
  name: string,
  change: (gradients: TensorFile) => TensorFile = (own) => own,
  most?: number,
): Promise<Found | string> {
  const paths = {
    checkpoint: join(FOLDER, name, 'checkpoint.safetensors'),
    gradients: join(FOLDER, name, 'gradient.safetensors'),
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
  const found = await findEncoderTexts(
    transformer,
    tensors,
    2 ** -24,
    plainProduct,
    () => undefined,
    () => Promise.resolve(),
    most,
  );
  return typeof found === 'string' ? found : { found, told: tellEncoder(transformer, found) };
}

/** A gradient with other numbers in some of its tensors. */
function changed(of: string, numbers: (data: Float64Array) => Float64Array) {
  return (own: TensorFile): TensorFile => ({
    ...own,
    entries: own.entries,
    read: (name, range) => {
      if (!name.endsWith(of)) {
        return own.read(name, range);
      }
      const tensor = own.read(name);
      const data = numbers(tensor.data);
      return { ...tensor, data: range ? data.slice(range.start, range.end) : data };
    },
  });
}

describe.each(NAMES)('texts of an encoder: %s', (name) => {
  const expected = expectedOf(name);
  let found: EncoderTexts;
  let told: TextsToTell;
  beforeAll(async () => {
    const result = await find(name);
    if (typeof result === 'string') {
      throw new Error(result);
    }
    ({ found, told } = result);
  });
  const placeOf = (tokens: readonly number[]): number =>
    expected.tokens.findIndex((own) => own.join() === tokens.join());

  it('are those of the batch, word for word, and no others', () => {
    expect(found.texts.map(({ tokens }) => placeOf(tokens)).sort()).toEqual([0, 1]);
  });

  it('have their labels, of sentences or of tokens', () => {
    for (const { tokens, label, tokenLabels } of found.texts) {
      const own = expected.labels[placeOf(tokens)]!;
      expect([label, tokenLabels]).toEqual(
        typeof own === 'number' ? [own, []] : [undefined, own.map((one) => (one === NONE ? undefined : one))],
      );
    }
  });

  it('are told with what was masked filled in', () => {
    expect(told.texts.length).toBe(2);
    told.texts.forEach(({ tokens, alternatives }, at) => {
      const place = placeOf(found.texts[at]!.tokens);
      const own = expected.labels[place]!;
      const whole = expected.tokens[place]!.map((token, position) =>
        name.endsWith('masked') && typeof own !== 'number' && own[position] !== NONE ? own[position] : token,
      );
      expect(tokens).toEqual(whole);
      expect(alternatives.size).toBe(0);
    });
  });

  it('leave nothing open: no other token fits, and the gradient that they have is the captured one', () => {
    expect(found.texts.every(({ alternatives, mayEndEarlier }) => alternatives.length === 0 && !mayEndEarlier)).toBe(
      true,
    );
    expect(found.unplaced).toEqual([]);
    expect(found.misfit!.error).toBeLessThan(1e-5);
    expect(found.nextNearest).toBeGreaterThan(30 * Math.max(...found.texts.map(({ distance }) => distance)));
    expect(told.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
  });

  it('are not made up where the output projection has another gradient', async () => {
    const result = await find(
      name,
      changed(name === 'distilbert' ? 'attention.out_lin.weight' : 'attention.output.dense.weight', (data) =>
        data.map((value, at) => value * Math.cos(at * at)),
      ),
    );
    expect(typeof result === 'string' ? [] : result.found.texts).toEqual([]);
  });

  it('are candidates only where a later layer has another gradient', async () => {
    const result = await find(
      name,
      changed(`1.${name === 'distilbert' ? 'ffn.lin2' : 'output.dense'}.weight`, (data) =>
        data.map((value, at) => value * (1 + 0.01 * Math.cos(at * at))),
      ),
    );
    if (typeof result === 'string') {
      throw new Error(result);
    }
    expect(result.found.texts.length).toBe(2);
    expect(result.told.certificate.verdict).toBe('uncertain');
  });
});

describe('a search for texts that is ended', () => {
  it('keeps what was found until then, says so, and calls nothing exact', async () => {
    const kept = new Set<number>();
    for (let most = 2e5; !kept.has(2); most += 1e4) {
      const result = await find('bert', undefined, most);
      if (typeof result === 'string') {
        throw new Error(result);
      }
      const { found, told } = result;
      if (found.endedAfter === undefined) {
        break;
      }
      kept.add(found.texts.length);
      expect(told.certificate.verdict).toBe('uncertain');
      expect(told.explanation).toContain(
        `${found.texts.length} of at least 2 texts were put together: the search was ended after`,
      );
    }
    expect([...kept]).toContain(0);
    expect([...kept]).toContain(1);
  });
});

describe('texts of an encoder whose loss is no cross-entropy of classes', () => {
  it.each([
    ['bert-binary', [1, 0]],
    ['bert-regression', [undefined, undefined]],
    ['bert-soft', [undefined, undefined]],
  ])('are those of the batch, confirmed, with no label but one that shows: %s', async (name, labels) => {
    const result = await find(name);
    if (typeof result === 'string') {
      throw new Error(result);
    }
    const byTokens = new Map(result.found.texts.map(({ tokens, label }) => [tokens.join(), label]));
    expect(expectedOf(name).tokens.map((tokens) => byTokens.get(tokens.join()))).toEqual(labels);
    expect([...byTokens.keys()].sort()).toEqual(
      expectedOf(name)
        .tokens.map((tokens) => tokens.join())
        .sort(),
    );
    expect(result.told.certificate).toMatchObject({ by: 'gradient', verdict: 'exact' });
    expect(result.told.texts.flatMap(({ words }) => words).sort()).toEqual(
      labels.flatMap((label) => (label === undefined ? [] : [`label ${label}`])).sort(),
    );
  });
});

describe('texts of a masked language model', () => {
  it('name the mask as another that may stand where what was asked for is not confirmed', async () => {
    const result = await find(
      'bert-masked',
      changed('embeddings.word_embeddings.weight', (data) =>
        data.map((value, at) => value * (1 + 0.01 * Math.cos(at))),
      ),
    );
    if (typeof result === 'string') {
      throw new Error(result);
    }
    const { texts, certificate } = result.told;
    expect(certificate.verdict).toBe('uncertain');
    expect(texts.flatMap(({ alternatives }) => [...alternatives.values()].flat())).toContain(4);
  });
});
