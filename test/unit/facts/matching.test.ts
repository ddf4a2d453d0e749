import { describe, expect, it } from 'vitest';
import { fitOf, matchTensors } from '../../../src/facts/matching.js';
import type { TensorEntry, TensorFile } from '../../../src/formats/tensor-file.js';

/** Gradients and parameters by their names. */

function file(path: string, names: readonly string[]): TensorFile {
  const entries = names.map((name): TensorEntry => {
    return { name, group: '', key: name, positional: false, role: 'unknown', shape: [2], dtype: 'float32', bytes: 8 };
  });
  const read = (): never => {
    throw new Error('Names are enough.');
  };
  return { path, format: 'safetensors', entries, foreignGlobals: [], notes: [], read, close: () => undefined };
}

function matched(parameters: readonly string[], gradients: readonly string[]): [string, string][] {
  const { pairs } = matchTensors(file('c', parameters), file('g', gradients));
  return pairs.map(({ gradient, parameter }) => [gradient.name, parameter.name]);
}

const many = (count: number, name: (at: number) => string): string[] =>
  Array.from({ length: count }, (_, at) => name(at));

describe('names', () => {
  it('match under any prefix, with dots or slashes', () => {
    expect(matched(['state_dict.fc.weight', 'state_dict.fc.bias'], ['module/fc/bias:0', 'module/fc/weight:0'])).toEqual(
      [
        ['module/fc/bias:0', 'state_dict.fc.bias'],
        ['module/fc/weight:0', 'state_dict.fc.weight'],
      ],
    );
    expect(matched(['.weight', 'other'], ['other', '.weight'])).toEqual([
      ['other', 'other'],
      ['.weight', '.weight'],
    ]);
  });

  it('of adapters match with and without the name that an adapter has in training', () => {
    const names = ['q.lora_A', 'q.lora_B', 'v.lora_A'];
    const [saved, trained] = ['', '.default'].map((own) => names.map((name) => `layers.0.${name}${own}.weight`)) as [
      string[],
      string[],
    ];
    expect(matched(saved, trained)).toEqual(trained.map((name, at) => [name, saved[at]]));
    expect(matched(trained, saved)).toEqual(saved.map((name, at) => [name, trained[at]]));
  });

  it('of copies name the first, and the others as alternatives', () => {
    const parameters = many(12, (at) => `copy${at}.fc.weight`);
    const { pairs, alternatives } = matchTensors(file('c', parameters), file('g', ['fc.weight']));
    expect(pairs.map(({ parameter }) => parameter.name)).toEqual(['copy0.fc.weight']);
    expect(alternatives).toEqual(many(11, (at) => `copy${at + 1}`));
  });

  it('deeper than any network are told apart by their last components', () => {
    const deep = (start: string, end: string): string => `${start}${'.a'.repeat(2000)}.${end}`;
    expect(matched([deep('p', 'x.w'), deep('p', 'y.w')], [deep('q', 'y.w')])).toEqual([
      [deep('q', 'y.w'), deep('p', 'y.w')],
    ]);
  });

  it('that all end alike are refused before their pairs fill memory', () => {
    const checkpoint = file(
      'c',
      many(2000, (at) => `a${at}.x.weight`),
    );
    const gradients = file(
      'g',
      many(2000, (at) => `b${at}.x.weight`),
    );
    expect(() => matchTensors(checkpoint, gradients)).toThrow(/^g: found names whose endings fit .* 262144 ways/);
    expect(fitOf(checkpoint, gradients)).toBe(0);
  });
});
