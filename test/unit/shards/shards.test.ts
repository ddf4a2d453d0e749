import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { writeOutput } from '../../../src/audit/output-folder.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { planProject } from '../../../src/project/plan.js';
import { runProject } from '../../../src/project/run-project.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import type { ManifestJob } from '../../../src/protocol/manifest.js';
import type { ProjectPlan } from '../../../src/protocol/project-report.js';
import { FolderStore } from '../../../src/shards/folder-store.js';
import { type Manifest, WHOLE, openManifest, writeManifest } from '../../../src/shards/manifest.js';
import { merge } from '../../../src/shards/merge.js';
import { type ShardTotals, runShard, share } from '../../../src/shards/run-shard.js';

/** Plans as manifests, shares of them, and their merge. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'k17_smooth_bias_default', 'k2_hard_bias', 'float64'];
const SETTINGS = { method: 'auto', force: false } as const;
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-shards-'));
let [root, path, place, count] = ['', '', '', 0];
const pause = (): Promise<void> => Promise.resolve();

beforeEach(() => {
  const folder = join(scratch, String(++count));
  [root, path, place] = [join(folder, 'project'), join(folder, 'manifest.jsonl'), join(folder, 'store')];
  for (const name of DUMPS) {
    cpSync(join(FIXTURES, name), join(root, name), { recursive: true });
  }
});
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function planned(more: Partial<Parameters<typeof planProject>[1]> = {}): Promise<ProjectPlan> {
  return planProject(
    root,
    { exclude: [], includeIgnored: false, settings: 's', kindOf: (file) => fileKindOf(file, true).kind, ...more },
    pause,
  );
}

async function manifest(): Promise<Manifest> {
  writeManifest(path, await planned(), { settings: SETTINGS, identity: 'contents' });
  return openManifest(path);
}

async function audited(request: AuditRequest): Promise<void> {
  await runAudit(request, { progress: () => undefined, pause });
}

interface Changes {
  index?: number;
  of?: number;
  retry?: boolean;
  concurrency?: number;
  auditOne?: (request: AuditRequest & { out: string }) => Promise<void>;
  cancelled?: () => boolean;
}

function shard(own: Manifest, changes: Changes = {}): Promise<ShardTotals> {
  const { index = 1, of = 1, retry = false, concurrency = 2, auditOne = audited, cancelled = () => false } = changes;
  return runShard({
    manifest: own,
    shard: { index, of },
    root: own.head.root,
    store: new FolderStore(place),
    audit: { settings: SETTINGS, auditOne },
    concurrency,
    retry,
    progress: () => undefined,
    cancelled,
  });
}

async function jobs(own: Manifest, index = 1, of = 1): Promise<ManifestJob[]> {
  const all: ManifestJob[] = [];
  for await (const job of own.jobs({ index, of })) {
    all.push(job);
  }
  return all;
}

describe('a manifest', () => {
  it('holds every job once, whatever the number of shares', async () => {
    const own = await manifest();
    const whole = (await jobs(own)).map(({ gradients }) => gradients).sort();
    expect(whole).toEqual(DUMPS.map((name) => `${name}/gradient.pt`).sort());
    for (const of of [2, 3, 7]) {
      const parts = [];
      for (let index = 1; index <= of; index++) {
        const part = await jobs(own, index, of);
        expect(part).toHaveLength(share(own.head.jobs, { index, of }));
        parts.push(...part.map(({ gradients }) => gradients));
      }
      expect(parts.sort()).toEqual(whole);
    }
  });

  it.each([
    ['nothing', () => '', /an empty file/],
    ['no head', (lines: string[]) => lines.slice(1).join('\n'), /no.*head of a manifest|not the head/],
    ['a missing job', (lines: string[]) => lines.slice(0, -2).join('\n') + '\n', /4 jobs where the head counts 5/],
    ['a cut line', (lines: string[]) => lines.join('\n').slice(0, -20), /cut short/],
    [
      'no JSON',
      (lines: string[]) => [lines[0], '{'.repeat(5), ...lines.slice(2)].join('\n'),
      /line 2 that is not JSON/,
    ],
    [
      'a path that leads out',
      (lines: string[]) => lines.join('\n').replace('float64/gradient.pt', '../../../etc/passwd'),
      /leads out of the root/,
    ],
    [
      'an id that is a path',
      (lines: string[]) => lines.join('\n').replace(/"id":"[0-9a-f]{20}"/, '"id":"../../../../../x"'),
      /line 2/,
    ],
    [
      'another version',
      (lines: string[]) => lines.join('\n').replace(/"version":"[^"]*"/, '"version":"9.9.9"'),
      /version 9\.9\.9/,
    ],
  ])('with %s is refused, with the reason', async (_what, change, reason) => {
    await manifest();
    const lines = readFileSync(path, 'utf8').split('\n');
    writeFileSync(path, change(lines));
    await expect(openManifest(path).then((own) => jobs(own))).rejects.toThrow(reason);
  });

  it('has keys that change with contents, or with sizes and times alone', async () => {
    const keys = async (more: Parameters<typeof planned>[0]): Promise<string[]> =>
      (await planned(more)).entries.map(({ id }) => id);
    const [contents, times] = [await keys({}), await keys({ identity: 'size-and-time' })];
    const file = join(root, DUMPS[0]!, 'gradient.pt');
    const bytes = readFileSync(file);
    utimesSync(file, 1, 1);
    expect(await keys({})).toEqual(contents);
    const later = await keys({ identity: 'size-and-time' });
    expect(later.filter((key) => !times.includes(key))).toHaveLength(1);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(file, bytes);
    utimesSync(file, 1, 1);
    expect((await keys({})).filter((key) => !contents.includes(key))).toHaveLength(1);
    expect(await keys({ identity: 'size-and-time' })).toEqual(later);
  });

  it('takes hashes of files that are as they were from its cache, and of no others', async () => {
    const hashCache = `${path}.hashes`;
    const ids = (await planned({ hashCache })).entries.map(({ id }) => id);
    expect((await planned({ hashCache })).entries.map(({ id }) => id)).toEqual(ids);
    const file = join(root, DUMPS[0]!, 'gradient.pt');
    // A wrong hash shows that the cache was asked.
    const lines = readFileSync(hashCache, 'utf8').split('\n');
    writeFileSync(
      hashCache,
      lines
        .map((line) => (line.includes(file) ? line.replace(/"[0-9a-f]{64}"/, `"${'0'.repeat(64)}"`) : line))
        .join('\n'),
    );
    expect((await planned({ hashCache })).entries.filter(({ id }) => !ids.includes(id))).toHaveLength(1);
    utimesSync(file, 1, 1);
    expect((await planned({ hashCache })).entries.map(({ id }) => id)).toEqual(ids);
  });
});

describe('shares', () => {
  it('come to the report that one audit of the project comes to', async () => {
    const own = await manifest();
    expect(await shard(own, { index: 2, of: 3 })).toMatchObject({ done: 2, before: 0 });
    const store = new FolderStore(place);
    const part = await merge(own, store, pause);
    expect(part).toMatchObject({ status: 'cancelled', summary: { done: 2, dumps: 5 } });
    await shard(own, { index: 3, of: 3 });
    await shard(own, { index: 1, of: 3 });
    const merged = await merge(own, store, pause);
    const plain = await runProject({
      plan: await planned(),
      out: join(scratch, `${count}`, 'plain'),
      concurrency: 1,
      settings: SETTINGS,
      auditOne: audited,
      progress: () => undefined,
      cancelled: () => false,
    });
    expect({ ...merged, finished: '' }).toEqual({ ...plain, finished: '' });
    expect(readdirSync(join(place, 'work'))).toEqual([]);
  });

  it('are safe to run again, and at once', async () => {
    const own = await manifest();
    const both = await Promise.all([shard(own), shard(own)]);
    const sum = (name: keyof ShardTotals): number => both[0][name] + both[1][name];
    expect(sum('done')).toBe(5);
    expect(sum('other') + sum('before')).toBe(5);
    let audits = 0;
    const again = await shard(own, {
      auditOne: () => {
        audits++;
        return Promise.resolve();
      },
    });
    expect([again.before, audits]).toEqual([5, 0]);
  });

  it('do again what is there and is no result, and leave nothing of an audit that was stopped', async () => {
    const own = await manifest();
    const [first, second] = await jobs(own);
    mkdirSync(join(place, 'entries', first!.id), { recursive: true });
    writeFileSync(join(place, 'entries', first!.id, 'report.json'), '{"half":');
    let stopped = false;
    const totals = await shard(own, {
      concurrency: 1,
      auditOne: async (request) => {
        if (request.gradients.includes(second!.gradients.split('/')[0]!)) {
          stopped = true;
          throw new CancelledError();
        }
        await audited(request);
      },
      cancelled: () => stopped,
    });
    expect(totals).toMatchObject({ done: 1, failed: 0 });
    expect(readdirSync(join(place, 'entries'))).toEqual([first!.id]);
    expect(readdirSync(join(place, 'work'))).toEqual([]);
    expect(await shard(own)).toMatchObject({ before: 1, done: 4 });
  });

  it('note why a job has no result; a crash is tried again, wrong contents are not', async () => {
    const own = await manifest();
    const [crashing] = await jobs(own);
    const wrong = join(root, 'k2_hard_bias', 'gradient.pt');
    const [bytes, name] = [readFileSync(wrong), crashing!.gradients.split('/')[0]!];
    const auditOne = async (request: AuditRequest): Promise<void> => {
      if (request.gradients.includes(name)) {
        throw new Error('The process ended.');
      }
      await audited(request);
    };
    writeFileSync(wrong, bytes.subarray(0, bytes.length >> 1));
    expect(await shard(own, { auditOne })).toMatchObject({ done: 3, failed: 2 });
    const report = await merge(own, new FolderStore(place), pause);
    expect(report.status).toBe('complete');
    expect(report.entries.filter(({ status }) => status === 'failed').map(({ problem }) => problem)).toEqual([
      'The process ended.',
      expect.stringContaining('written to since it was planned'),
    ]);
    expect(await shard(own)).toMatchObject({ before: 3, done: 1, 'failed-before': 1 });
    expect(existsSync(join(place, 'failed', `${crashing!.id}.json`))).toBe(false);
    expect(await shard(own, { retry: true })).toMatchObject({ before: 4, failed: 1 });
  });
});

describe('a store in a folder', () => {
  it('keeps the result of whoever was first', async () => {
    const own = await manifest();
    const [job] = await jobs(own);
    const store = new FolderStore(place);
    await shard(own);
    const before = readFileSync(join(place, 'entries', job!.id, 'report.json'), 'utf8');
    const folder = await store.begin();
    writeOutput(folder, 'report.json', '{}', false);
    expect(await store.commit(job!.id, folder)).toBe(false);
    expect(readFileSync(join(place, 'entries', job!.id, 'report.json'), 'utf8')).toBe(before);
    expect(existsSync(folder)).toBe(false);
  });

  it('tidies the work of processes that are gone, and of no others', async () => {
    const store = new FolderStore(place);
    const mine = await store.begin();
    const [gone, elsewhere, other] = [
      mine.replace(`.${process.pid}.`, '.4194301.'),
      join(place, 'work', 'elsewhere.1.0123456789abcdef'),
      join(place, 'work', 'notes'),
    ];
    for (const folder of [gone, elsewhere, other]) {
      mkdirSync(folder);
    }
    await store.tidy();
    expect([mine, gone, elsewhere, other].map((folder) => existsSync(folder))).toEqual([true, false, true, true]);
    utimesSync(elsewhere, 1, 1);
    await store.tidy();
    expect(existsSync(elsewhere)).toBe(false);
  });

  it('keeps the manifests that its results came from', async () => {
    const own = await manifest();
    await shard(own);
    await shard(own);
    const [kept, ...others] = await new FolderStore(place).manifests();
    expect(others).toEqual([]);
    expect((await jobs(await openManifest(kept!), WHOLE.index, WHOLE.of)).length).toBe(5);
  });
});
