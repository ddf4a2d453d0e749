import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { blocksOf } from '../../../src/formats/blocks.js';
import { memorySource } from '../../../src/formats/byte-source.js';
import { type ElementLayout, readElements } from '../../../src/formats/elements.js';
import { openTensorFile, openTensorSource } from '../../../src/formats/open.js';
import { type Dtype, type TensorFile, dtypeBytes, elementCount } from '../../../src/formats/tensor-file.js';
import { differenceOf } from '../../../src/inspection/statistics.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import { buildZip } from '../../write-zip.js';

const folder = mkdtempSync(join(tmpdir(), 'gradleak-widening-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Bytes that are no pattern of any width. */
function noise(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = 12345;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[at] = state >>> 16;
  }
  return bytes;
}

/** IEEE 754 from its definition: sign, exponent and mantissa as digits of a binary text. */
function byDefinition(code: number, width: number, exponentBits: number): number {
  const digits = code.toString(2).padStart(width, '0');
  const sign = digits.startsWith('1') ? -1 : 1;
  const exponent = parseInt(digits.slice(1, 1 + exponentBits), 2);
  const mantissa = digits.slice(1 + exponentBits);
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) {
    return mantissa.includes('1') ? NaN : sign * Infinity;
  }
  const fraction = parseInt(mantissa, 2) / 2 ** mantissa.length;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

/** Its largest exponent holds numbers, and only its largest codes are no number. */
function withoutInfinities(code: number): number {
  const isTop = (code & 0x78) === 0x78;
  return (code & 0x7f) === 0x7f ? NaN : isTop ? 2 * byDefinition(code - 8, 8, 4) : byDefinition(code, 8, 4);
}

const VIEW: Partial<Record<Dtype, (view: DataView, at: number, little: boolean) => number>> = {
  float64: (view, at, little) => view.getFloat64(at, little),
  float32: (view, at, little) => view.getFloat32(at, little),
  float16: (view, at, little) => byDefinition(view.getUint16(at, little), 16, 5),
  bfloat16: (view, at, little) => byDefinition(view.getUint16(at, little), 16, 8),
  float8_e5m2: (view, at) => byDefinition(view.getUint8(at), 8, 5),
  float8_e4m3fn: (view, at) => withoutInfinities(view.getUint8(at)),
  int64: (view, at, little) => Number(view.getBigInt64(at, little)),
  int32: (view, at, little) => view.getInt32(at, little),
  int16: (view, at, little) => view.getInt16(at, little),
  int8: (view, at) => view.getInt8(at),
  uint64: (view, at, little) => Number(view.getBigUint64(at, little)),
  uint32: (view, at, little) => view.getUint32(at, little),
  uint16: (view, at, little) => view.getUint16(at, little),
  uint8: (view, at) => view.getUint8(at),
  bool: (view, at) => Number(view.getUint8(at) !== 0),
};

/** Zeros of both signs are told apart, and every NaN is the same. */
function expectSame(own: Float64Array, other: Float64Array): void {
  expect(own.length).toBe(other.length);
  let differs = -1;
  for (let at = 0; at < own.length && differs < 0; at++) {
    differs = Object.is(own[at], other[at]) ? -1 : at;
  }
  expect({ differs, own: own[differs], other: other[differs] }).toEqual({
    differs: -1,
    own: undefined,
    other: undefined,
  });
}

describe('numbers of 16 bits', () => {
  for (const [dtype, exponentBits] of [
    ['float16', 5],
    ['bfloat16', 8],
  ] as const) {
    it.each([true, false])(`every code of ${dtype} is what IEEE 754 says; little endian: %s`, (littleEndian) => {
      const bytes = new Uint8Array(2 ** 17);
      const view = new DataView(bytes.buffer);
      for (let code = 0; code < 2 ** 16; code++) {
        view.setUint16(2 * code, code, littleEndian);
      }
      const shape = [2 ** 16];
      const layout = { dtype, shape, strides: [1], offset: 0, littleEndian };
      const expected = Float64Array.from({ length: 2 ** 16 }, (_, code) => byDefinition(code, 16, exponentBits));
      expectSame(readElements(memorySource('codes', bytes), 'codes', layout), expected);
    });
  }
});

/** Element by element, from the layout's definition. */
function directly(bytes: Uint8Array<ArrayBuffer>, layout: ElementLayout): Float64Array {
  const get = VIEW[layout.dtype]!;
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: elementCount(layout.shape) }, (_, index) => {
    let rest = index;
    let at = layout.offset;
    for (let axis = layout.shape.length - 1; axis >= 0; axis--) {
      at += (rest % layout.shape[axis]!) * layout.strides[axis]!;
      rest = Math.floor(rest / layout.shape[axis]!);
    }
    return get(view, at * dtypeBytes(layout.dtype), layout.littleEndian);
  });
}

