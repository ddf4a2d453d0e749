import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { connect } from '../../src/queue/connection.js';
import { JobQueue } from '../../src/queue/job-queue.js';
import { work } from '../../src/queue/work.js';
import type { ManifestHead, ManifestJob } from '../../src/protocol/manifest.js';
import { openManifest } from '../../src/shards/manifest.js';
import type { ResultStore } from '../../src/shards/result-store.js';
import { TOOL_VERSION } from '../../src/audit/version.js';
import { startRedis } from '../redis-server.js';

/**
 * `npm run bench -- growth`: what a queue costs by itself, at growing numbers of jobs. Jobs are made up, and a store that says that
 * all have their result answers at once, so what is measured is the queue. Needs redis-server on PATH.
 */

export interface Growth {
  readonly jobs: number;
  readonly manifestBytes: number;
  readonly submitMicroseconds: number;
  readonly workMicroseconds: number;
  readonly redisBytes: number;
  /** Of this process, which submits and works, above what it had before. */
  readonly bytes: number;
}

const SIZES = [1e3, 1e4, 1e5];
const CONCURRENCY = 8;

export async function growth(): Promise<Growth[]> {
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-growth-'));
  const server = await startRedis(folder, ['--appendonly', 'yes']);
  try {
    const rows: Growth[] = [];
    for (const jobs of SIZES) {
      rows.push(await measured(server.url, join(folder, 'manifest.jsonl'), jobs));
    }
    return rows;
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measured(url: string, path: string, jobs: number): Promise<Growth> {
  const lines = manifestLines(jobs);
  writeFileSync(path, lines);
  const redis = await connect(url);
  const queue = new JobQueue(redis, `growth-${jobs}`);
  const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
  try {
    globalThis.gc?.();
    const [before, own] = [await used(), process.memoryUsage().rss];
    let most = own;
    const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 20);
    const started = performance.now();
    const manifest = await openManifest(path);
    await queue.submit(manifest, { root: manifest.head.root, submitter: 'bench' }, () => undefined);
    const submitted = performance.now();
    const redisBytes = (await used()) - before;
    await work({
      redis,
      queue,
      name: `growth-${jobs}`,
      store: DONE,
      concurrency: CONCURRENCY,
      untilEmpty: true,
      filesOf: (root) => ({ root, prepare: () => Promise.resolve(() => undefined) }),
      auditOne: () => Promise.resolve(),
      log: () => undefined,
      cancelled: () => false,
    });
    const worked = performance.now();
    clearInterval(watch);
    return {
      jobs,
      manifestBytes: lines.length / jobs,
      submitMicroseconds: (1000 * (submitted - started)) / jobs,
      workMicroseconds: (1000 * (worked - submitted)) / jobs,
      redisBytes: redisBytes / jobs,
      bytes: most - own,
    };
  } finally {
    await queue.close();
    redis.disconnect();
  }
}

const DONE: ResultStore = {
  place: 'nowhere',
  has: () => Promise.resolve(true),
  begin: () => Promise.reject(new Error('Nothing is audited.')),
  commit: () => Promise.resolve(false),
  discard: () => Promise.resolve(),
  report: () => Promise.resolve(undefined),
  fetch: () => Promise.resolve(),
  failure: () => Promise.resolve(undefined),
  fail: () => Promise.resolve(),
  keepManifest: () => Promise.resolve(),
  manifests: () => Promise.resolve([]),
  tidy: () => Promise.resolve(),
};

function manifestLines(jobs: number): string {
  const head: ManifestHead = {
    manifest: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    root: '/data/updates',
    identity: 'size-and-time',
    settings: { method: 'auto' },
    settingsKey: 's',
    jobs,
    skipped: [],
  };
  const lines = [JSON.stringify(head)];
  for (let at = 0; at < jobs; at++) {
    const folder = `round_${Math.floor(at / 100)}/client_${at % 100}`;
    const job: ManifestJob = {
      id: createHash('sha256').update(String(at)).digest('hex').slice(0, 20),
      gradients: `${folder}/gradient.pt`,
      checkpoint: `${folder}/checkpoint.pt`,
      fit: 1,
      run: `client_${at % 100}`,
      round: Math.floor(at / 100),
      script: null,
      truth: null,
      network: null,
    };
    lines.push(JSON.stringify(job));
  }
  return `${lines.join('\n')}\n`;
}
