import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { fileKindOf } from '../../../src/kinds/file-kind.js';
import { planProject } from '../../../src/project/plan.js';
import { readProject } from '../../../src/project/run-project.js';
import type { QueueParams, QueueProgress, SubmitterParams } from '../../../src/protocol/queue-messages.js';
import { type CancelSignal, RunnerClient } from '../../../src/runner/client.js';
import { FolderStore } from '../../../src/shards/folder-store.js';
import { openManifest, writeManifest } from '../../../src/shards/manifest.js';
import { runShard } from '../../../src/shards/run-shard.js';
import { type HangingServer, type RedisServer, hasRedis, startHanging, startRedis } from '../../redis-server.js';

/** The child that speaks with queues, from dist/queue-runner.js, which "npm test" has built. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-queue-runner-'));
const [project, manifest, store] = ['project', 'manifest.jsonl', 'store'].map((name) => join(scratch, name)) as [
  string,
  string,
  string,
];
const PASSWORD = 'hunter2-of-the-child';
const pause = (): Promise<void> => Promise.resolve();
const never: CancelSignal = { cancelled: false, onCancel: () => undefined };
const printed: string[] = [];
let client: RunnerClient;

beforeAll(async () => {
  for (const name of ['k10_hard_bias_default', 'float64']) {
    cpSync(join(ROOT, 'test', 'fixtures', 'dumps', name), join(project, name), { recursive: true });
  }
  const plan = await planProject(
    project,
    { exclude: [], includeIgnored: false, settings: 's', kindOf: (file) => fileKindOf(file, true).kind },
    pause,
  );
  writeManifest(manifest, plan, { settings: { method: 'auto' }, settingsKey: 's', identity: 'contents' });
  client = await RunnerClient.start(
    { executable: process.execPath, args: [join(ROOT, 'dist', 'queue-runner.js')], env: process.env },
    (text) => printed.push(text),
  );
});
afterAll(() => {
  client.dispose();
  rmSync(scratch, { recursive: true, force: true });
});

function paramsAt(address: string, password = PASSWORD, place = store): SubmitterParams {
  return { id: '1', place: { address, login: { user: '', password } }, manifest, store: place, submitter: 'me' };
}

describe('the child that speaks with queues', () => {
  it('says that there is no server, with what can be done', async () => {
    const error: unknown = await client.checkQueue(paramsAt('redis://127.0.0.1:1'), never).catch((own: unknown) => own);
    expect(error).toMatchObject({ code: 'no-server', parts: { file: 'redis://127.0.0.1:1' } });
    expect(JSON.stringify([error, String(error)])).not.toContain(PASSWORD);
  });

  it('brings the results without a server', async () => {
    const own = new FolderStore(store);
    await runShard({
      manifest: await openManifest(manifest),
      shard: { index: 1, of: 1 },
      store: own,
      root: project,
      concurrency: 1,
      retry: false,
      audit: {
        settings: { method: 'auto' },
        auditOne: async (request) => {
          await runAudit(request, { progress: () => undefined, pause });
        },
      },
      failed: () => undefined,
      progress: () => undefined,
      cancelled: () => false,
    });
    const out = join(scratch, 'out');
    await client.collect({ ...paramsAt('redis://nowhere'), out }, never);
    expect(readProject(out)?.summary.done).toBe(2);
    expect(readdirSync(join(out, 'entries'))).toHaveLength(2);
  });

  it('removes what one left that was killed while it brought them, and nothing of one that runs', async () => {
    const out = join(scratch, 'killed');
    const left = join(out, 'fetched-a1B2c3');
    mkdirSync(join(left, '0'.repeat(20)), { recursive: true });
    writeFileSync(join(left, '0'.repeat(20), 'report.json'), '{}');
    mkdirSync(join(scratch, 'elsewhere'));
    writeFileSync(join(scratch, 'elsewhere', 'file'), '');
    symlinkSync(join(scratch, 'elsewhere'), join(out, 'fetched-linked'));
    const lock = join(out, '.gradleak-lock');
    writeFileSync(lock, JSON.stringify({ pid: process.pid, host: hostname() }));
    const params = { ...paramsAt('redis://nowhere'), out };
    await expect(client.collect(params, never)).rejects.toThrow('another audit that writes to it');
    expect(existsSync(left)).toBe(true);
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    writeFileSync(lock, JSON.stringify({ pid, host: hostname() }));
    await client.collect(params, never);
    expect(readdirSync(out).sort()).toEqual(['.gradleak-files.json', 'entries', 'report.json']);
    expect(readdirSync(join(scratch, 'elsewhere'))).toEqual(['file']);
  });
});

describe.skipIf(!hasRedis)('on a real server with a password', () => {
  let server: RedisServer;

  beforeAll(async () => {
    server = await startRedis(scratch, ['--requirepass', PASSWORD, '--maxmemory-policy', 'allkeys-lru']);
  });
  afterEach(async () => {
    await client.cancelJobs(paramsAt(server.url), never);
  });
  afterAll(() => server.stop());

  it('tells a wrong password, a store that cannot be written to, and settings that lose jobs', async () => {
    const wrong: unknown = await client.checkQueue(paramsAt(server.url, 'wrong'), never).catch((own: unknown) => own);
    expect(wrong).toMatchObject({ code: 'login-refused' });
    writeFileSync(join(scratch, 'file'), '');
    const place = join(scratch, 'file', 'store');
    const unwritable: unknown = await client
      .checkQueue(paramsAt(server.url, PASSWORD, place), never)
      .catch((own: unknown) => own);
    expect(unwritable).toMatchObject({ parts: { next: ['choose-store', 'retry'] } });
    const { risks } = await client.checkQueue(paramsAt(server.url), never);
    expect(risks.join('\n')).toMatch(/maxmemory-policy allkeys-lru.*Set maxmemory-policy noeviction/);
  });

  it('submits, tells where the jobs are, stops following when told to, and cancels', async () => {
    const place = join(scratch, 'empty-store');
    const params = paramsAt(server.url, PASSWORD, place);
    const submitted: number[] = [];
    expect(await client.submit(params, (done) => submitted.push(done), never)).toBe(2);
    expect(submitted).toEqual([2]);
    expect(readdirSync(join(place, 'manifests'))).toHaveLength(1);
    expect(await client.lookAtQueue(params, never)).toMatchObject({ jobs: 2, waiting: 2, workers: 0 });
    const listeners: (() => void)[] = [];
    const told: QueueProgress[] = [];
    const following = client.follow(
      params,
      (progress) => {
        told.push(progress);
        listeners.forEach((cancel) => {
          cancel();
        });
      },
      { cancelled: false, onCancel: (listener) => listeners.push(listener) },
    );
    await expect(following).rejects.toThrow('Stopped.');
    expect(told[0]).toMatchObject({ waiting: 2 });
    expect(client.alive).toBe(true);
    expect(await client.retryJobs(params, never)).toBe(0);
    const other = { ...params, submitter: 'you' };
    await client.submit(other, () => undefined, never);
    expect(await client.cancelJobs(other, never)).toEqual({ removed: 0, stopped: 0, shared: 2 });
    expect(await client.cancelJobs(params, never)).toEqual({ removed: 2, stopped: 0, shared: 0 });
  });

  it('prints nothing of what logs in', () => {
    expect(printed.join('\n')).not.toContain(PASSWORD);
  });
});

/** Of what asks a server, all that has a deadline; which say to it what nothing of the greeting says. */
const ASKED: readonly [
  name: string,
  ask: (own: RunnerClient, params: SubmitterParams, signal: CancelSignal) => Promise<unknown>,
][] = [
  ['check', (own, params, signal) => own.checkQueue(params, signal)],
  ['submit', (own, params, signal) => own.submit(params, () => undefined, signal)],
  ['look', (own, params, signal) => own.lookAtQueue(params, signal)],
  ['retry', (own, params, signal) => own.retryJobs(params, signal)],
  ['cancel', (own, params, signal) => own.cancelJobs(params, signal)],
];

