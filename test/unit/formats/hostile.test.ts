import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { UnusableInputError, type UnusableInputCode } from '../../../src/protocol/errors.js';
import { memorySource } from '../../../src/formats/byte-source.js';
import { openTensorFile, openTensorSource } from '../../../src/formats/open.js';
import { parsePickle } from '../../../src/formats/pickle.js';
import { PickleTuple } from '../../../src/formats/pickle-values.js';
import { type ZipMember, buildZip } from '../../write-zip.js';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-hostile-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function failure(action: () => unknown): UnusableInputError {
  try {
    action();
  } catch (error) {
    if (error instanceof UnusableInputError) {
      return error;
    }
    throw error;
  }
  throw new Error('Nothing was thrown.');
}

function openBytes(bytes: Uint8Array, name = 'hostile.pt'): unknown {
  return openTensorSource(memorySource(name, bytes));
}

function expectCode(bytes: Uint8Array, code: UnusableInputCode, name?: string): void {
  const error = failure(() => openBytes(bytes, name));
  expect(error.code).toBe(code);
  // Every message names the file, what was found, what was expected, and what to do.
  expect(error.message).toContain(name ?? 'hostile.pt');
  expect(error.message).toMatch(/found .+; expected .+\. .+/s);
}

/** A checkpoint whose pickle is these bytes. */
function torchZip(pickle: Buffer, more: ZipMember[] = []): Buffer {
  return buildZip([{ name: 'archive/data.pkl', content: pickle }, ...more]);
}

const proto = Buffer.from([0x80, 2]);
const STOP = Buffer.from('.');
const text = (value: string): Buffer =>
  Buffer.concat([Buffer.from('X'), uint32(Buffer.byteLength(value)), Buffer.from(value)]);
function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}
const int = (value: number): Buffer => Buffer.concat([Buffer.from('J'), uint32(value)]);
const long = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(value);
  return Buffer.concat([Buffer.from([0x8a, 8]), bytes]);
};
const tuple = (...items: Buffer[]): Buffer => Buffer.concat([Buffer.from('('), ...items, Buffer.from('t')]);

/** A float32 tensor rebuilt from storage "0" with any shape, strides and offset. */
function tensorPickle(shape: Buffer[], strides: Buffer[], offset = int(0)): Buffer {
  const storage = Buffer.concat([
    tuple(text('storage'), Buffer.from('ctorch\nFloatStorage\n'), text('0'), text('cpu'), int(4)),
    Buffer.from('Q'),
  ]);
  return Buffer.concat([
    proto,
    Buffer.from('}'),
    text('w'),
    Buffer.from('ctorch._utils\n_rebuild_tensor_v2\n'),
    tuple(storage, offset, tuple(...shape), tuple(...strides), Buffer.from([0x89]), Buffer.from('N')),
    Buffer.from('Rs'),
    STOP,
  ]);
}

const storage = { name: 'archive/data/0', content: Buffer.alloc(16) };

describe('files that are no tensor files', () => {
  it('missing', () => {
    expect(failure(() => openTensorFile(join(folder, 'nowhere.pt'))).code).toBe('missing-file');
  });

  it('a folder', () => {
    mkdirSync(join(folder, 'model.pt'));
    expect(failure(() => openTensorFile(join(folder, 'model.pt'))).code).toBe('unreadable-file');
  });

  it.each([
    ['empty', Buffer.alloc(0)],
    ['text', Buffer.from('just some notes about training\n')],
    ['a zip of something else', buildZip([{ name: 'letter.txt', content: Buffer.from('hello') }])],
    ['random bytes', Buffer.from([1, 2, 3, 4, 5, 6, 7, 8, 200, 201])],
  ])('%s', (_name, bytes) => {
    expectCode(bytes, 'not-a-tensor-file');
  });
});

