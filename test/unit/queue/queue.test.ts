import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { planProject } from '../../../src/project/plan.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import { queueAddressOf, withoutSecrets } from '../../../src/queue/address.js';
import { connect, serverRisks } from '../../../src/queue/connection.js';
import { JobQueue } from '../../../src/queue/job-queue.js';
import { type WorkRun, work } from '../../../src/queue/work.js';
import { FolderStore } from '../../../src/shards/folder-store.js';
import { type Manifest, openManifest, writeManifest } from '../../../src/shards/manifest.js';
import { merge } from '../../../src/shards/merge.js';
import { cli } from '../../run-cli.js';
import { type RedisServer, hasRedis, startRedis } from '../../redis-server.js';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures', 'dumps');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'k17_smooth_bias_default', 'k2_hard_bias', 'float64'];
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-queue-'));
const pause = (): Promise<void> => Promise.resolve();

afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

describe('the address of a server', () => {
  it('is shown without what logs in', () => {
    expect(withoutSecrets('rediss://me:secret@example.org:6380/2')).toBe('rediss://example.org:6380/2');
    expect(withoutSecrets('secret')).not.toContain('secret');
  });

  it('that nobody listens at is told, without what logs in', async () => {
    const { code, err } = await cli('queue', 'status', '--queue', 'redis://me:secret@127.0.0.1:1');
    expect(code).toBe(2);
    expect(err).toContain('ECONNREFUSED');
    expect(err).toContain('redis://127.0.0.1:1');
    expect(err).not.toContain('secret');
  });

  it.each(['default:hunter2@localhost:6379', 'redis:u:hunter2@h', 'redis://127.0.0.1:1/?password=hunter2'])(
    'is told without what logs in where it cannot be read: %s',
    async (url) => {
      const { err } = await cli('queue', 'status', '--queue', url);
      expect(err).not.toContain('hunter2');
    },
  );

  it.each(['http://localhost', 'localhost:6379', 'redis://['])('cannot be %s', async (url) => {
    await expect(connect(url)).rejects.toThrow(UnusableInputError);
  });
});

