import { randomBytes } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Of parts of a text, what is written at a time. */
const CHUNK = 2 ** 20;

/**
 * Writes a file whole or not at all: a crash in the middle must not leave half of it under the real name. A link of that
 * name is replaced, not followed.
 *
 * @param content the parts of a text where it may be longer than a text can be
 * @throws Error of the file system
 */
export function writeWhole(path: string, content: string | Uint8Array | Iterable<string>): void {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  let file: number | undefined;
  try {
    file = openSync(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o666);
    for (const bytes of chunksOf(content)) {
      for (let done = 0; done < bytes.length;) {
        done += writeSync(file, bytes, done, Math.min(bytes.length - done, 2 ** 30));
      }
    }
    fsyncSync(file);
    closeSync(file);
    file = undefined;
    renameSync(temporary, path);
  } catch (error) {
    if (file !== undefined) {
      closeSync(file);
    }
    rmSync(temporary, { force: true });
    throw error;
  }
}

function* chunksOf(content: string | Uint8Array | Iterable<string>): Generator<Uint8Array> {
  if (content instanceof Uint8Array) {
    yield content;
    return;
  }
  let waiting = '';
  for (const part of typeof content === 'string' ? [content] : content) {
    waiting += part;
    if (waiting.length > CHUNK) {
      yield Buffer.from(waiting);
      waiting = '';
    }
  }
  yield Buffer.from(waiting);
}
