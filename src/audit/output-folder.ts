import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { parseJson, readBounded } from '../formats/json-file.js';
import { writeWhole } from '../formats/write-whole.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';

/**
 * Folders that results are written to. What GradLeak wrote is known by its checksum, so that neither the user's files nor
 * what others planted are replaced; nothing is written through links, and every file appears whole or not at all.
 */

/** Names of written files, with the checksums that they may have: the last one, and the one being written. */
const LIST_FILE = '.gradleak-files.json';
const LOCK_FILE = '.gradleak-lock';
/** What a file is called until it is whole. */
const TEMPORARY = /^\.(.+)\.[0-9a-f]{12}\.tmp$/;
/** In which a process that has made its lock has written its number into it. */
const LOCK_WRITTEN_MS = 200;
const MOST_LIST_BYTES = 2 ** 20;
const MOST_OWN_BYTES = 2 ** 31;

/**
 * Makes the folder and locks it.
 *
 * @param names of files that are going to be written
 * @param force whether files of others may be replaced
 * @returns what unlocks it
 * @throws UnusableInputError when it cannot be made, is a link, holds somebody else's files, or another audit writes to it
 */
export function openOutput(folder: string, names: readonly string[], force: boolean): () => void {
  makeFolder(folder);
  const unlock = lock(folder);
  try {
    removeTemporaries(folder);
    for (const name of names) {
      refuseForeign(folder, name, force, ownChecksum(folder, name));
    }
  } catch (error) {
    unlock();
    throw error;
  }
  return unlock;
}

/** Removes what a process left that was killed: its lock, and files that were not whole. Of a running one all stays. */
export function tidyOutput(folder: string): void {
  const path = join(folder, LOCK_FILE);
  if (lstatSync(path, { throwIfNoEntry: false })) {
    if (!isAbandoned(path)) {
      return;
    }
    rmSync(path, { force: true });
  }
  removeTemporaries(folder);
}

/** Those of files that GradLeak lists as its own; the list is ahead of every file. */
function removeTemporaries(folder: string): void {
  const known = new Set([LIST_FILE, ...Object.keys(listOf(folder))]);
  for (const file of readdirSync(folder)) {
    const name = TEMPORARY.exec(file)?.[1];
    if (name !== undefined && known.has(name)) {
      rmSync(join(folder, file), { force: true });
    }
  }
}

/** @throws UnusableInputError when it cannot be made, or is a link */
export function makeFolder(folder: string): void {
  if (isLink(folder)) {
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: folder,
      found: 'a link to another place',
      expected: 'a folder to write to',
      advice: 'Give the folder itself, or remove the link.',
      next: ['choose-output'],
    });
  }
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw unwritable(folder, error);
  }
}

/** @throws UnusableInputError where the place cannot be looked at, as below a file */
function isLink(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  } catch (error) {
    throw unwritable(path, error);
  }
}

/**
 * @param force whether a file of others may be replaced; a link is, not what it leads to
 * @throws UnusableInputError when it is somebody else's, or the disk does not take it
 */
export function writeOutput(folder: string, name: string, content: string | Uint8Array, force: boolean): void {
  const before = ownChecksum(folder, name);
  refuseForeign(folder, name, force, before);
  const known = listOf(folder);
  // The list is ahead of the file: crashes between the two leave a file that is still known by its checksum.
  known[name] = [...(before === undefined ? [] : [before]), checksum(content)];
  replaceFile(join(folder, LIST_FILE), `${JSON.stringify(known, undefined, 1)}\n`);
  replaceFile(join(folder, name), content);
}

/** Removes a file that GradLeak wrote; others stay. */
export function removeOutput(folder: string, name: string): void {
  if (isOwnOutput(folder, name)) {
    rmSync(join(folder, name), { force: true });
  }
}

/** Writes a file whole or not at all, as `writeWhole` does. @throws UnusableInputError when the disk does not take it */
export function replaceFile(path: string, content: string | Uint8Array | Iterable<string>): void {
  try {
    writeWhole(path, content);
  } catch (error) {
    throw unwritable(path, error);
  }
}

