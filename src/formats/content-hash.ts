import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';

/** Files known by their contents. */

const CHUNK_BYTES = 4 * 2 ** 20;
/** More than any project has files; reached only by an editor that stays open for long. */
const MOST_KNOWN = 20_000;

/** Contents by path and everything that the file system says of a file; one checkpoint serves thousands of gradients. */
const known = new Map<string, string>();

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
