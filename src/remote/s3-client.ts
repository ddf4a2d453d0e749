import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { UnusableInputError } from '../protocol/errors.js';
import {
  type Answered,
  type Answers,
  type Asked,
  type AskedInMemory,
  type Place,
  type Request,
  STATE,
  type StoredObject,
} from './requests.js';

/** An S3-compatible store. The SDK is in a thread that is started at the first request. */

/** What a read may take before its file is given up. */
const READ_MS = 120_000;
/** For the words of a problem. */
const LEAST_BYTES = 1024;

export class S3Client {
  private thread: Worker | undefined;
  private last = 0;
  private readonly waiting = new Map<
    number,
    { readonly resolve: (answer: unknown) => void; readonly reject: (error: Error) => void }
  >();

  /** @param script of the thread */
  constructor(private readonly script = threadScript()) {}

  async *list(place: Place, isDeep: boolean): AsyncGenerator<StoredObject[]> {
    let after: string | undefined;
    do {
      const { objects, next } = await this.ask<'list'>(place, { op: 'list', place, isDeep, after });
      yield objects;
      after = next;
    } while (after !== undefined);
  }

  head(place: Place, name: string): Promise<StoredObject | null> {
    const { bucket, prefix } = place;
    return this.ask<'head'>(place, { op: 'head', bucket, key: prefix + name });
  }

  get(place: Place, name: string, most: number): Promise<Uint8Array | null> {
    const { bucket, prefix } = place;
    return this.ask<'get'>(place, { op: 'get', bucket, key: prefix + name, most });
  }

  put(place: Place, name: string, bytes: Uint8Array, isNew: boolean): Promise<boolean> {
    const { bucket, prefix } = place;
    return this.ask<'put'>(place, { op: 'put', bucket, key: prefix + name, bytes, isNew });
  }

  async delete(place: Place, name: string): Promise<void> {
    const { bucket, prefix } = place;
    await this.ask<'delete'>(place, { op: 'delete', bucket, key: prefix + name });
  }

  traffic(): Promise<Answers['traffic']> {
    return this.ask<'traffic'>({ bucket: '', prefix: '' }, { op: 'traffic' });
  }

  /**
   * Waits for bytes of an object without letting anything else run, as readers of files do.
   *
   * @param path that the file has for people
   * @throws UnusableInputError when they cannot be had, or the object is another one now
   */
  readNow(
    path: string,
    object: { bucket: string; key: string; etag: string },
    start: number,
    length: number,
  ): Uint8Array<ArrayBuffer> {
    const control = new SharedArrayBuffer(8);
    const data = new SharedArrayBuffer(Math.max(length, LEAST_BYTES));
    const state = new Int32Array(control);
    const asked: AskedInMemory = { range: { ...object, start, length }, control, data };
    this.running().postMessage(asked);
    Atomics.wait(state, 0, STATE.waiting, READ_MS);
    const bytes = new Uint8Array(data).slice(0, Math.min(Atomics.load(state, 1), data.byteLength));
    switch (Atomics.load(state, 0)) {
      case STATE.done:
        if (bytes.length < length) {
          throw unreachable(path, `${bytes.length} bytes where ${length} were asked for`);
        }
        return bytes.slice(0, length);
      case STATE.changed:
        throw new UnusableInputError({
          code: 'changed-file',
          file: path,
          found: 'an object that was replaced since it was listed',
          expected: 'an object that stays as it is',
          advice: 'Plan again.',
        });
      case STATE.failed:
        throw unreachable(path, new TextDecoder().decode(bytes));
      default:
        throw unreachable(path, `no answer in ${READ_MS / 1000} s`);
    }
  }

  close(): void {
    void this.thread?.terminate();
    this.thread = undefined;
  }

  private running(): Worker {
    if (this.thread) {
      return this.thread;
    }
    const thread = new Worker(this.script);
    thread.on('message', (answered: Answered) => {
      const waiting = this.waiting.get(answered.id);
      this.waiting.delete(answered.id);
      if ('problem' in answered) {
        waiting?.reject(new Error(answered.problem));
      } else {
        waiting?.resolve(answered.answer);
      }
    });
    thread.on('error', (error) => {
      for (const { reject } of this.waiting.values()) {
        reject(error);
      }
      this.waiting.clear();
      this.thread = undefined;
    });
    // Nobody is kept alive by a store.
    thread.unref();
    this.thread = thread;
    return thread;
  }

  private async ask<K extends Request['op']>(place: Place, request: Extract<Request, { op: K }>): Promise<Answers[K]> {
    const id = ++this.last;
    const answered = new Promise<unknown>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
    });
    const thread = this.running();
    thread.ref();
    try {
      const asked: Asked = { id, request };
      thread.postMessage(asked);
      return (await answered) as Answers[K];
    } catch (error) {
      throw unreachable(`s3://${place.bucket}/${place.prefix}`, error instanceof Error ? error.message : String(error));
    } finally {
      if (this.waiting.size === 0) {
        thread.unref();
      }
    }
  }
}

function threadScript(): string {
  const beside = join(__dirname, 's3-thread.js');
  return existsSync(beside) ? beside : join(__dirname, '..', '..', 'dist', 's3-thread.js');
}

function unreachable(file: string, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'unreadable-file',
    file,
    found,
    expected: 'an S3-compatible store that lets this user read',
    advice:
      "Check AWS_ENDPOINT_URL_S3 for a store that is not Amazon's, AWS_REGION, and the credentials (environment, profile or role).",
  });
}
