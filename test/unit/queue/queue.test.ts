import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { finishedReport } from '../../../src/project/audit-job.js';
import { planProject } from '../../../src/project/plan.js';
import { readProject } from '../../../src/project/run-project.js';
import type { AuditRequest } from '../../../src/protocol/audit-request.js';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import { queueAddressOf, withoutSecrets } from '../../../src/queue/address.js';
import type { QueueProgress } from '../../../src/protocol/queue-messages.js';
import { connect, isUnanswered, serverRisks } from '../../../src/queue/connection.js';
import { Submission } from '../../../src/queue/follow.js';
import type { ManifestJob } from '../../../src/protocol/manifest.js';
import { JobQueue } from '../../../src/queue/job-queue.js';
import { type WorkRun, work } from '../../../src/queue/work.js';
import { collect } from '../../../src/shards/collect.js';
import { FolderStore } from '../../../src/shards/folder-store.js';
import { type Manifest, WHOLE, openManifest, writeManifest } from '../../../src/shards/manifest.js';
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

  it.each([
    ['redis://host', { address: 'redis://host', login: undefined }],
    ['redis://host:6379/', { address: 'redis://host:6379', login: undefined }],
    ['rediss://host/2', { address: 'rediss://host/2', login: undefined }],
    ['redis://:p%40ss@host', { address: 'redis://host', login: { user: '', password: 'p@ss' } }],
    ['redis://me:a%3Ab@[::1]:6380/2', { address: 'redis://[::1]:6380/2', login: { user: 'me', password: 'a:b' } }],
    ['redis://me:100%@host', undefined],
    ['redis://host/?password=secret', undefined],
    ['redis://host/#secret', undefined],
    ['redis://host/secret', undefined],
    ['http://host', undefined],
    ['redis://', undefined],
    ['host:6379', undefined],
  ])('is told apart from what logs in: %s', (text, parts) => {
    expect(queueAddressOf(text)).toEqual(parts);
  });

  it('that nobody listens at is told, without what logs in', async () => {
    const { code, err } = await cli('queue', 'status', '--queue', 'redis://me:secret@127.0.0.1:1');
    expect(code).toBe(2);
    expect(err).toContain('ECONNREFUSED');
    expect(err).toContain('redis://127.0.0.1:1');
    expect(err).toMatch(/^ {2}--queue redis:/m);
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

/** An audit that goes on until it is stopped. */
function untilStopped(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => {
      reject(new CancelledError());
    });
  });
}

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
    expect(await queue.submit(manifest, from('me'), () => undefined)).toBe(5);
  }

  function from(submitter: string): { root: string; submitter: string } {
    return { root: manifest.head.root, submitter };
  }

  /** Of all jobs of the queue, the keys that hold who submitted them. */
  function submitters(): Promise<string[]> {
    return redis.keys(`gradleak:${name}:submitters:*`);
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
    await queue.submit(manifest, from('me'), () => undefined);
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
      auditOne: (_request, signal) => {
        began++;
        return untilStopped(signal);
      },
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
    await queue.submit(manifest, from('me'), () => undefined);
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

  it('gives up a command with a deadline whose server is away', async () => {
    const folder = join(scratch, 'goes-away');
    mkdirSync(folder);
    const own = await startRedis(folder, []);
    const connection = await connect(own.url, { hasDeadline: true });
    await own.stop();
    const error: unknown = await connection.ping().catch((thrown: unknown) => thrown);
    expect(isUnanswered(error)).toBe(true);
    connection.disconnect();
  });

  it('tells of one submission where its jobs are until all are done, and brings the results', async () => {
    await submitted();
    const foreign = new Queue(name, { connection: redis });
    await foreign.add('audit', { not: 'ours' });
    const store = new FolderStore(place);
    const submission = await Submission.of(queue, manifest, store);
    expect(await submission.look()).toMatchObject({ jobs: 5, waiting: 5, done: 0, missing: 0, workers: 0 });
    const told: QueueProgress[] = [];
    let workers = 0;
    const following = submission.follow((progress) => told.push(progress), new AbortController().signal);
    await worked({
      auditOne: async (request) => {
        workers = Math.max(workers, (await queue.workers()) ?? -1);
        await audited(request);
      },
    });
    expect(await following).toMatchObject({
      jobs: 5,
      waiting: 0,
      running: 0,
      done: 5,
      failed: 0,
      missing: 0,
      dead: [],
    });
    expect(workers).toBe(1);
    for (const { jobs, waiting, running, delayed, done, failed, missing } of told) {
      expect(waiting + running + delayed + done + failed + missing).toBe(jobs);
    }
    const out = join(scratch, 'collected');
    mkdirSync(join(out, 'entries', '0'.repeat(20)), { recursive: true });
    symlinkSync('/etc/hostname', join(place, 'entries', submission.ids[0]!, 'link'));
    const report = await collect(manifest, store, out, pause);
    expect([report.status, report.summary.done]).toEqual(['complete', 5]);
    expect(readProject(out)).toEqual(report);
    expect(readdirSync(join(out, 'entries')).sort()).toEqual(submission.ids.sort());
    expect(readdirSync(out).sort()).toEqual(['.gradleak-files.json', 'entries', 'report.json']);
    for (const id of submission.ids) {
      expect(finishedReport(join(out, 'entries', id))).toBeDefined();
      expect(existsSync(join(out, 'entries', id, 'link'))).toBe(false);
    }
    await foreign.close();
  });

  it('tells which jobs of a submission failed and why, and tries only these again', async () => {
    await submitted();
    const foreign = new Queue(name, { connection: redis });
    await foreign.add('audit', { not: 'ours' });
    const broken = (): never => {
      throw new UnusableInputError({
        code: 'not-finite',
        file: 'g',
        found: 'NaN',
        expected: 'numbers',
        advice: 'See.',
      });
    };
    await worked({ auditOne: (request) => (request.gradients.includes('float64') ? broken() : audited(request)) });
    const submission = await Submission.of(queue, manifest, new FolderStore(place));
    const end = await submission.follow(() => undefined, new AbortController().signal);
    expect(end).toMatchObject({ done: 4, failed: 1, missing: 0 });
    expect(end.dead).toEqual([
      { gradients: 'float64/gradient.pt', reason: expect.stringContaining('found NaN') as string },
    ]);
    expect(await queue.status()).toMatchObject({ failed: 2 });
    expect(await queue.retryThese(submission.ids)).toBe(1);
    expect(await queue.status()).toMatchObject({ failed: 1, waiting: 1 });
    await worked();
    expect(await submission.look()).toMatchObject({ done: 5, failed: 0 });
    await foreign.close();
  });

  it('cancels the jobs of one submission: those that wait are removed, that which runs is stopped, others stay', async () => {
    await submitted();
    const others = ['a', 'b'];
    const foreign = new Queue(name, { connection: redis });
    const [first] = await foreign.getWaiting();
    const data = first!.data as { job: { id: string } };
    for (const id of others) {
      const key = id.repeat(20);
      await foreign.add('audit', { ...data, job: { ...data.job, id: key } }, { jobId: key });
    }
    const submission = await Submission.of(queue, manifest, new FolderStore(place));
    let [began, stop] = [0, false];
    const running = worked({
      concurrency: 1,
      untilEmpty: false,
      cancelled: () => stop,
      auditOne: (_request, signal) => {
        began++;
        return untilStopped(signal);
      },
    });
    while (began === 0) {
      await wait(20);
    }
    expect(await queue.cancelThese(submission.ids, 'me')).toEqual({ removed: 4, stopped: 1, shared: 0 });
    // The worker has stopped ours, and taken the next one of others.
    while (began < 2) {
      await wait(20);
    }
    const end = await submission.look();
    expect(end).toMatchObject({ waiting: 0, running: 0, done: 0, failed: 1, missing: 4 });
    expect(end.dead.map(({ reason }) => reason)).toEqual(['Cancelled.']);
    expect(await queue.statesOf(others.map((id) => id.repeat(20)))).toEqual(['running', 'waiting']);
    stop = true;
    await running;
    await foreign.close();
  });

  it('cancels no job that somebody else submitted, whether it waits or runs, until they cancel it as well', async () => {
    await submitted();
    await queue.submit(manifest, from('you'), () => undefined);
    const { ids } = await Submission.of(queue, manifest, new FolderStore(place));
    let [began, ended, stop] = [0, 0, false];
    const running = worked({
      concurrency: 1,
      untilEmpty: false,
      cancelled: () => stop,
      auditOne: (_request, signal) => {
        began++;
        signal.addEventListener('abort', () => ended++);
        return untilStopped(signal);
      },
    });
    while (began === 0) {
      await wait(20);
    }
    expect(await queue.cancelThese(ids, 'me')).toEqual({ removed: 0, stopped: 0, shared: 5 });
    // Twice is as once.
    expect(await queue.cancelThese(ids, 'me')).toEqual({ removed: 0, stopped: 0, shared: 5 });
    // Longer than workers take to look.
    await wait(1500);
    expect([await queue.status(), ended]).toMatchObject([{ waiting: 4, running: 1 }, 0]);
    expect(await queue.cancelThese(ids, 'you')).toEqual({ removed: 4, stopped: 1, shared: 0 });
    while (ended === 0) {
      await wait(20);
    }
    stop = true;
    await running;
    expect(await submitters()).toEqual([]);
  });

  it('knows who submitted a job until it is done or all of the queue is cancelled, and for thirty days at most', async () => {
    await submitted();
    const keys = await submitters();
    expect(keys).toHaveLength(5);
    for (const key of keys) {
      expect(await redis.smembers(key)).toEqual(['me']);
      const seconds = await redis.ttl(key);
      expect(seconds).toBeGreaterThan(30 * 24 * 3600 - 60);
      expect(seconds).toBeLessThanOrEqual(30 * 24 * 3600);
    }
    const broken = (): never => {
      throw new UnusableInputError({ code: 'not-finite', file: 'g', found: 'x', expected: 'y', advice: 'z' });
    };
    await worked({ auditOne: (request) => (request.gradients.includes('float64') ? broken() : audited(request)) });
    // What failed may be tried again.
    expect(await submitters()).toHaveLength(1);
    await queue.retry();
    await worked();
    expect(await submitters()).toEqual([]);
    await queue.submit(manifest, from('me'), () => undefined);
    await redis.set('gradleak:another:submitters:x', '');
    await queue.cancel();
    expect(await submitters()).toEqual([]);
    expect(await redis.del('gradleak:another:submitters:x')).toBe(1);
  });

  it('takes jobs that nobody is known to have submitted for those of whoever cancels', async () => {
    await submitted();
    await redis.del(await submitters());
    const { ids } = await Submission.of(queue, manifest, new FolderStore(place));
    expect(await queue.cancelThese(ids, 'you')).toEqual({ removed: 5, stopped: 0, shared: 0 });
  });

  it('removes no job that somebody submits while others cancel it', async () => {
    const jobs: ManifestJob[] = [];
    for await (const own of manifest.jobs(WHOLE)) {
      jobs.push(own);
    }
    const ids = Array.from({ length: 3000 }, (_, at) => String(at).padStart(20, '0'));
    const many = {
      head: manifest.head,
      jobs: async function* () {
        for (const id of ids) {
          yield { ...jobs[0]!, id };
          await Promise.resolve();
        }
      },
    } as unknown as Manifest;
    await queue.submit(many, from('A'), () => undefined);
    const other = redis.duplicate();
    const theirs = new JobQueue(other, name);
    await Promise.all([queue.cancelThese(ids, 'A'), theirs.submit(many, from('B'), () => undefined)]);
    expect(await queue.status()).toMatchObject({ waiting: 3000 });
    expect(await theirs.cancelThese(ids, 'B')).toEqual({ removed: 3000, stopped: 0, shared: 0 });
    await theirs.close();
    other.disconnect();
  });

  it('keeps the jobs of an editor that a terminal submitted too, as another submitter each time the same', async () => {
    await submitted();
    for (let time = 0; time < 2; time++) {
      const { code } = await cli(
        ...['queue', 'submit', '--queue', server.url, '--name', name],
        ...['--manifest', join(scratch, 'manifest.jsonl')],
      );
      expect(code).toBe(0);
    }
    const [key] = await submitters();
    expect(await redis.scard(key!)).toBe(2);
    const { ids } = await Submission.of(queue, manifest, new FolderStore(place));
    expect(await queue.cancelThese(ids, 'me')).toEqual({ removed: 0, stopped: 0, shared: 5 });
  });

  it('tells where each job is as the queue itself does', async () => {
    await submitted();
    const foreign = new Queue(name, { connection: redis });
    const [first] = await foreign.getWaiting();
    await foreign.add('audit', first!.data, { jobId: 'later', delay: 60_000 });
    await foreign.add('audit', first!.data, { jobId: 'first', priority: 1 });
    const { ids } = await Submission.of(queue, manifest, new FolderStore(place));
    const all = [...ids, 'later', 'first', 'nowhere'];
    const expected = async (): Promise<string[]> =>
      (await Promise.all(all.map((id) => foreign.getJobState(id)))).map(
        (state) => ({ active: 'running', prioritized: 'waiting', unknown: 'absent' })[state as string] ?? state,
      );
    expect(await queue.statesOf(all)).toEqual([...ids.map(() => 'waiting'), 'delayed', 'waiting', 'absent']);
    let [began, stop] = [0, false];
    const running = worked({
      concurrency: 1,
      untilEmpty: false,
      cancelled: () => stop,
      auditOne: (request, signal) =>
        request.gradients.includes('float64')
          ? Promise.reject(
              new UnusableInputError({ code: 'not-finite', file: 'g', found: 'x', expected: 'y', advice: 'z' }),
            )
          : new Promise((_resolve, reject) => {
              began++;
              signal.addEventListener('abort', () => {
                reject(new CancelledError());
              });
            }),
    });
    while (began === 0) {
      await wait(20);
    }
    expect(await queue.statesOf(all)).toEqual(await expected());
    expect(await queue.statesOf(all)).toContain('running');
    stop = true;
    await running;
    await foreign.close();
  });

  it('ends following where jobs left the queue without a result, and when it is told to', async () => {
    await submitted();
    const submission = await Submission.of(queue, manifest, new FolderStore(place));
    const stop = new AbortController();
    const stopped = submission.follow(() => {
      stop.abort();
    }, stop.signal);
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
    expect(await queue.status()).toMatchObject({ waiting: 5 });
    await queue.cancel();
    expect(await submission.follow(() => undefined, new AbortController().signal)).toMatchObject({
      missing: 5,
      done: 0,
    });
  });

  it('lets in who has the password, by address or beside it, and says so to others without repeating it', async () => {
    const folder = join(scratch, 'with-password');
    mkdirSync(folder);
    const guarded = await startRedis(folder, [
      ...['--requirepass', 'of-all'],
      ...['--user', 'alice', 'on', '>of-alice', '~*', '&*', '+@all'],
    ]);
    try {
      for (const login of [
        { user: 'alice', password: 'of-alice' },
        { user: '', password: 'of-all' },
      ]) {
        const own = await connect(guarded.url, { login });
        expect(await own.ping()).toBe('PONG');
        own.disconnect();
      }
      for (const login of [undefined, { user: 'alice', password: 'hunter2' }, { user: '', password: 'hunter2' }]) {
        const error: unknown = await connect(guarded.url, { login }).catch((own: unknown) => own);
        expect(error).toMatchObject({ code: 'login-refused' });
        expect(JSON.stringify([error, String(error)])).not.toContain('hunter2');
      }
    } finally {
      await guarded.stop();
    }
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