const DTYPES = Object.keys(VIEW) as Dtype[];
/** Elements of more than a page of 4 MB in the widest type. */
const ROWS = 521;
const COLUMNS = 1031;

describe('widening page by page', () => {
  it.each(DTYPES.flatMap((dtype) => [true, false].map((littleEndian) => ({ dtype, littleEndian }))))(
    'gives the same numbers across the borders of pages: %o',
    ({ dtype, littleEndian }) => {
      const page = (4 * 2 ** 20) / dtypeBytes(dtype);
      const count = page + 3;
      const bytes = noise((count + 1) * dtypeBytes(dtype));
      const source = memorySource('pages', bytes);
      const layout = { dtype, shape: [count], strides: [1], offset: 1, littleEndian };
      const data = readElements(source, 'pages', layout);
      const border = { start: page - 40, end: count };
      const near = { ...layout, shape: [43], offset: 1 + border.start };
      expect(data).toHaveLength(count);
      expectSame(data.slice(border.start), directly(bytes, near));
      expectSame(data.slice(0, 40), directly(bytes, { ...layout, shape: [40] }));
      expectSame(readElements(source, 'pages', layout, border), directly(bytes, near));
    },
  );

  const views: Record<string, Pick<ElementLayout, 'shape' | 'strides' | 'offset'>> = {
    'a transposed matrix': { shape: [COLUMNS, ROWS], strides: [1, COLUMNS], offset: 0 },
    'some columns of a matrix': { shape: [ROWS, 17], strides: [COLUMNS, 1], offset: 5 },
    'a permuted kernel': { shape: [7, 5, 3, 11], strides: [1, 7, 35, 105], offset: 2 },
    'a row that is repeated': { shape: [4, 33], strides: [0, 1], offset: 9 },
    'windows that overlap': { shape: [200, 9], strides: [1, 3], offset: 0 },
    'windows that overlap, in another order': { shape: [9, 200, 2], strides: [3, 1, 0], offset: 4 },
    'every third element': { shape: [1000], strides: [3], offset: 1 },
  };
  for (const dtype of ['float16', 'bfloat16', 'float32', 'float64', 'uint8'] as const) {
    it.each(Object.entries(views))(`${dtype}, %s`, (_, view) => {
      const bytes = noise(ROWS * COLUMNS * dtypeBytes(dtype));
      const source = memorySource('views', bytes);
      const layout = { dtype, littleEndian: true, ...view };
      const all = directly(bytes, layout);
      expectSame(readElements(source, 'views', layout), all);
      for (const [start, end] of [
        [0, 1],
        [1, all.length],
        [Math.floor(all.length / 3), Math.floor(all.length / 2)],
        [all.length - 1, all.length],
        [7, 7],
      ] as const) {
        expectSame(readElements(source, 'views', layout, { start, end }), all.slice(start, end));
      }
    });
  }

  it('reads a transposed matrix of several pages in the order of the file, each byte once', () => {
    const shape = [1500, 1600] as const;
    const bytes = noise(4 * shape[0] * shape[1]);
    const source = memorySource('transposed', bytes);
    const read = vi.spyOn(source, 'readInto');
    const layout = {
      dtype: 'float32' as const,
      shape: [shape[1], shape[0]],
      strides: [1, shape[1]],
      offset: 0,
      littleEndian: true,
    };
    const data = readElements(source, 'transposed', layout);
    expect(Object.is(data[3 * shape[0] + 7], new DataView(bytes.buffer).getFloat32(4 * (7 * shape[1] + 3), true))).toBe(
      true,
    );
    const parts = read.mock.calls.map(([offset, into]) => ({ offset, length: into.length }));
    expect(parts.length).toBeGreaterThan(2);
    expect(parts.every(({ length }) => length <= 4 * 2 ** 20)).toBe(true);
    expect(parts.reduce((sum, { length }) => sum + length, 0)).toBe(bytes.length);
  });
});

