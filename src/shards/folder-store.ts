import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { makeFolder, replaceFile } from '../audit/output-folder.js';
import { contentHash } from '../formats/content-hash.js';
import { parseJson, readBounded } from '../formats/json-file.js';
import type { JobFailure } from '../protocol/manifest.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import type { Report } from '../protocol/report.js';
import { finishedReport } from '../project/audit-job.js';
import { ENTRIES_FOLDER, SHARES_FOLDER } from '../project/run-project.js';
import type { ResultStore } from './result-store.js';

const FAILED_FOLDER = 'failed';
const MANIFESTS_FOLDER = 'manifests';
/** Work of machines that cannot be asked, after which nobody waits for it. */
const ABANDONED_MS = 7 * 24 * 3600 * 1000;
/** The same of a process of this machine that is gone. */
const GONE_MS = 24 * 3600 * 1000;
const MOST_FAILURE_BYTES = 2 ** 20;

/** Whether a folder holds the results of shares. */
export function isStore(folder: string): boolean {
  return existsSync(join(folder, SHARES_FOLDER)) && existsSync(join(folder, ENTRIES_FOLDER));
}

/** A folder that all machines see, such as one of a network file system: `entries/ID` for results, `failed/ID.json`, `work/`. */
export class FolderStore implements ResultStore {
  /** @throws UnusableInputError when the folder cannot be made */
  constructor(readonly place: string) {
    for (const name of [ENTRIES_FOLDER, FAILED_FOLDER, SHARES_FOLDER, MANIFESTS_FOLDER]) {
      makeFolder(join(place, name));
    }
  }

  has(id: string): Promise<boolean> {
    return Promise.resolve(finishedReport(this.entry(id)) !== undefined);
  }

  begin(): Promise<string> {
    const folder = join(this.place, SHARES_FOLDER, `${hostname()}.${process.pid}.${randomBytes(8).toString('hex')}`);
    makeFolder(folder);
    return Promise.resolve(folder);
  }

  /** By renaming, which no file system does by half. */
  commit(id: string, folder: string): Promise<boolean> {
    const target = this.entry(id);
    for (let tried = 0; ; tried++) {
      try {
        renameSync(folder, target);
        rmSync(this.failed(id), { force: true });
        return Promise.resolve(true);
      } catch (error) {
        if (!existsSync(target) || tried === 2) {
          throw unwritable(target, error);
        }
        if (finishedReport(target) !== undefined) {
          rmSync(folder, { recursive: true, force: true });
          return Promise.resolve(false);
        }
        // What is there is no result: moved away first, as removing it would leave half of it for a moment.
        const away = join(this.place, SHARES_FOLDER, `${hostname()}.${process.pid}.${randomBytes(8).toString('hex')}`);
        renameSync(target, away);
        rmSync(away, { recursive: true, force: true });
      }
    }
  }

  discard(folder: string): Promise<void> {
    rmSync(folder, { recursive: true, force: true });
    return Promise.resolve();
  }

  report(id: string): Promise<Report | undefined> {
    return Promise.resolve(finishedReport(this.entry(id)));
  }

  fetch(id: string, folder: string): Promise<void> {
    const entry = this.entry(id);
    for (const file of readdirSync(entry, { withFileTypes: true })) {
      // Results are files in one folder; links and folders are nobody's.
      if (file.isFile()) {
        try {
          copyFileSync(join(entry, file.name), join(folder, file.name));
        } catch (error) {
          throw unwritable(join(folder, file.name), error);
        }
      }
    }
    return Promise.resolve();
  }

  failure(id: string): Promise<JobFailure | undefined> {
    const path = this.failed(id);
    let value: unknown;
    try {
      value = parseJson(readBounded(path, MOST_FAILURE_BYTES));
    } catch {
      return Promise.resolve(undefined);
    }
    return Promise.resolve(asFailure(value));
  }

  fail(failure: JobFailure): Promise<void> {
    replaceFile(this.failed(failure.id), `${JSON.stringify(failure, undefined, 1)}\n`);
    return Promise.resolve();
  }

  async keepManifest(path: string): Promise<void> {
    const kept = join(
      this.place,
      MANIFESTS_FOLDER,
      `${(await contentHash(path, () => Promise.resolve())).slice(0, 20)}.jsonl`,
    );
    if (!existsSync(kept)) {
      const folder = await this.begin();
      const copy = join(folder, basename(kept));
      try {
        copyFileSync(path, copy);
        renameSync(copy, kept);
      } catch (error) {
        throw unwritable(kept, error);
      }
      rmSync(folder, { recursive: true });
    }
  }

  manifests(): Promise<string[]> {
    const folder = join(this.place, MANIFESTS_FOLDER);
    return Promise.resolve(
      readdirSync(folder)
        .filter((name) => name.endsWith('.jsonl'))
        .map((name) => join(folder, name)),
    );
  }

  tidy(): Promise<void> {
    const work = join(this.place, SHARES_FOLDER);
    for (const name of readdirSync(work)) {
      const [, host, pid] = /^(.*)\.(\d+)\.[0-9a-f]{16}$/.exec(name) ?? [];
      const path = join(work, name);
      if (host !== undefined && isAbandoned(path, host, Number(pid))) {
        rmSync(path, { recursive: true, force: true });
      }
    }
    return Promise.resolve();
  }

  private entry(id: string): string {
    checkId(id);
    return join(this.place, ENTRIES_FOLDER, id);
  }

  private failed(id: string): string {
    checkId(id);
    return join(this.place, FAILED_FOLDER, `${id}.json`);
  }
}

/** Ids come from files and servers, and must not lead elsewhere. */
function checkId(id: string): void {
  if (!/^[0-9a-f]{20}$/.test(id)) {
    throw new RangeError(`${id} is no key of a job.`);
  }
}

function isAbandoned(path: string, host: string, pid: number): boolean {
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Infinity);
  // Containers may share a name, and then number their processes each for itself.
  if (host !== hostname() || age < GONE_MS) {
    return age > ABANDONED_MS;
  }
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

function unwritable(file: string, error: unknown): UnusableInputError {
  return new UnusableInputError({
    code: 'unreadable-file',
    file,
    found: `a place that results cannot be moved to (${messageOf(error)})`,
    expected: 'a folder on one file system, with room',
    advice: 'Make room or change its permissions, or choose another folder.',
  });
}

/** What a file in a store says of a failure; undefined for what is none. */
export function asFailure(value: unknown): JobFailure | undefined {
  const own = value as Partial<JobFailure> | null;
  return typeof own === 'object' &&
    own !== null &&
    typeof own.id === 'string' &&
    typeof own.gradients === 'string' &&
    typeof own.problem === 'string' &&
    typeof own.isFinal === 'boolean' &&
    typeof own.attempts === 'number' &&
    typeof own.host === 'string'
    ? (own as JobFailure)
    : undefined;
}