describe('zip archives', () => {
  const good = readFileSync(join(FIXTURES, 'formats', 'state_dict.pt'));

  it.each([0.3, 0.7, 0.99])('truncated to %f', (share) => {
    expectCode(good.subarray(0, Math.floor(good.length * share)), 'truncated-file');
  });

  it('a bomb by ratio: refused before memory is taken', () => {
    const member = {
      name: 'archive/data.pkl',
      content: deflateRawSync(Buffer.alloc(2 ** 20)),
      method: 8,
      size: 2 ** 30,
    };
    expectCode(buildZip([member]), 'zip-bomb');
  });

  it('a declared size that the data does not have', () => {
    const member = { name: 'archive/data.pkl', content: deflateRawSync(Buffer.alloc(100)), method: 8, size: 50 };
    expectCode(buildZip([member]), 'malformed-file');
  });

  it('entries that share bytes', () => {
    const bytes = buildZip([
      { name: 'archive/data.pkl', content: Buffer.from([0x80, 2, 0x7d, 0x2e]) },
      { name: 'archive/data/0', content: Buffer.alloc(64), headerOffset: 0 },
    ]);
    expectCode(bytes, 'zip-bomb');
  });

  it('an entry larger than the file', () => {
    const bytes = buildZip([{ name: 'archive/data.pkl', content: Buffer.alloc(8), compressedSize: 1e9, size: 1e9 }]);
    expectCode(bytes, 'size-lie');
  });
});