function npyOf(dtype: string, shape: readonly number[], content: Uint8Array, fortran = false): Buffer {
  const text = `{'descr': '${dtype}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${shape.join(', ')},), }`;
  const header = Buffer.from(`${text.padEnd(117)}\n`, 'latin1');
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, header, content]);
}

function joinedBlocks(file: TensorFile, name: string, unit: number, block: number): Float64Array {
  const entry = file.entries.find((own) => own.name === name)!;
  const out = new Float64Array(elementCount(entry.shape));
  let next = 0;
  for (const { start, values } of blocksOf(file, entry, unit, block)) {
    expect(start).toBe(next);
    expect(start % unit).toBe(0);
    out.set(values, start);
    next += values.length;
  }
  expect(next).toBe(out.length);
  return out;
}

describe('blocks', () => {
  const formats = ['<f2', '>f2', '<f4', '>f4', '<f8', '>f8', '<i8', '>i4', '|u1'];
  for (const fortran of [false, true]) {
    it.each(formats)(`of an array are what it is as a whole: %s, Fortran order: ${fortran}`, (dtype) => {
      const content = noise(61 * 37 * Number(dtype.slice(2)));
      const file = openTensorSource(memorySource('array.npy', npyOf(dtype, [61, 37], content, fortran)));
      const whole = file.read('array').data;
      for (const [unit, block] of [
        [1, 1000],
        [1, 1],
        [37, 100],
        [37, 10],
        [37, 2 ** 19],
      ] as const) {
        expectSame(joinedBlocks(file, 'array', unit, block), whole);
      }
    });
  }

  it('of an array in Fortran order do not go through the file again and again', () => {
    const content = noise(2 ** 20 * 3);
    const source = memorySource('array.npy', npyOf('|u1', [2 ** 20, 3], content, true));
    const file = openTensorSource(source);
    const read = vi.spyOn(source, 'read');
    const into = vi.spyOn(source, 'readInto');
    let next = 0;
    for (const { values } of blocksOf(file, file.entries[0]!, 3)) {
      next += values.length;
    }
    expect(next).toBe(content.length);
    const bytes = [...read.mock.calls, ...into.mock.calls].reduce(
      (sum, [, own]) => sum + (typeof own === 'number' ? own : own.length),
      0,
    );
    expect(bytes).toBeGreaterThanOrEqual(content.length);
    expect(bytes).toBeLessThan(1.5 * content.length);
  });

  it('of a compressed member inflate it once', () => {
    const content = npyOf('<f2', [64, 32], noise(64 * 32 * 2));
    const compressed = deflateRawSync(content);
    const archive = buildZip([
      { name: 'a.npy', content: compressed, method: 8, size: content.length, crc32: crc32(content) },
    ]);
    const source = memorySource('a.npz', archive);
    const file = openTensorSource(source);
    const whole = file.read('a').data;
    const read = vi.spyOn(source, 'read');
    expectSame(joinedBlocks(file, 'a', 32, 64), whole);
    expect(read.mock.calls.filter(([, length]) => length === compressed.length).length).toBeLessThanOrEqual(1);
  });

  it('end with its sentence where the file does', () => {
    const path = join(folder, 'cut.npy');
    writeFileSync(path, npyOf('<f2', [4096, 512], noise(4096 * 512 * 2)));
    const file = openTensorFile(path);
    const blocks = blocksOf(file, file.entries[0]!, 512, 2 ** 17);
    expect(blocks.next().done).toBe(false);
    truncateSync(path, 2 ** 20);
    const rest = (): number => [...blocks].length;
    expect(rest).toThrow(UnusableInputError);
    expect(() => file.read('array')).toThrow(/cut\.npy: found .+; expected .+\. The file is cut short or damaged/);
    file.close();
  });
});

