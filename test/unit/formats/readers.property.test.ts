import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import { memorySource } from '../../../src/formats/byte-source.js';
import { openTensorFile, openTensorSource } from '../../../src/formats/open.js';
import { encodeNpy } from '../../../src/formats/write-npy.js';
import { writeSafetensors } from '../../write-fixtures.js';

const FORMATS = join(import.meta.dirname, '..', '..', 'fixtures', 'formats');
const HOSTILE = join(import.meta.dirname, '..', '..', 'fixtures', 'hostile');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-property-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('round trips', () => {
  it('safetensors', () => {
    const tensor = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }).chain((shape) =>
      fc
        .array(fc.double({ noNaN: true }), {
          minLength: shape.reduce((a, b) => a * b, 1),
          maxLength: shape.reduce((a, b) => a * b, 1),
        })
        .map((values) => ({ shape, data: Float64Array.from(values) })),
    );
    const names = fc
      .string({ minLength: 1, maxLength: 12 })
      .filter((name) => !/^(__metadata__|__proto__|\d+)$/.test(name));
    fc.assert(
      fc.property(fc.dictionary(names, tensor, { maxKeys: 5, noNullPrototype: true }), (tensors) => {
        const path = join(folder, 'round.safetensors');
        writeSafetensors(path, tensors);
        const file = openTensorFile(path);
        for (const [name, { shape, data }] of Object.entries(tensors)) {
          const read = file.read(name);
          expect(read.shape).toEqual(shape);
          expect(read.data).toEqual(data);
        }
        expect(file.entries).toHaveLength(Object.keys(tensors).length);
        file.close();
      }),
      { numRuns: 200 },
    );
  });

  it('npy', () => {
    const rows = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 9 })).chain(([count, length]) =>
      fc.array(fc.float64Array({ minLength: length, maxLength: length, noNaN: true }), {
        minLength: count,
        maxLength: count,
      }),
    );
    fc.assert(
      fc.property(rows, (matrix) => {
        const file = openTensorSource(memorySource('round.npy', encodeNpy(matrix)));
        const { shape, data } = file.read('array');
        expect(shape).toEqual([matrix.length, matrix[0]?.length]);
        expect(data).toEqual(Float64Array.from(matrix.flatMap((row) => [...row])));
      }),
      { numRuns: 200 },
    );
  });
});

const seeds = [FORMATS, HOSTILE]
  .flatMap((from) => readdirSync(from).map((name) => join(from, name)))
  .filter((path) => !path.endsWith('.json'))
  .map((path) => ({ path, bytes: readFileSync(path) }));

/** Opens and reads everything it lists; a mutated file may be refused, but only in words. */
function exercise(path: string, bytes: Uint8Array): void {
  try {
    const file = openTensorSource(memorySource(path, bytes));
    for (const { name, shape } of file.entries) {
      const count = shape.reduce((a, b) => a * b, 1);
      file.read(name, { start: 0, end: Math.min(count, 1000) });
    }
  } catch (error) {
    if (!(error instanceof UnusableInputError)) {
      throw error;
    }
  }
}

describe('mutated files neither crash, hang, nor fill memory', () => {
  const mutation = fc.record({
    seed: fc.nat({ max: seeds.length - 1 }),
    flips: fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 255 })), { maxLength: 12 }),
    cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 4 }),
    repeat: fc.option(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat({ max: 200 })), { freq: 4 }),
  });

  it('of every format', () => {
    const before = process.memoryUsage().rss;
    const started = Date.now();
    fc.assert(
      fc.property(mutation, ({ seed, flips, cut, repeat }) => {
        const { path, bytes } = seeds[seed]!;
        let mutated = Buffer.from(bytes);
        for (const [where, value] of flips) {
          mutated[Math.floor(where * (mutated.length - 1))] = value;
        }
        if (repeat) {
          const at = Math.floor(repeat[0] * mutated.length);
          mutated = Buffer.concat([
            mutated.subarray(0, at),
            mutated.subarray(at, at + repeat[1]),
            mutated.subarray(at),
          ]);
        }
        if (cut !== null) {
          mutated = mutated.subarray(0, Math.floor(cut * mutated.length));
        }
        exercise(path, mutated);
      }),
      { numRuns: 3000 },
    );
    // Bounds are generous: they are there to notice a hang or an allocation by a forged size.
    expect(Date.now() - started).toBeLessThan(60_000);
    expect(process.memoryUsage().rss - before).toBeLessThan(700 * 2 ** 20);
  });

  it('in the pickle of a zip, whose bytes a checksum does not protect when stored', () => {
    const { path, bytes } = seeds.find((seed) => seed.path.endsWith('state_dict.pt'))!;
    const start = bytes.indexOf(Buffer.from([0x80, 0x02]));
    const length = 700;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: length }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 }),
        (flips) => {
          const mutated = Buffer.from(bytes);
          for (const [at, value] of flips) {
            mutated[start + at] = value;
          }
          exercise(path, mutated);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
