import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, existsSync, openSync, readSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { readBounded } from './json-file.js';
import { writeWhole } from './write-whole.js';

/** Files known by their contents. */

const CHUNK_BYTES = 4 * 2 ** 20;
/** More than any project has files; reached only by an editor that stays open for long. */
const MOST_KNOWN = 20_000;
/** Some two million files, and less than a text can hold. */
const MOST_CACHE_BYTES = 400 * 2 ** 20;

/** Contents by path and everything that the file system says of a file; one checkpoint serves thousands of gradients. */
const known = new Map<string, string>();

/** Hashes that outlive the process, by path, size and times. */
export class HashCache {
  private readonly stored: Map<string, string>;
  private changed = false;
  /** A file of that name is not replaced; hashes are then made anew each time. */
  private readonly isForeign: boolean;

  /** @param path of the cache; what cannot be read of it is hashed again */
  constructor(private readonly path: string) {
    this.stored = storedHashes(path);
    this.isForeign = this.stored.size === 0 && existsSync(path) && !isCache(path);
  }

  /** @throws as `contentHash` */
  async hash(path: string, pause: () => Promise<void>): Promise<string> {
    const key = storedKey(path, await stat(path, { bigint: true }));
    const earlier = this.stored.get(key);
    if (earlier !== undefined) {
      return earlier;
    }
    const digest = await contentHash(path, pause);
    this.stored.set(key, digest);
    this.changed = true;
    return digest;
  }

  /** A cache that cannot be kept costs time and nothing else. */
  save(): void {
    if (!this.changed || this.isForeign) {
      return;
    }
    try {
      writeWhole(this.path, this.lines());
    } catch {
      // It is tried again by the next plan.
    }
    this.changed = false;
  }

  private *lines(): Generator<string> {
    yield `${CACHE_HEAD}\n`;
    for (const entry of this.stored) {
      yield `${JSON.stringify(entry)}\n`;
    }
  }
}

const CACHE_HEAD = '["GradLeak: hashes of files, by path, size and times"]';

function isCache(path: string): boolean {
  try {
    const file = openSync(path, 'r');
    try {
      const head = Buffer.alloc(CACHE_HEAD.length);
      return readSync(file, head) === head.length && head.toString() === CACHE_HEAD;
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
}

function storedHashes(path: string): Map<string, string> {
  const stored = new Map<string, string>();
  let text: string;
  try {
    text = isCache(path) ? readBounded(path, MOST_CACHE_BYTES).toString('utf8') : '';
  } catch {
    return stored;
  }
  for (const line of text.split('\n')) {
    try {
      const [key, digest] = JSON.parse(line) as [unknown, unknown];
      if (typeof key === 'string' && typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest)) {
        stored.set(key, digest);
      }
    } catch {
      // Cut short, or not ours.
    }
  }
  return stored;
}

function storedKey(path: string, { size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [path, size, mtimeNs, ctimeNs].join('\0');
}

/** Size and time of last change, for files that are too many to be read. @throws Error of the file system */
export async function sizeAndTime(path: string): Promise<string> {
  const { size, mtimeNs } = await stat(path, { bigint: true });
  return `${size} ${mtimeNs}`;
}

/**
 * SHA-256 of a file, in hexadecimal.
 *
 * @param pause called between chunks; may throw to stop
 * @throws what the file system throws when the file cannot be read
 */
export async function contentHash(path: string, pause: () => Promise<void>): Promise<string> {
  const before = await stat(path, { bigint: true });
  if (!before.isFile()) {
    // Opening a pipe would wait for whoever writes to it.
    throw Object.assign(new Error(`${path} is no file`), { code: 'EINVAL', syscall: 'open' });
  }
  const earlier = known.get(keyOf(path, before));
  if (earlier !== undefined) {
    return earlier;
  }
  const hash = createHash('sha256');
  const file = await open(path);
  try {
    const buffer = Buffer.allocUnsafe(
      Number(before.size < BigInt(CHUNK_BYTES) ? before.size + 1n : BigInt(CHUNK_BYTES)),
    );
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) {
        break;
      }
      hash.update(buffer.subarray(0, bytesRead));
      await pause();
    }
  } finally {
    await file.close();
  }
  const digest = hash.digest('hex');
  const after = keyOf(path, await stat(path, { bigint: true }));
  // A file that is being written has no contents yet that could be remembered.
  if (after === keyOf(path, before)) {
    if (known.size >= MOST_KNOWN) {
      known.clear();
    }
    known.set(after, digest);
  }
  return digest;
}

function keyOf(path: string, { size, mtimeNs, ctimeNs, ino, dev }: BigIntStats): string {
  return [path, size, mtimeNs, ctimeNs, ino, dev].join('\0');
}

/** The same for a file that may be missing or unreadable: then its absence is what counts. */
export async function contentHashIfAny(path: string, pause: () => Promise<void>): Promise<string | null> {
  try {
    return await contentHash(path, pause);
  } catch (error) {
    if (isFileSystemError(error)) {
      return null;
    }
    throw error;
  }
}

export function isFileSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}
