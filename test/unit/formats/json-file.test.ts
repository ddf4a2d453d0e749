import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readTruth } from '../../../src/audit/truth.js';
import { readCapture } from '../../../src/facts/capture.js';
import { parseJson, readJson, validatorOf } from '../../../src/formats/json-file.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';

const folder = mkdtempSync(join(tmpdir(), 'gradleak-json-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function file(name: string, value: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
}

/** What an error says was found. */
function found(read: () => unknown): string | undefined {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(UnusableInputError);
    return error instanceof UnusableInputError ? error.parts.found : undefined;
  }
  return undefined;
}

describe('capture.json', () => {
  const capture = (value: unknown): ReturnType<typeof readCapture> => {
    file('capture.json', value);
    return readCapture(join(folder, 'gradient.pt'));
  };

  it('is what the capture script writes, and may hold more', () => {
    expect(
      capture({
        schema_version: 1,
        torch: '2.4.0+cpu',
        mode: 'eval',
        batch_size: 8,
        input_shape: [3, 32, 32],
        reduction: null,
        loss: 'cross_entropy',
        parameters: ['fc.weight'],
        normalisation: { mean: [0.5], std: [0.25], of: 'CIFAR' },
        script: '/x/train.py',
        line: 12,
        round: 3,
        mine: [{}],
      }),
    ).toEqual({
      inputShape: [3, 32, 32],
      mode: 'eval',
      batchSize: 8,
      normalisation: { mean: [0.5], std: [0.25], of: 'CIFAR' },
      script: { file: '/x/train.py', line: 12 },
      round: 3,
      training: undefined,
    });
  });

  it('states the training between weights before and after, whose batch size is that of a step', () => {
    const stated = { kind: 'weights', optimiser: 'SGD', learning_rate: 0.1, local_steps: 5, local_epochs: 2 };
    expect(capture({ schema_version: 2, ...stated, batch_size: 8, samples: 20 })).toMatchObject({
      batchSize: undefined,
      training: { optimiser: 'SGD', learningRate: 0.1, steps: 5, epochs: 2, batchSize: 8, samples: 20 },
    });
    expect(capture({ kind: 'gradient', local_steps: 5, batch_size: 8 })).toMatchObject({
      batchSize: 8,
      training: undefined,
    });
  });

  it('says nothing of what it leaves out, or sets to null', () => {
    const nothing = {
      inputShape: undefined,
      mode: undefined,
      batchSize: undefined,
      normalisation: undefined,
      script: undefined,
      round: undefined,
      training: undefined,
    };
    expect(capture({})).toEqual(nothing);
    expect(capture({ input_shape: [], mode: null, normalisation: null, script: '/x/train.py' })).toEqual(nothing);
  });

  it.each<[unknown, string]>([
    [{ input_shape: [3, '32'] }, '"input_shape[1]", which is not a whole number'],
    [{ input_shape: [3, 0] }, '"input_shape[1]", which must be >= 1'],
    [{ input_shape: '3x32x32' }, '"input_shape", which is not a list'],
    [{ mode: 'evaluate' }, '"mode", which is none of "eval", "train", null'],
    [{ batch_size: 1.5 }, '"batch_size", which is not a whole number'],
    [{ normalisation: { mean: [0.5] } }, '"normalisation" with no "std"'],
    [{ normalisation: { mean: [], std: [] } }, '"normalisation.mean", which must NOT have fewer than 1 items'],
    [{ normalisation: { mean: [0.5, null], std: [1, 1] } }, '"normalisation.mean[1]", which is not a number'],
    [{ normalisation: { mean: [0.5], std: [1, 1] } }, '"normalisation" with a mean and a std of different lengths'],
    [{ script: 7 }, '"script", which is not a text or null'],
    [{ round: -1 }, '"round", which must be >= 0'],
    [{ kind: 'update' }, '"kind", which is none of "gradient", "weights", null'],
    [{ local_steps: 0 }, '"local_steps", which must be >= 1'],
    [{ local_steps: 1e300 }, '"local_steps", which must be <= 9007199254740991'],
    [{ learning_rate: -0.1 }, '"learning_rate", which must be >= 0'],
    [{ optimiser: 'x'.repeat(101) }, '"optimiser", which must NOT have more than 100 characters'],
    [[], 'what is not an object'],
    ['null', 'what is not an object'],
  ])('%j is refused with a reason', (value, reason) => {
    expect(found(() => capture(value))).toBe(reason);
  });

  it('is refused when it is larger than any, a folder, or no JSON', () => {
    const path = file('capture.json', '{}');
    truncateSync(path, 2 ** 20 + 1);
    expect(found(() => readCapture(path))).toBe('a file of more than 1 MiB');
    rmSync(path);
    mkdirSync(path);
    expect(found(() => readCapture(path))).toBe('a folder');
    rmSync(path, { recursive: true });
    expect(found(() => capture('{"mode": '))).toContain('JSON');
  });
});

describe('truth files', () => {
  it('hold rows of numbers', () => {
    expect(readTruth(file('truth.json', { labels: [[1, 0]], feature: null, given: [0] }))).toMatchObject({
      labels: [[1, 0]],
      feature: undefined,
      image: undefined,
    });
  });

  it.each<[unknown, string]>([
    [{ labels: [1, 0] }, '"labels[0]", which is not a list'],
    [{ labels: [[1, 0], [null]] }, '"labels[1][0]", which is not a number'],
    ['{"feature": [[1e999]]}', '"feature[0][0]", which is not a number'],
    [{ image: 3 }, '"image", which is not a text or null'],
    ['"truth"', 'what is not an object'],
  ])('%j is refused with a reason', (value, reason) => {
    expect(found(() => readTruth(file('truth.json', value)))).toBe(reason);
  });
});

describe('any JSON file', () => {
  const WORDS = { expected: 'a size', advice: 'Try another.' };
  const size = validatorOf<{ kind: 'size'; 'a/b': number }>({
    type: 'object',
    properties: { kind: { const: 'size' }, 'a/b': { type: 'number' } },
    required: ['kind'],
  });

  it('names the value that does not fit', () => {
    expect(found(() => readJson(file('size.json', { kind: 'a' }), 100, size, WORDS))).toBe(
      '"kind", which is not "size"',
    );
    expect(found(() => readJson(file('size.json', {}), 100, size, WORDS))).toBe('no "kind"');
    const path = file('size.json', { kind: 'size', 'a/b': '1' });
    expect(found(() => readJson(path, 100, size, WORDS))).toBe('"a/b", which is not a number');
    expect(found(() => readJson(join(folder, 'none.json'), 100, size, WORDS))).toContain('ENOENT');
  });

  it('may begin with a byte order mark, and holds no more lists than memory', () => {
    expect(readJson(file('size.json', '\uFEFF{"kind": "size"}'), 100, size, WORDS)).toEqual({ kind: 'size' });
    expect(() => parseJson(Buffer.alloc(2 ** 21 + 1, '{'))).toThrow('too many lists and objects');
  });

  it('is counted outside of its texts', () => {
    const bounds = { lists: 2, members: 2 };
    const value = { 'a:{[\\"': ['[{:'], b: ':' };
    expect(parseJson(Buffer.from(JSON.stringify(value)), bounds)).toEqual(value);
    expect(() => parseJson(Buffer.from('{"a":[],"b":[]}'), bounds)).toThrow('too many');
    expect(() => parseJson(Buffer.from('{"a":1,"b":2,"c":3}'), bounds)).toThrow('too many');
  });
});