describe('memory', () => {
  const MEGABYTE = 2 ** 20;
  const big = { dtype: 'uint8' as const, shape: [8 * MEGABYTE], strides: [1], offset: 0, littleEndian: true };

  it('that is not there is not taken: the tensor, what it needs and what there is are said', () => {
    vi.spyOn(process, 'constrainedMemory').mockReturnValue(process.memoryUsage.rss() + 100 * MEGABYTE);
    const source = memorySource('big.npy', new Uint8Array(8 * MEGABYTE));
    expect(() => readElements(source, 'weight', big)).toThrow(
      /big\.npy: found tensor "weight" of 8388608 numbers in float64 .+ that needs 135 MB of memory; expected at most the \d+ MB that are left of \d+ MB\. Run it with more memory/,
    );
    // Fewer numbers of the same tensor.
    expect(readElements(source, 'weight', big, { start: 0, end: 1000 })).toHaveLength(1000);
  });

  it('is taken where nothing bounds it', () => {
    vi.spyOn(process, 'constrainedMemory').mockReturnValue(0);
    expect(readElements(memorySource('big.npy', new Uint8Array(8 * MEGABYTE)), 'weight', big)).toHaveLength(
      8 * MEGABYTE,
    );
  });

  it('does not hold a tensor that is read in blocks', () => {
    vi.spyOn(process, 'constrainedMemory').mockReturnValue(process.memoryUsage.rss() + 100 * MEGABYTE);
    const file = openTensorSource(memorySource('big.npy', npyOf('|u1', [1024, 8192], new Uint8Array(8 * MEGABYTE))));
    const entry = file.entries[0]!;
    expect(() => file.read('array')).toThrow(/of memory/);
    let count = 0;
    for (const { values } of blocksOf(file, entry, 8192)) {
      count += values.length;
    }
    expect(count).toBe(elementCount(entry.shape));
  });
});

describe('blocks of pairs', () => {
  it('of two arrays that are compared go through each once, whichever of them is in Fortran order', async () => {
    const content = noise(2 ** 24 + 2 ** 10);
    for (const [here, there] of [
      [false, true],
      [true, true],
    ] as const) {
      const sources = [here, there].map((own) =>
        memorySource('array.npy', npyOf('|u1', [content.length / 4, 4], content, own)),
      );
      const reads = sources.map((own) => [vi.spyOn(own, 'read'), vi.spyOn(own, 'readInto')] as const);
      const [one, other] = sources.map((own) => {
        const file = openTensorSource(own);
        return { file, entry: file.entries[0]! };
      });
      await differenceOf(one!, other!, () => Promise.resolve());
      const bytes = reads.map(([read, into]) =>
        [...read.mock.calls, ...into.mock.calls].reduce(
          (sum, [, own]) => sum + (typeof own === 'number' ? own : own.length),
          0,
        ),
      );
      // Two blocks, of which each goes through what is scattered.
      expect(Math.max(...bytes)).toBeLessThan(2.5 * content.length);
    }
  }, 60_000);
});
