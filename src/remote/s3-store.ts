import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPORT_FILE } from '../audit/output.js';
import { upgradeReport } from '../audit/upgrade-report.js';
import { contentHash } from '../formats/content-hash.js';
import { parseJson } from '../formats/json-file.js';
import type { JobFailure } from '../protocol/manifest.js';
import type { Report } from '../protocol/report.js';
import { asFailure } from '../shards/folder-store.js';
import type { ResultStore } from '../shards/result-store.js';
import { within } from './address.js';
import type { Place } from './requests.js';
import type { S3Client } from './s3-client.js';

/**
 * Results in an object store. An object appears as a whole or not at all, and a result is there when its report is, which is put last;
 * where the store knows conditions, only by whoever is first.
 */

const MOST_REPORT_BYTES = 2 ** 30;
const MOST_FILE_BYTES = 2 ** 30;
/** Of a file that an audit writes. */
const FILE_NAME = /^\.?[\w-][\w.-]*$/;
const MOST_FAILURE_BYTES = 2 ** 20;
const MOST_MANIFEST_BYTES = 2 ** 30;

export class S3Store implements ResultStore {
  private readonly work = mkdtempSync(join(tmpdir(), 'gradleak-results-'));

  constructor(
    private readonly client: S3Client,
    private readonly root: Place,
  ) {}

  get place(): string {
    return `s3://${this.root.bucket}/${this.root.prefix}`;
  }

  async has(id: string): Promise<boolean> {
    return (await this.client.head(this.entry(id), REPORT_FILE)) !== null;
  }

  begin(): Promise<string> {
    return Promise.resolve(mkdtempSync(join(this.work, 'audit-')));
  }

  async commit(id: string, folder: string): Promise<boolean> {
    const place = this.entry(id);
    const names = readdirSync(folder).filter((name) => name !== REPORT_FILE);
    for (const name of names) {
      await this.client.put(place, name, readFileSync(join(folder, name)), false);
    }
    const isFirst = await this.client.put(place, REPORT_FILE, readFileSync(join(folder, REPORT_FILE)), true);
    await this.client.delete(within(this.root, 'failed'), `${id}.json`);
    await this.discard(folder);
    return isFirst;
  }

  discard(folder: string): Promise<void> {
    rmSync(folder, { recursive: true, force: true });
    return Promise.resolve();
  }

  async report(id: string): Promise<Report | undefined> {
    const bytes = await this.client.get(this.entry(id), REPORT_FILE, MOST_REPORT_BYTES);
    try {
      const report = bytes ? upgradeReport(parseJson(Buffer.from(bytes))) : undefined;
      return report?.cancelled === true ? undefined : report;
    } catch {
      return undefined;
    }
  }

  async fetch(id: string, folder: string): Promise<void> {
    const place = this.entry(id);
    for await (const page of this.client.list(place, false)) {
      for (const { key } of page) {
        const name = key.slice(place.prefix.length);
        // Keys may hold anything, and the name must not lead out of the folder.
        const bytes = FILE_NAME.test(name) && (await this.client.get(place, name, MOST_FILE_BYTES));
        if (bytes) {
          writeFileSync(join(folder, name), bytes);
        }
      }
    }
  }

  async failure(id: string): Promise<JobFailure | undefined> {
    const bytes = await this.client.get(within(this.root, 'failed'), `${id}.json`, MOST_FAILURE_BYTES);
    try {
      return bytes ? asFailure(parseJson(Buffer.from(bytes))) : undefined;
    } catch {
      return undefined;
    }
  }

  async fail(failure: JobFailure): Promise<void> {
    const bytes = Buffer.from(`${JSON.stringify(failure, undefined, 1)}\n`);
    await this.client.put(within(this.root, 'failed'), `${failure.id}.json`, bytes, false);
  }

  async keepManifest(path: string): Promise<void> {
    const name = `${(await contentHash(path, () => Promise.resolve())).slice(0, 20)}.jsonl`;
    await this.client.put(within(this.root, 'manifests'), name, readFileSync(path), true);
  }

  async manifests(): Promise<string[]> {
    const place = within(this.root, 'manifests');
    const paths: string[] = [];
    for await (const page of this.client.list(place, false)) {
      for (const { key } of page) {
        const name = key.slice(place.prefix.length);
        const bytes = /^[0-9a-f]{20}\.jsonl$/.test(name) && (await this.client.get(place, name, MOST_MANIFEST_BYTES));
        if (bytes) {
          writeFileSync(join(this.work, name), bytes);
          paths.push(join(this.work, name));
        }
      }
    }
    return paths;
  }

  /** What was not committed is on the machine that began it. */
  tidy(): Promise<void> {
    return Promise.resolve();
  }

  dispose(): void {
    rmSync(this.work, { recursive: true, force: true });
  }

  private entry(id: string): Place {
    return within(this.root, `entries/${id}`);
  }
}
