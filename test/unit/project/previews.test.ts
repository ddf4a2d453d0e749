import { expect, it } from 'vitest';
import { previewOf, reportForPreview } from '../../../src/project/previews.js';
import type { PanelImage } from '../../../src/protocol/panel-messages.js';
import type { Report } from '../../../src/protocol/report.js';

const textsOf = (...texts: string[]): object => ({
  type: 'texts',
  source: 'vocab.json',
  texts: texts.map((text) => ({ title: 'Text', tokens: [{ id: 1, text }] })),
});
const pictures = { type: 'picture', title: '', shape: [1, 2, 2], file: 'a.npy' };
const report = (own: object): Report => ({ samples: [], leaks: [], ...own }) as unknown as Report;
const NONE = report({});

function image(shape: number[], values: number[]): PanelImage {
  const data = Buffer.from(Float32Array.from(values).buffer).toString('base64');
  return { sample: 0, file: 'x.npy', shape, values: data, truth: null, normalisation: null };
}

function numbersOf(base64: string): number[] {
  const bytes = Buffer.from(base64, 'base64');
  return [...new Float32Array(new Uint8Array(bytes).buffer)];
}

it('large pictures are averaged over squares, which the edge may cut', () => {
  const side = 65;
  const row = (channel: number, y: number): number[] =>
    Array.from({ length: side }, (_, x) => channel + (y < 2 && x < 2 ? 1 : 0));
  const values = [0, 10].flatMap((channel) => Array.from({ length: side }, (_, y) => row(channel, y)).flat());
  const [own] = previewOf('a', NONE, [image([2, side, side], values)]).pictures;
  expect(own?.shape).toEqual([2, 33, 33]);
  const means = numbersOf(own!.values);
  expect(means[0]).toBeCloseTo(1);
  expect(means[1]).toBe(0);
  // One pixel of the last row and column, not a quarter of it.
  expect(means[33 * 33 - 1]).toBe(0);
  expect(means[2 * 33 * 33 - 1]).toBe(10);
});

it('small ones stay as they are, and of many the first three are shown', () => {
  const small = image([1, 2, 2], [1, 2, 3, 4]);
  const { pictures: own } = previewOf('a', NONE, [small, small, small, small]);
  expect(own).toHaveLength(3);
  expect(own[0]).toEqual({ shape: [1, 2, 2], values: small.values, normalisation: null });
});

it('long vectors are averaged over runs', () => {
  const [own] = previewOf('a', NONE, [
    image(
      [8192],
      Array.from({ length: 8192 }, (_, at) => at % 2),
    ),
  ]).pictures;
  expect(own?.shape).toEqual([4096]);
  expect(new Set(numbersOf(own!.values))).toEqual(new Set([0.5]));
});

it('texts are shown by how they begin, on one line', () => {
  const { texts } = previewOf(
    'a',
    report({ leaks: [{ details: [textsOf(`one\ntwo ${'x'.repeat(500)}`, 'three', 'four')] }] }),
    [],
  );
  expect(texts).toHaveLength(2);
  expect(texts[0]).toMatch(/^one two x+\.\.\.$/);
  expect(texts[1]).toBe('three');
});

it('reads the pictures of what was recovered, not those of failed attempts or of feature maps', () => {
  const sample = (verdict: string): object => ({ reconstruction: { verdict } });
  const own = reportForPreview(
    report({
      samples: [sample('failed'), sample('exact'), {}, sample('close'), sample('uncertain')],
      leaks: [
        { gives: { inputs: 0, tokens: 0 }, details: [pictures] },
        { gives: { inputs: 2, tokens: 0 }, details: [textsOf('x'), pictures, pictures, pictures, pictures] },
      ],
    }),
  );
  expect(own.samples.map(({ reconstruction }) => reconstruction?.verdict)).toEqual(['exact', 'close']);
  expect(own.leaks.map(({ details }) => details.length)).toEqual([3]);
});