describe.skipIf(!hasRedis)('a server that takes connections and then hangs', () => {
  let server: RedisServer;
  let hanging: HangingServer;

  beforeAll(async () => {
    server = await startRedis(scratch, ['--maxmemory-policy', 'noeviction']);
    hanging = await startHanging(server.url, /sadd|srem|lrange|memory/i);
  });
  afterAll(async () => {
    hanging.stop();
    await server.stop();
  });

  function params(): SubmitterParams {
    return { ...paramsAt(hanging.url), place: { address: hanging.url, login: null } };
  }

  it.concurrent.each(ASKED)('is given up with a sentence: %s', async (_name, ask) => {
    const error: unknown = await ask(client, params(), never).catch((own: unknown) => own);
    expect(error).toMatchObject({
      code: 'no-server',
      parts: { file: hanging.url, found: 'a server that has not answered for 10 s', next: ['retry', 'enter-queue'] },
    });
  });

  it.each([
    ...ASKED,
    ['follow', (own, params, signal) => own.follow(params, () => undefined, signal)] as (typeof ASKED)[number],
  ])('does not keep who cancels waiting, and the child lives on: %s', async (_name, ask) => {
    let cancel = (): void => undefined;
    const asked = ask(client, params(), { cancelled: false, onCancel: (listener) => (cancel = listener) });
    await wait(500);
    cancel();
    await expect(asked).rejects.toThrow('Stopped.');
    expect(client.alive).toBe(true);
  });

  it('does so before its first answer too', async () => {
    const mute = await startHanging(server.url, /./);
    const own: QueueParams = { ...params(), place: { address: mute.url, login: null } };
    let cancel = (): void => undefined;
    const asked = client.lookAtQueue(own, { cancelled: false, onCancel: (listener) => (cancel = listener) });
    await wait(500);
    cancel();
    await expect(asked).rejects.toThrow('Stopped.');
    expect(client.alive).toBe(true);
    await expect(client.lookAtQueue(own, never)).rejects.toMatchObject({
      code: 'no-server',
      parts: { found: 'no answer' },
    });
    mute.stop();
  });
});
