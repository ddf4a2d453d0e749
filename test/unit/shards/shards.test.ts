import { spawnSync } from 'node:child_process';
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
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import type { ManifestJob } from '../../../src/protocol/manifest.js';
import type { ProjectPlan } from '../../../src/protocol/project-report.js';
import { FolderStore } from '../../../src/shards/folder-store.js';
import { type Manifest, WHOLE, openManifest, writeManifest } from '../../../src/shards/manifest.js';
import { merge } from '../../../src/shards/merge.js';
import { type ShardTotals, runShard, share } from '../../../src/shards/run-shard.js';

/** Plans as manifests, shares of them, and their merge. */

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'k17_smooth_bias_default', 'k2_hard_bias', 'float64'];
const SETTINGS = { method: 'auto' } as const;
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
  writeManifest(path, await planned(), { settings: SETTINGS, settingsKey: 's', identity: 'contents' });
  return openManifest(path);
}

async function audited(request: AuditRequest): Promise<void> {
  await runAudit(request, { progress: () => undefined, pause });
}

interface Changes {
  root?: string;
  index?: number;
  of?: number;
  retry?: boolean;
  concurrency?: number;
  auditOne?: (request: AuditRequest & { out: string }) => Promise<void>;
  cancelled?: () => boolean;
}

function shard(own: Manifest, changes: Changes = {}): Promise<ShardTotals> {
  const { root: at = own.head.root } = changes;
  const { index = 1, of = 1, retry = false, concurrency = 2, auditOne = audited, cancelled = () => false } = changes;
  return runShard({
    manifest: own,
    shard: { index, of },
    root: at,
    store: new FolderStore(place),
    audit: { settings: SETTINGS, auditOne },
    concurrency,
    retry,
    failed: () => undefined,
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

  it('has no settings that write elsewhere or load code', async () => {
    await manifest();
    const [head, ...lines] = readFileSync(path, 'utf8').split('\n');
    const hostile = JSON.parse(head!) as { settings: Record<string, unknown> };
    hostile.settings.trace = join(scratch, 'trace');
    hostile.settings.force = true;
    hostile.settings.out = scratch;
    hostile.settings.reconstruction = {
      attack: 'chain',
      preset: 'dlg',
      engine: 'tfjs-node',
      timeLimitSeconds: 1,
      tfjsFolder: scratch,
    };
    writeFileSync(path, [JSON.stringify(hostile), ...lines].join('\n'));
    expect((await openManifest(path)).head.settings).toEqual({
      method: 'auto',
      reconstruction: { attack: 'chain', preset: 'dlg', engine: 'tfjs-node', timeLimitSeconds: 1 },
    });
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
      expect.stringContaining('not as they were planned'),
    ]);
    const noted = await new FolderStore(place).failure(crashing!.id);
    expect(noted).toMatchObject({ isFinal: false, attempts: 1 });
    await shard(own, { auditOne });
    expect(await new FolderStore(place).failure(crashing!.id)).toMatchObject({ attempts: 2 });
    expect(await shard(own)).toMatchObject({ before: 3, done: 1, failed: 1 });
    expect(existsSync(join(place, 'failed', `${crashing!.id}.json`))).toBe(false);
    writeFileSync(wrong, bytes);
    // Touched, not changed.
    expect(await shard(own)).toMatchObject({ before: 4, done: 1 });
  });

  it('do not try again what cannot be audited as it is, unless they are asked to', async () => {
    const wrong = join(root, 'k2_hard_bias', 'checkpoint.pt');
    writeFileSync(wrong, readFileSync(wrong));
    const own = await manifest();
    const auditOne = (request: AuditRequest): Promise<void> =>
      request.gradients.includes('k2_hard_bias')
        ? Promise.reject(
            new UnusableInputError({
              code: 'zip-bomb',
              file: request.gradients,
              found: 'a',
              expected: 'b',
              advice: 'c',
            }),
          )
        : audited(request);
    expect(await shard(own, { auditOne })).toMatchObject({ done: 4, failed: 1 });
    expect(await shard(own)).toMatchObject({ before: 4, 'failed-before': 1 });
    expect(await shard(own, { retry: true })).toMatchObject({ before: 4, done: 1 });
  });

  it('keep no result of files that are not as they were planned, whichever it is', async () => {
    const own = await manifest();
    const checkpoint = join(root, 'k10_hard_bias_default', 'checkpoint.pt');
    const before = readFileSync(checkpoint);
    writeFileSync(checkpoint, readFileSync(join(root, 'k10_mixup_bias_default', 'checkpoint.pt')));
    expect(await shard(own)).toMatchObject({ done: 4, failed: 1 });
    writeFileSync(checkpoint, before);
    expect(await shard(own)).toMatchObject({ before: 4, done: 1 });
    // While it is audited.
    rmSync(place, { recursive: true });
    const late = await shard(own, {
      auditOne: async (request) => {
        await audited(request);
        if (request.gradients.includes('k10_hard_bias_default')) {
          writeFileSync(join(root, 'k10_hard_bias_default', 'classes.txt'), 'one\n');
        }
      },
    });
    expect(late).toMatchObject({ done: 4, failed: 1 });
  });

  it('find a project at another place under the same keys', async () => {
    const own = await manifest();
    const moved = join(scratch, String(count), 'moved');
    cpSync(root, moved, { recursive: true });
    rmSync(root, { recursive: true });
    expect(await shard(own)).toMatchObject({ failed: 5 });
    expect(await shard(own, { root: moved })).toMatchObject({ done: 5 });
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
    const there = async (): Promise<boolean[]> => {
      await store.tidy();
      return [mine, gone, elsewhere, other].map((folder) => existsSync(folder));
    };
    // Containers may share a host's name.
    expect(await there()).toEqual([true, true, true, true]);
    const yesterday = Date.now() / 1000 - 25 * 3600;
    for (const folder of [mine, gone, elsewhere, other]) {
      utimesSync(folder, yesterday, yesterday);
    }
    expect(await there()).toEqual([true, false, true, true]);
    utimesSync(elsewhere, 1, 1);
    utimesSync(other, 1, 1);
    expect(await there()).toEqual([true, false, false, true]);
  });

  it('has no names but keys, and is not taken for the folder of a project', async () => {
    const store = new FolderStore(place);
    const folder = await store.begin();
    const victim = join(scratch, String(count), 'victim');
    mkdirSync(victim);
    expect(() => store.commit('../../victim', folder)).toThrow(/no key/);
    expect(() => store.failure('../../victim')).toThrow(/no key/);
    expect(existsSync(victim)).toBe(true);
    await expect(
      runProject({
        plan: await planned(),
        out: place,
        concurrency: 1,
        settings: { method: 'auto' },
        auditOne: audited,
        progress: () => undefined,
        cancelled: () => false,
      }),
    ).rejects.toThrow(/results of shares/);
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

describe('the command', () => {
  const CLI = join(import.meta.dirname, '..', '..', '..', 'dist', 'cli.js');
  const command = (...args: string[]): { code: number | null; out: string; err: string } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8' });
    return { code: status, out: stdout, err: stderr };
  };

  it('plans, audits shares and merges them, and says what is left and what failed', () => {
    const broken = join(root, 'k2_hard_bias', 'truth.json');
    writeFileSync(broken, '{');
    expect(command('plan', root, '--out', path)).toMatchObject({ code: 0, err: '' });
    const audit = ['audit', '--manifest', path, '--out', place];
    const one = command(...audit, '--shard', '2/2');
    expect([one.code, one.out]).toEqual([0, 'Share 2 of 2, 2 dumps: 2 audited.\n']);
    const half = command('merge', place);
    expect(half.code).toBe(4);
    expect(half.out).toContain('The shares that are left go on with it.');
    expect(half.err).toContain('not assessed: 3 of 5 gradients, 3 of which no share has audited yet');
    const other = command(...audit, '--shard', '1/2', '--jobs', '1');
    expect(other.code).toBe(4);
    expect(other.out).toContain('1 failed');
    expect(other.err).toMatch(/k2_hard_bias\/gradient\.pt: .*truth\.json/);
    const whole = command('merge', place);
    expect(whole.code).toBe(4);
    expect(whole.err).toContain('not assessed: 1 of 5 gradients\n');
  }, 60_000);

  it.each([
    [['audit', '--manifest', 'none.jsonl', '--out', 'store'], /none\.jsonl: found ENOENT/],
    [['audit', '--manifest', 'none.jsonl'], /--manifest without --out/],
    [['audit', 'folder', '--shard', '1/2'], /--shard without --manifest/],
    [['audit', '--manifest', 'm', '--out', 's', '--shard', '3/2'], /1\/8 to 8\/8/],
    [['merge', tmpdir()], /no store in/],
    [['plan', tmpdir()], /plan without --out/],
    [['merge', 's3://bucket/store'], /merge of an object store without --out/],
    [['merge', 's3://bucket/store', '--out', 'x', '--html'], /--html with an object store/],
    [['merge', tmpdir(), '--out', 'x'], /--out with a store in a folder/],
  ])('refuses %j, with the reason', (args, reason) => {
    const { code, err } = command(...args);
    expect(code).toBe(2);
    expect(err).toMatch(reason);
  });

  it('leaves a file of that name that is no manifest, and one that is no cache of hashes', () => {
    writeFileSync(path, 'mine');
    const refused = command('plan', root, '--out', path);
    expect([refused.code, readFileSync(path, 'utf8')]).toEqual([2, 'mine']);
    rmSync(path);
    writeFileSync(`${path}.hashes`, 'mine');
    expect(command('plan', root, '--out', path).code).toBe(0);
    expect(readFileSync(`${path}.hashes`, 'utf8')).toBe('mine');
  });

  it('says where a project is not there', () => {
    command('plan', root, '--out', path);
    rmSync(root, { recursive: true });
    const { code, err } = command('audit', '--manifest', path, '--out', place);
    expect(code).toBe(2);
    expect(err).toContain('no such folder on this machine');
    expect(err).toContain('--root');
  });
});
