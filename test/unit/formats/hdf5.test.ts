import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readHdf5Text } from '../../../src/formats/hdf5.js';
import { readKerasModel } from '../../../src/formats/keras-file.js';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import { NETWORKS } from '../../networks.js';

/** HDF5 files that hold the library up, in the process that `node esbuild.mjs` has built. */

const GOOD = join(NETWORKS, 'keras', 'net.h5');
const READER = join(import.meta.dirname, '..', '..', '..', 'dist', 'hdf5-reader.mjs');
const MOST = { maxBytes: 2 ** 20 };
const folder = mkdtempSync(join(tmpdir(), 'gradleak-hdf5-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The good file with other bytes at some offsets. */
function changed(name: string, bytes: Readonly<Record<number, number | bigint>>, size?: number): string {
  const path = join(folder, name);
  const own = readFileSync(GOOD);
  for (const [at, value] of Object.entries(bytes)) {
    if (typeof value === 'bigint') {
      own.writeBigUInt64LE(value, Number(at));
    } else {
      own.writeUInt8(value, Number(at));
    }
  }
  writeFileSync(path, own);
  if (size !== undefined) {
    truncateSync(path, size);
  }
  return path;
}

const FILE_SIZE_AT = 40;
/** The size of the heap that the text lies in, and within it the first object's. */
const HEAP_SIZE_AT = 2056;
const OBJECT_SIZE_AT = 2120;
const LOOPS = changed('loops.h5', { [HEAP_SIZE_AT + 1]: 76 });
const ABORTS = changed('aborts.h5', { [OBJECT_SIZE_AT]: 0 });

async function failure(path: string, options: { deadlineMs?: number; pause?: () => Promise<void> } = {}) {
  return readHdf5Text(path, 'model_config', { ...MOST, ...options }).then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** Command lines of processes that read the file. */
function readersOf(path: string): string[] {
  return execFileSync('ps', ['-ax', '-o', 'command='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes('hdf5-reader') && line.includes(path));
}

describe('an HDF5 file', () => {
  it('is read in a process of its own', async () => {
    const text = await readHdf5Text(GOOD, 'model_config', MOST);
    expect(JSON.parse(text!)).toMatchObject({ class_name: 'Functional' });
    expect(await readHdf5Text(GOOD, 'no_such', MOST)).toBeUndefined();
  });

  it('that makes the library loop ends at the deadline, and its process with it', async () => {
    const error = await failure(LOOPS, { deadlineMs: 1500 });
    expect(error).toBeInstanceOf(UnusableInputError);
    expect((error as UnusableInputError).code).toBe('took-too-long');
    expect((error as UnusableInputError).message).toMatch(
      /loops\.h5: found a file that .* within 1\.5 s.*save it again/,
    );
    expect(readersOf(LOOPS)).toEqual([]);
  });

  it('that makes the library abort harms no file after it', async () => {
    const error = await failure(ABORTS);
    expect((error as UnusableInputError).code).toBe('malformed-file');
    expect((error as UnusableInputError).message).toMatch(/aborts\.h5: found a file that the HDF5 library fails on/);
    await expect(readKerasModel(GOOD)).resolves.toMatchObject({ class_name: 'Functional' });
  });

  it('that wants more memory than its reader has is refused', async () => {
    const path = changed(
      'large.h5',
      { [HEAP_SIZE_AT]: BigInt(600 * 2 ** 20), [FILE_SIZE_AT]: BigInt(2 ** 30) },
      2 ** 30,
    );
    const error = await failure(path);
    expect((error as UnusableInputError).code).toBe('malformed-file');
  });

  it('with a longer text than is taken is refused before it is passed on', async () => {
    await expect(readHdf5Text(GOOD, 'model_config', { maxBytes: 1000 })).rejects.toThrow(
      /found a model_config of 6155 characters/,
    );
  });

  it('is given up when the audit is cancelled', async () => {
    let asked = 0;
    const error = await failure(LOOPS, {
      pause: () => (++asked < 5 ? Promise.resolve() : Promise.reject(new CancelledError())),
    });
    expect(error).toBeInstanceOf(CancelledError);
    await expect.poll(() => readersOf(LOOPS)).toEqual([]);
  });

  it('is given up when the process that asked is gone', async () => {
    const reader = spawn(process.execPath, [READER, LOOPS, 'model_config', '1000'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    setTimeout(() => reader.stdin.end(), 1500);
    const [, signal] = (await once(reader, 'close')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
  });
});