describe('pickles', () => {
  it.each([
    ['os_system.pt', 'posix', 'system'],
    ['eval_legacy.pt', '__builtin__', 'eval'],
  ])('%s: named, not run, and its tensors still read', (name, module, global) => {
    const file = openTensorFile(join(FIXTURES, 'hostile', name));
    expect(file.foreignGlobals).toContainEqual({ module, name: global, called: true, risk: 'dangerous' });
    expect(file.read('fc.weight').shape).toEqual([3, 4]);
    expect(existsSync('/tmp/gradleak-was-here')).toBe(false);
    file.close();
  });

  it('deep recursion', () => {
    const depth = 100_000;
    const pickle = Buffer.concat([proto, Buffer.alloc(depth, ']'), Buffer.alloc(depth - 1, 'a'), STOP]);
    expectCode(torchZip(pickle), 'pickle-limit');
  });

  it('a huge string opcode', () => {
    const pickle = Buffer.concat([proto, Buffer.from('X'), uint32(0xffffffff), STOP]);
    expectCode(torchZip(pickle), 'pickle-limit');
  });

  it('a string longer than the file', () => {
    const pickle = Buffer.concat([proto, Buffer.from('X'), uint32(1_000_000), Buffer.from('abc'), STOP]);
    expectCode(torchZip(pickle), 'truncated-file');
  });

  it('a huge integer', () => {
    const pickle = Buffer.concat([proto, Buffer.from([0x8b]), uint32(1 << 24), Buffer.alloc(1 << 24), STOP]);
    expectCode(torchZip(pickle), 'pickle-limit');
  });

  it('a list that contains itself', () => {
    const pickle = Buffer.concat([proto, Buffer.from(']q\0h\0a'), STOP]);
    expect(() => openBytes(torchZip(pickle))).not.toThrow();
  });

  it('memo references that double at every level', () => {
    // Thirty levels name 2^30 paths through thirty lists.
    const levels = Array.from({ length: 30 }, (_, i) => Buffer.from([0x5d, 0x71, i + 1, 0x68, i, 0x61, 0x68, i, 0x61]));
    const pickle = Buffer.concat([proto, Buffer.from(']q\0'), ...levels, STOP]);
    expectCode(torchZip(pickle), 'pickle-limit');
  });

  it('more tensors than a checkpoint has', () => {
    // A tensor once, then its function and arguments from the memo.
    const first = tensorPickle([int(1)], [int(1)]).subarray(proto.length, -STOP.length);
    const error = failure(() =>
      openBytes(
        torchZip(
          Buffer.concat([
            proto,
            Buffer.from(']('),
            first,
            Buffer.from('q\x01'),
            Buffer.alloc(2 * 2 ** 17, Buffer.from('h\x01')),
            Buffer.from('e'),
            STOP,
          ]),
          [storage],
        ),
      ),
    );
    expect(error.code).toBe('pickle-limit');
    expect(error.message).toContain('more than 131072 tensors');
  });

  it('a compressed pickle that would fill memory', () => {
    const pickle = Buffer.alloc(64 * 2 ** 20 + 1, 'N0');
    const content = deflateRawSync(pickle);
    const error = failure(() =>
      openBytes(buildZip([{ name: 'archive/data.pkl', content, method: 8, size: pickle.length }])),
    );
    expect(error.message).toContain('a compressed data.pkl of 67108865 bytes');
  });

  it('memo numbers in any order, twice, and of null', () => {
    const put = (at: number): Buffer => Buffer.concat([Buffer.from('r'), uint32(at)]);
    const get = (at: number): Buffer => Buffer.concat([Buffer.from('j'), uint32(at)]);
    const steps = [text('far'), put(7), Buffer.from('N'), put(0), text('one'), put(1), text('again'), put(1)];
    const { value } = parsePickle(
      memorySource(
        'm',
        Buffer.concat([proto, Buffer.from('('), ...steps, get(7), get(0), get(1), Buffer.from('t'), STOP]),
      ),
    );
    expect(value).toBeInstanceOf(PickleTuple);
    expect(value).toMatchObject({ items: ['far', null, 'one', 'again', 'far', null, 'again'] });
    expectCode(torchZip(Buffer.concat([proto, text('far'), put(7), get(6), STOP])), 'malformed-file');
  });

  it('ever more containers', () => {
    const pickle = Buffer.concat([proto, Buffer.alloc(4_100_000, ']0'), Buffer.from('N'), STOP]);
    expect(() => openBytes(torchZip(pickle))).not.toThrow();
    const kept = Buffer.concat([proto, Buffer.alloc(4_100_000, ']'), STOP]);
    expectCode(torchZip(kept), 'pickle-limit');
  });

  it.each([
    ['an unknown opcode', Buffer.from([0xff])],
    ['a value for nothing', Buffer.from('R')],
    ['a memo that was never set', Buffer.from('h\x05')],
    ['a protocol from the future', Buffer.from([0x80, 9])],
  ])('%s', (_name, body) => {
    expectCode(torchZip(Buffer.concat([proto, body, STOP])), 'malformed-file');
  });

  it.each([
    ['a shape larger than its storage', tensorPickle([int(1000), int(1000)], [int(1000), int(1)])],
    ['strides that lead outside', tensorPickle([int(2), int(2)], [int(100), int(1)])],
    ['an offset outside', tensorPickle([int(2)], [int(1)], int(50))],
    ['a negative stride', tensorPickle([int(2)], [int(-1)])],
    ['an offset beyond what numbers hold', tensorPickle([int(2)], [int(1)], long(2n ** 62n))],
  ])('%s: left out with a note', (_name, pickle) => {
    const file = openTensorSource(memorySource('hostile.pt', torchZip(pickle, [storage])));
    expect(file.entries).toEqual([]);
    expect(file.notes).toHaveLength(1);
  });

  it('a stride of zero over a huge shape: listed, never read whole', () => {
    const pickle = tensorPickle([int(2 ** 30), int(8)], [int(0), int(0)]);
    const file = openTensorSource(memorySource('hostile.pt', torchZip(pickle, [storage])));
    expect(file.entries[0]).toMatchObject({ shape: [2 ** 30, 8], isRepeated: true });
    expect(failure(() => file.read('w')).code).toBe('tensor-too-large');
    expect([...file.read('w', { start: 0, end: 3 }).data]).toEqual([0, 0, 0]);
  });
});