describe.skipIf(!hasRedis)('a queue on a real server', () => {
  let server: RedisServer;
  let redis: Redis;
  let queue: JobQueue;
  let manifest: Manifest;
  let [count, name, place] = [0, '', ''];

  beforeAll(async () => {
    server = await startRedis(scratch, ['--appendonly', 'yes', '--maxmemory-policy', 'noeviction']);
    redis = await connect(server.url);
    const root = join(scratch, 'project');
    for (const own of DUMPS) {
      cpSync(join(FIXTURES, own), join(root, own), { recursive: true });
    }
    const plan = await planProject(
      root,
      { exclude: [], includeIgnored: false, settings: 's', kindOf: (file) => fileKindOf(file, true).kind },
      pause,
    );
    writeManifest(join(scratch, 'manifest.jsonl'), plan, {
      settings: { method: 'auto' },
      settingsKey: 's',
      identity: 'contents',
    });
    manifest = await openManifest(join(scratch, 'manifest.jsonl'));
  });
  afterAll(async () => {
    redis.disconnect();
    await server.stop();
  });
  afterEach(() => queue.close());

  async function submitted(): Promise<void> {
    [name, place] = [`own-${++count}`, join(scratch, `store-${count}`)];
    queue = new JobQueue(redis, name);
    expect(await queue.submit(manifest, manifest.head.root, () => undefined)).toBe(5);
  }

  function worked(changes: Partial<WorkRun> = {}): ReturnType<typeof work> {
    return work({
      redis,
      queue,
      name,
      store: new FolderStore(place),
      concurrency: 2,
      untilEmpty: true,
      filesOf: (root) => ({ root }),
      auditOne: audited,
      log: () => undefined,
      cancelled: () => false,
      ...changes,
    });
  }

  async function audited(request: AuditRequest): Promise<void> {
    await runAudit(request, { progress: () => undefined, pause });
  }

  it('has each job once, by several workers, and nothing of it is left', async () => {
    await submitted();
    await queue.submit(manifest, manifest.head.root, () => undefined);
    expect(await queue.status()).toMatchObject({ waiting: 5, running: 0, failed: 0 });
    const totals = await Promise.all([worked(), worked(), worked()]);
    expect(totals.reduce((sum, { done }) => sum + done, 0)).toBe(5);
    expect(await queue.status()).toMatchObject({ waiting: 0, running: 0, delayed: 0, failed: 0 });
    const keys = await redis.keys(`bull:${name}:*`);
    expect(keys.filter((key) => /:[0-9a-f]{20}(:|$)/.test(key))).toEqual([]);
    const report = await merge(manifest, new FolderStore(place), pause);
    expect([report.status, report.summary.done]).toEqual(['complete', 5]);
  });

  it('tells what failed and why, and tries it again when asked', async () => {
    await submitted();
    const auditOne = async (request: AuditRequest): Promise<void> => {
      if (request.gradients.includes('float64')) {
        const own = {
          file: request.gradients,
          found: 'a broken file',
          expected: 'a whole one',
          advice: 'Copy it again.',
        };
        throw new UnusableInputError({ code: 'truncated-file', ...own });
      }
      await audited(request);
    };
    expect(await worked({ auditOne })).toMatchObject({ done: 4, failed: 1 });
    const letters = [];
    for await (const letter of queue.deadLetters()) {
      letters.push(letter);
    }
    expect(letters).toEqual([
      { gradients: 'float64/gradient.pt', reason: expect.stringContaining('a broken file') as string, attempts: 1 },
    ]);
    const { code, out } = await cli('queue', 'status', '--queue', server.url, '--name', name);
    expect(code).toBe(0);
    expect(out).toMatch(/0 waiting, 0 running, 0 to be tried again, 1 failed/);
    expect(out).toContain('float64/gradient.pt');
    expect(await queue.retry()).toBe(1);
    expect(await worked()).toMatchObject({ done: 1, failed: 0 });
    expect(readdirSync(join(place, 'failed'))).toEqual([]);
  });

  it('gives a job of a worker that is stopped to another one', async () => {
    await submitted();
    let stopped = false;
    const totals = await worked({
      concurrency: 1,
      auditOne: async () => {
        stopped = true;
        await wait(20);
        throw new CancelledError();
      },
      cancelled: () => stopped,
    });
    expect(totals.done).toBe(0);
    expect(await queue.status()).toMatchObject({ waiting: 5, running: 0, delayed: 0, failed: 0 });
    expect(await worked()).toMatchObject({ done: 5 });
  });

  it('stops what runs within two seconds when it is cancelled, and takes new jobs later', async () => {
    await submitted();
    let began = 0;
    const running = worked({
      concurrency: 1,
      auditOne: (_request, signal) =>
        new Promise((_resolve, reject) => {
          began++;
          signal.addEventListener('abort', () => {
            reject(new CancelledError());
          });
        }),
    });
    while (began === 0) {
      await wait(20);
    }
    expect(await queue.cancel()).toBe(4);
    const since = performance.now();
    while ((await queue.status()).running > 0) {
      await wait(50);
    }
    expect(performance.now() - since).toBeLessThan(2000);
    await running;
    expect(began).toBe(1);
    await queue.submit(manifest, manifest.head.root, () => undefined);
    expect(await worked()).toMatchObject({ done: 5 });
  });

  it('goes on where its server was killed', async () => {
    await submitted();
    const log: string[] = [];
    let killed = false;
    const running = worked({
      concurrency: 1,
      log: (message) => log.push(message),
      auditOne: async (request) => {
        if (!killed) {
          killed = true;
          await server.stop();
          await wait(300);
          server = await startRedis(
            scratch,
            ['--appendonly', 'yes', '--maxmemory-policy', 'noeviction'],
            Number(new URL(server.url).port),
          );
        }
        await audited(request);
      },
    });
    await running;
    const report = await merge(manifest, new FolderStore(place), pause);
    expect([report.status, report.summary.done]).toEqual(['complete', 5]);
    expect(log.join('\n')).toMatch(/does not answer/);
  });

  it('holds what is no job of ours, which is told and leads nowhere', async () => {
    await submitted();
    const foreign = new Queue(name, { connection: redis });
    const victim = join(scratch, 'victim');
    mkdirSync(victim, { recursive: true });
    const [first] = await foreign.getWaiting();
    const data = first!.data as { job: object };
    await foreign.add('audit', { ...data, job: { ...data.job, id: '../../victim' } });
    await foreign.add('audit', { ...data, job: { ...data.job, gradients: '../../victim/gradient.pt' } });
    await foreign.add('mail', { to: 'x' });
    expect(await worked()).toMatchObject({ done: 5, failed: 0 });
    expect(existsSync(victim)).toBe(true);
    const letters = [];
    for await (const letter of queue.deadLetters()) {
      letters.push(letter.reason);
    }
    expect(letters).toEqual(Array.from({ length: 3 }, () => 'It is no job of this program.'));
    const { code, out } = await cli('queue', 'status', '--queue', server.url, '--name', name);
    expect(code).toBe(0);
    expect(out).toContain('no job of this program');
    await foreign.close();
  });

  it('keeps its jobs where a machine does not see the project', async () => {
    await submitted();
    const elsewhere = join(scratch, 'elsewhere');
    await expect(worked({ filesOf: () => ({ root: elsewhere }) })).rejects.toThrow(/no such folder on this machine/);
    expect(await queue.status()).toMatchObject({ waiting: 5, failed: 0, delayed: 0 });
  });

  it('lets a worker end whose server is away', async () => {
    await submitted();
    let stopped = false;
    const running = worked({ cancelled: () => stopped, untilEmpty: false });
    await wait(1500);
    await server.stop();
    const since = performance.now();
    stopped = true;
    await running;
    await queue.close();
    expect(performance.now() - since).toBeLessThan(3500);
    server = await startRedis(
      scratch,
      ['--appendonly', 'yes', '--maxmemory-policy', 'noeviction'],
      Number(new URL(server.url).port),
    );
  });

  it('says which settings of its server would lose jobs', async () => {
    await submitted();
    expect(await serverRisks(redis)).toEqual([]);
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await redis.config('SET', 'appendonly', 'no');
    const risks = await serverRisks(redis);
    expect(risks).toHaveLength(2);
    expect(risks[0]).toContain('allkeys-lru');
    expect(risks[1]).toContain('append-only');
    await redis.config('SET', 'maxmemory-policy', 'noeviction');
  });
});