/** @param own the file's checksum where GradLeak wrote it */
function refuseForeign(folder: string, name: string, force: boolean, own: string | undefined): void {
  const path = join(folder, name);
  if (force || own !== undefined || !lstatSync(path, { throwIfNoEntry: false })) {
    return;
  }
  throw new UnusableInputError({
    code: 'would-overwrite',
    file: path,
    found: 'a file that GradLeak did not write, or that was changed since',
    expected: 'an empty folder or an earlier report',
    advice: 'Choose another folder, or replace it.',
  });
}

/** Whether a file is as GradLeak wrote it: not somebody else's, and not changed since. */
export function isOwnOutput(folder: string, name: string): boolean {
  return ownChecksum(folder, name) !== undefined;
}

/** Of a file as GradLeak wrote it; undefined for others. */
function ownChecksum(folder: string, name: string): string | undefined {
  const path = join(folder, name);
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) {
    return undefined;
  }
  try {
    const own = checksum(readBounded(path, MOST_OWN_BYTES));
    return listOf(folder)[name]?.includes(own) === true ? own : undefined;
  } catch {
    return undefined;
  }
}

function checksum(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

function listOf(folder: string): Record<string, string[]> {
  try {
    const value = parseJson(readBounded(join(folder, LIST_FILE), MOST_LIST_BYTES));
    return typeof value === 'object' && value !== null
      ? Object.fromEntries(
          Object.entries(value).filter(
            (entry): entry is [string, string[]] =>
              Array.isArray(entry[1]) && entry[1].every((own) => typeof own === 'string'),
          ),
        )
      : {};
  } catch {
    return {};
  }
}

/** Locks of this process, whose number an ended one may have had before it. */
const held = new Set<string>();

/** One audit at a time; a lock whose process is gone is nobody's. */
function lock(folder: string): () => void {
  const path = join(folder, LOCK_FILE);
  const own = JSON.stringify({ pid: process.pid, host: hostname() });
  for (let tried = 0; ; tried++) {
    const unlock = (): void => {
      held.delete(path);
      rmSync(path, { force: true });
    };
    try {
      const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
      held.add(path);
      try {
        writeSync(file, own);
      } catch (error) {
        // On a full disk it would be one that nobody can be asked about.
        unlock();
        throw error;
      } finally {
        closeSync(file);
      }
      return unlock;
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') {
        throw unwritable(path, error);
      }
      if (tried > 0 || !isAbandoned(path)) {
        throw new UnusableInputError({
          code: 'would-overwrite',
          file: folder,
          found: 'another audit that writes to it',
          expected: 'a folder of its own for each audit',
          advice: `Wait until that has ended, choose another folder, or delete ${LOCK_FILE} if none is running.`,
          next: ['retry', 'choose-output'],
        });
      }
      rmSync(path, { force: true });
    }
  }
}

function isAbandoned(path: string): boolean {
  try {
    const text = readFileSync(path, 'utf8') || readLater(path);
    if (text === '') {
      // Whoever made it was killed before it had written its number.
      return true;
    }
    const value = JSON.parse(text) as { pid?: unknown; host?: unknown };
    if (value.host !== hostname() || typeof value.pid !== 'number') {
      return false;
    }
    process.kill(value.pid, 0);
    return value.pid === process.pid && !held.has(path);
  } catch (error) {
    return codeOf(error) === 'ESRCH';
  }
}

function readLater(path: string): string {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCK_WRITTEN_MS);
  return readFileSync(path, 'utf8');
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

const DISK: Record<string, string> = {
  ENOSPC: 'a disk that is full',
  EDQUOT: 'a quota that is used up',
  EROFS: 'a disk that is read-only',
  EACCES: 'a folder that may not be written to',
  EPERM: 'a folder that may not be written to',
  EMFILE: 'too many open files',
  ENFILE: 'too many open files',
};

/** The user's disk, not a defect of ours. */
function unwritable(path: string, error: unknown): UnusableInputError {
  return new UnusableInputError({
    code: 'unreadable-file',
    file: path,
    found: DISK[codeOf(error)] ?? `a place that cannot be written to (${messageOf(error)})`,
    expected: 'a folder to write to',
    advice: 'Make room or change its permissions, or choose another folder.',
    next: ['retry', 'choose-output'],
  });
}
