import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeSafetensors } from '../../../src/formats/write-safetensors.js';
import { Inspection } from '../../../src/inspection/inspection.js';
import { MOST_ROWS, type NonZeroRows } from '../../../src/protocol/inspection.js';

const TEXTS = join(import.meta.dirname, '..', '..', 'fixtures', 'texts');
const ROOT = mkdtempSync(join(tmpdir(), 'gradleak-inspection-'));
const pause = (): Promise<void> => Promise.resolve();
afterAll(() => {
  rmSync(ROOT, { recursive: true });
});

let made = 0;
/** A copy of files of a fixture. */
function copyOf(fixture: string, ...names: string[]): string {
  const folder = join(ROOT, String(made++));
  mkdirSync(folder);
  for (const name of names) {
    cpSync(join(TEXTS, fixture, name), join(folder, name));
  }
  return folder;
}

function opened<T>(path: string, use: (inspection: Inspection) => T): T {
  const inspection = new Inspection(path);
  try {
    return use(inspection);
  } finally {
    inspection.close();
  }
}

function modelOf(path: string): ReturnType<Inspection['directory']>['model'] {
  return opened(path, (inspection) => inspection.directory().model);
}

async function rowsOf(path: string, name: string): Promise<NonZeroRows> {
  const inspection = new Inspection(path);
  try {
    return await inspection.rows(inspection.directory().names.indexOf(name), pause);
  } finally {
    inspection.close();
  }
}

/** Tokens that something depends on: the last of a text predicts nothing. */
function tokensOf(fixture: string): number[] {
  const { tokens } = JSON.parse(readFileSync(join(TEXTS, fixture, 'expected.json'), 'utf8')) as { tokens: number[][] };
  return [...new Set(tokens.flatMap((own) => own.slice(0, -1)))].sort((one, other) => one - other);
}

describe('the model of a file', () => {
  it.each([
    ['gpt2', 'GPT-2 by config.json: 2 blocks, 48 wide, 3 heads, 1,536 tokens', 'transformer.h'],
    ['llama', 'Llama by config.json: 2 blocks, 64 wide, 4 heads (2 of keys and values), 600 tokens', 'model.layers'],
  ])('%s, of a checkpoint and of its gradient', (fixture, sentence, blocks) => {
    const model = { sentence, blocks: [`${blocks}.0`, `${blocks}.1`] };
    expect(modelOf(join(TEXTS, fixture, 'checkpoint.safetensors'))).toEqual(model);
    expect(modelOf(join(TEXTS, fixture, 'gradient.safetensors'))).toEqual(model);
  });

  it('is none for a network of another kind', () => {
    expect(modelOf(join(TEXTS, '..', 'inspection', 'second.pt'))).toBeUndefined();
  });

  it('is one line where config.json says something else than the file, or is broken', () => {
    const folder = copyOf('gpt2', 'checkpoint.safetensors');
    const path = join(folder, 'checkpoint.safetensors');
    for (const [config, said] of [
      ['{"model_type": "llama"}', 'config.json describes a llama, but the checkpoint holds no "embed_tokens.weight"'],
      ['{"model_type": "gpt2"', 'config.json: passed over'],
    ] as const) {
      writeFileSync(join(folder, 'config.json'), config);
      const model = modelOf(path);
      expect(model?.sentence).toContain(said);
      expect(model?.sentence).not.toContain(folder);
      expect(model?.sentence).not.toContain('\n');
      expect(model?.blocks).toEqual([]);
    }
  });
});

describe('rows that are not zero', () => {
  it('are the tokens of an embedding, with their texts', async () => {
    const folder = copyOf('llama', 'gradient.safetensors', 'config.json');
    const texts = Object.fromEntries(Array.from({ length: 500 }, (_, id) => [`word${id}`, id]));
    writeFileSync(join(folder, 'vocab.json'), JSON.stringify(texts));
    const ids = tokensOf('llama');
    const rows = await rowsOf(join(folder, 'gradient.safetensors'), 'model.embed_tokens.weight');
    expect(rows).toMatchObject({ rows: 600, count: ids.length, indices: ids, vocabulary: 'vocab.json' });
    expect(rows.texts).toEqual(ids.map((id) => (id < 500 ? `word${id}` : null)));
    expect(rows.largest.every((value) => value !== null && value > 0)).toBe(true);
    // A vocabulary is not of every matrix.
    const other = await rowsOf(join(folder, 'gradient.safetensors'), 'model.layers.0.mlp.up_proj.weight');
    expect(other.texts).toBeUndefined();
  });

  it('are ids without a vocabulary, and for a table of something else', async () => {
    const alone = await rowsOf(join(TEXTS, 'llama', 'gradient.safetensors'), 'model.embed_tokens.weight');
    expect(alone.indices).toEqual(tokensOf('llama'));
    expect(alone.texts).toBeUndefined();
    const folder = copyOf('gpt2', 'gradient.safetensors', 'config.json');
    // A vocabulary of as many entries as there are positions.
    writeFileSync(
      join(folder, 'vocab.json'),
      JSON.stringify(Object.fromEntries([...Array(32).keys()].map((id) => [`w${id}`, id]))),
    );
    const positions = await rowsOf(join(folder, 'gradient.safetensors'), 'transformer.wpe.weight');
    expect(positions.count).toBeLessThan(32);
    expect(positions.texts).toBeUndefined();
  });

  it('of a matrix that is read in pieces, some across two of them, and no more than fit a screen', async () => {
    // Pieces of 2^20 elements, which end within a row.
    const [rows, columns] = [5600, 301];
    const data = new Float64Array(rows * columns);
    const across = Math.floor(2 ** 20 / columns);
    for (let row = 1000; row < rows; row++) {
      data[row * columns + (row % columns)] = 1;
    }
    data.fill(0, across * columns, (across + 1) * columns);
    data[across * columns] = -3;
    data[across * columns + columns - 1] = 2;
    data[1000 * columns] = NaN;
    data.fill(0, 1001 * columns, 1002 * columns);
    const path = join(ROOT, 'large.safetensors');
    writeFileSync(path, encodeSafetensors([{ name: 'table', shape: [rows, columns], dtype: 'float16', data }]));
    const found = await rowsOf(path, 'table');
    expect([found.rows, found.count, found.indices.length]).toEqual([rows, rows - 1001, MOST_ROWS]);
    expect(found.indices.slice(0, 3)).toEqual([1000, 1002, 1003]);
    expect(found.largest.slice(0, 3)).toEqual([null, 1, 1]);
    const at = found.indices.indexOf(across);
    expect([found.largest[at], found.indices[at + 1], found.largest[at + 1]]).toEqual([3, across + 1, 1]);
  });

  it('are asked of a matrix alone', async () => {
    await expect(rowsOf(join(TEXTS, 'llama', 'gradient.safetensors'), 'model.norm.weight')).rejects.toThrow(RangeError);
  });
});