describe('safetensors', () => {
  const build = (header: string, data = 0, length = BigInt(header.length)): Buffer => {
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(length);
    return Buffer.concat([size, Buffer.from(header), Buffer.alloc(data)]);
  };

  it('a header longer than the file', () => {
    expectCode(build('{"a":1}', 0, 1_000_000n), 'size-lie', 'x.safetensors');
  });
  it('a header with more names than a file has tensors', () => {
    const metadata = Object.fromEntries(Array.from({ length: 600_000 }, (_, at) => [`k${at}`, '']));
    const header = Buffer.from(JSON.stringify({ __metadata__: metadata }));
    const error = failure(() => openBytes(Buffer.concat([uint32(header.length), uint32(0), header])));
    expect(error.message).toContain('too many lists and objects');
  });
  it('a header that is no JSON', () => {
    expectCode(build('{"a":'), 'malformed-file', 'x.safetensors');
  });
  it('offsets outside', () => {
    expectCode(build('{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', 8), 'size-lie', 'x.safetensors');
  });
  it('offsets that do not fit the shape', () => {
    expectCode(build('{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}', 8), 'size-lie', 'x.safetensors');
  });
  it('an unknown type', () => {
    expectCode(build('{"w":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', 4), 'malformed-file', 'x.safetensors');
  });

  it.each([0x0280, 0x0480, 0x270580])('a header of %i bytes, whose length begins like a pickle', (length) => {
    const header = '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.padEnd(length);
    const file = openTensorSource(memorySource('x.bin', build(header, 4)));
    expect([file.format, file.entries.length]).toEqual(['safetensors', 1]);
  });
  it.each([
    ['a number', [0x47, 0, 0, 0, 0, 0, 0x7b, 0, 0]],
    ['a text', [0x58, 5, 0, 0, 0, 0, 0x7b, 0x7d, 0x20, 0x20]],
    ['a short text', [0x55, 5, 0, 0, 0, 0, 0x7b]],
  ])('a pickle of %s that reads like a header stays a pickle', (_name, body) => {
    const bytes = Buffer.from([...proto, ...body, ...STOP]);
    expect([...bytes.subarray(4, 9)]).toEqual([0, 0, 0, 0, 0x7b]);
    expect(openTensorSource(memorySource('x.safetensors', bytes)).format).toBe('pickle');
  });

  it('an index that leads out of its folder', () => {
    const index = join(folder, 'evil.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ weight_map: { w: '../../../etc/passwd' } }));
    expect(failure(() => openTensorFile(index)).code).toBe('malformed-file');
  });
  it('an index that names itself', () => {
    const index = join(folder, 'circular.bin.index.json');
    writeFileSync(index, JSON.stringify({ weight_map: { w: 'circular.bin.index.json' } }));
    expect(failure(() => openTensorFile(index)).code).toBe('malformed-file');
  });
  it('an index whose shard is missing', () => {
    const index = join(folder, 'lonely.safetensors.index.json');
    writeFileSync(index, JSON.stringify({ weight_map: { w: 'gone.safetensors' } }));
    expect(failure(() => openTensorFile(index)).code).toBe('missing-file');
  });
});

describe('numpy', () => {
  const npy = (header: string, data = 0): Buffer => {
    const length = Buffer.alloc(2);
    length.writeUInt16LE(header.length);
    return Buffer.concat([
      Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0]),
      length,
      Buffer.from(header),
      Buffer.alloc(data),
    ]);
  };

  it('an array of Python objects is refused, not unpickled', () => {
    expect(failure(() => openTensorFile(join(FIXTURES, 'hostile', 'objects.npy'))).code).toBe('unsupported-tensor');
  });
  it('a shape larger than the file', () => {
    expectCode(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000,), }", 16), 'size-lie', 'x.npy');
  });
  it.each([1, 2])('a file of version %s that ends before its header does', (version) => {
    const magic = Buffer.from([0x93, ...Buffer.from('NUMPY'), version, 0, 9, 9, 9]);
    for (let length = 6; length < (version === 1 ? 10 : 12) && length <= magic.length; length++) {
      expectCode(magic.subarray(0, length), 'malformed-file', 'x.npy');
    }
  });
  it('a header without a shape', () => {
    expectCode(npy("{'descr': '<f4', 'fortran_order': False}", 16), 'malformed-file', 'x.npy');
  });
});
