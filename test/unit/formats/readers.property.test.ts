import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { memorySource } from '../../../src/formats/byte-source.js';
import { openTensorFile, openTensorSource } from '../../../src/formats/open.js';
import { encodeNpy } from '../../../src/formats/write-npy.js';
import { writeSafetensors } from '../../write-fixtures.js';

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
