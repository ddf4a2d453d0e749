import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';

/** Random access to bytes, bounded: a read outside it, or of a file that was changed since, is an error that names the file. */
export interface ByteSource {
  readonly path: string;
  readonly size: number;
  /** A fresh copy, so that typed arrays can be laid over it from offset 0. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>;
  /** The same into memory that is there, as many bytes as it has. */
  readInto(offset: number, bytes: Uint8Array): void;
  close(): void;
}

/** Files whose bytes are elsewhere, though something of their names and sizes lies in a folder. */
export interface RemoteFiles {
  /** Undefined for a file of this machine. */
  open(path: string): ByteSource | undefined;
  /** What tells that the contents are the same; undefined for a file of this machine. */
  identity(path: string): string | undefined;
}

const NONE: RemoteFiles = { open: () => undefined, identity: () => undefined };
let remote = NONE;

/** From now on, files of this process are looked for there first. */
export function serveFrom(files: RemoteFiles): void {
  remote = files;
}

/** A file whose bytes are elsewhere, undefined for one of this machine. */
export function openRemote(path: string): ByteSource | undefined {
  return remote.open(path);
}

/** What tells that such a file is the same; undefined for one of this machine. */
export function remoteIdentity(path: string): string | undefined {
  return remote.identity(path);
}

/** Bytes that are fetched in ranges, with the bounds of a file. @param fetch gets ranges within the size only */
export function rangeSource(
  path: string,
  size: number,
  fetch: (offset: number, length: number) => Uint8Array<ArrayBuffer>,
): ByteSource {
  return {
    path,
    size,
    read(offset, length) {
      checkRange(path, size, offset, length);
      return length === 0 ? new Uint8Array() : fetch(offset, length);
    },
    readInto(offset, bytes) {
      checkRange(path, size, offset, bytes.length);
      if (bytes.length > 0) {
        bytes.set(fetch(offset, bytes.length));
      }
    },
    close: () => undefined,
  };
}

/**
 * For reading. A named pipe is not waited for until somebody writes to it: what it is shows by its kind.
 *
 * @throws Error of the file system
 */
export function openWithoutWaiting(path: string): number {
  // Windows has no such flag, and no such pipes in folders.
  return openSync(path, constants.O_RDONLY | ((constants.O_NONBLOCK as number | undefined) ?? 0));
}

/**
 * Opens a file for bounded reads; nothing is read yet.
 *
 * @throws UnusableInputError when the path is missing, unreadable or not a plain file.
 */
export function openFile(path: string): ByteSource {
  const elsewhere = remote.open(path);
  if (elsewhere) {
    return elsewhere;
  }
  let descriptor: number;
  try {
    descriptor = openWithoutWaiting(path);
  } catch (error) {
    throw unopenable(path, error);
  }
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new UnusableInputError({
      code: 'unreadable-file',
      file: path,
      found: stat.isDirectory() ? 'a folder' : 'something that is not a plain file',
      expected: 'a tensor file',
      advice: 'Give the path of a file.',
    });
  }
  const { size, mtimeMs } = stat;
  const readInto = (offset: number, bytes: Uint8Array): void => {
    checkRange(path, size, offset, bytes.length);
    let done = 0;
    while (done < bytes.length) {
      const count = readSync(descriptor, bytes, done, Math.min(bytes.length - done, 2 ** 30), offset + done);
      if (count === 0) {
        throw truncated(path, `${offset + done} bytes`, `${offset + bytes.length} bytes or more`);
      }
      done += count;
    }
    const now = fstatSync(descriptor);
    if (now.size < size) {
      throw truncated(
        path,
        `${now.size} bytes where there were ${size}`,
        'a file that stays as it is while it is read',
      );
    }
    if (now.size !== size || now.mtimeMs !== mtimeMs) {
      // What is written over it are numbers too, but not those of the tensors that it listed.
      throw changed(path);
    }
  };
  return {
    path,
    size,
    read(offset, length) {
      // Before memory is taken.
      checkRange(path, size, offset, length);
      const bytes = new Uint8Array(length);
      readInto(offset, bytes);
      return bytes;
    },
    readInto,
    close() {
      closeSync(descriptor);
    },
  };
}

/** True for a name that leads to a file in the same folder and nowhere else, as files name others that lie beside them. */
export function isFileName(name: string): boolean {
  return name === basename(name) && !['', '.', '..'].includes(name) && !/[\\\0]/.test(name);
}

/** Bytes that are already in memory, with the same bounds as a file. */
export function memorySource(path: string, bytes: Uint8Array): ByteSource {
  return {
    path,
    size: bytes.length,
    read(offset, length) {
      checkRange(path, bytes.length, offset, length);
      return new Uint8Array(bytes.subarray(offset, offset + length));
    },
    readInto(offset, into) {
      checkRange(path, bytes.length, offset, into.length);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    close: () => undefined,
  };
}

/** A window of another source; closing it does not close the source behind it. */
export function windowSource(source: ByteSource, offset: number, size: number): ByteSource {
  checkRange(source.path, source.size, offset, size);
  return {
    path: source.path,
    size,
    read(start, length) {
      checkRange(source.path, size, start, length);
      return source.read(offset + start, length);
    },
    readInto(start, bytes) {
      checkRange(source.path, size, start, bytes.length);
      source.readInto(offset + start, bytes);
    },
    close: () => undefined,
  };
}

/** The error for a file that ends before its content does. */
export function truncated(file: string, found: string, expected: string): UnusableInputError {
  return new UnusableInputError({
    code: 'truncated-file',
    file,
    found,
    expected,
    advice: 'The file is cut short or damaged: copy or save it again.',
  });
}

function changed(file: string): UnusableInputError {
  return new UnusableInputError({
    code: 'changed-file',
    file,
    found: 'a file that was written to while it was read',
    expected: 'a file that stays as it is',
    advice: 'Wait until it has been written, and try again.',
  });
}

/** The error for a file whose own bookkeeping contradicts itself. */
export function malformed(file: string, found: string, expected: string): UnusableInputError {
  return new UnusableInputError({
    code: 'malformed-file',
    file,
    found,
    expected,
    advice: 'The file is damaged or was not written by a tool that follows the format: save it again.',
  });
}

function checkRange(path: string, size: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset + length > size) {
    throw truncated(path, `${size} bytes`, `at least ${offset + length} bytes`);
  }
}

function unopenable(path: string, error: unknown): UnusableInputError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new UnusableInputError({
      code: 'missing-file',
      file: path,
      found: 'no such file',
      expected: 'a tensor file',
      advice: 'Check the path.',
    });
  }
  return new UnusableInputError({
    code: 'unreadable-file',
    file: path,
    found: `a file that cannot be opened (${code || messageOf(error)})`,
    expected: 'a readable tensor file',
    advice: 'Check its permissions.',
  });
}
