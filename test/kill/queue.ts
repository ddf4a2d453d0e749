import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { generator } from '../../src/recovery/paper-method.js';
import { type RedisServer, freePort, startRedis } from '../redis-server.js';
import type { ProjectReport } from '../../src/protocol/project-report.js';

/**
 * `npm run kill -- queue [jobs] [kills] [seed]`: workers on a queue, with a real redis-server (on PATH, append-only), either of which
 * is killed at random moments. Every job must have its result once, and the report must be that of an undisturbed audit.
 */

const ROOT = join(import.meta.dirname, '..', '..');
const CLI = join(ROOT, 'dist', 'cli.js');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'k17_smooth_bias_default', 'k2_hard_bias'];
const WORKERS = 4;
/** Between kills, milliseconds. */
const [SOONEST, LATEST] = [1000, 4000];
/** A worker's share of what is killed. */
const WORKER_SHARE = 0.5;
const MOST_MS = 30 * 60_000;

export interface QueueKilled {
  readonly jobs: number;
  readonly results: number;
  /** Audits that were done, some of them for nothing as another was faster or the worker was killed before it was told. */
  readonly audits: number;
  readonly kills: { readonly workers: number; readonly redis: number };
  readonly seconds: number;
  readonly problems: readonly string[];
}

export async function killQueue(jobs: number, kills: number, seed: number): Promise<QueueKilled> {
  const scratch = mkdtempSync(join(tmpdir(), 'gradleak-queue-'));
  const random = generator(seed);
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  const [project, manifest, store] = [
    join(scratch, 'project'),
    join(scratch, 'manifest.jsonl'),
    join(scratch, 'store'),
  ];
  for (let at = 0; at < jobs; at++) {
    cpSync(join(ROOT, 'test', 'fixtures', 'dumps', DUMPS[at % DUMPS.length]!), join(project, `client_${at}`), {
      recursive: true,
    });
  }
  let printed = '';
  const redis = (): Promise<RedisServer> => startRedis(scratch, ['--appendonly', 'yes'], port);
  const worker = (): ChildProcess => {
    const child = spawn(process.execPath, [CLI, 'queue', 'work', '--queue', url, '--out', store, '--jobs', '1'], {
      // With its children, a group that is killed as a machine is.
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr.on('data', (text: Buffer) => (printed += text.toString()));
    return child;
  };
  const started = performance.now();
  let server = await redis();
  const workers: ChildProcess[] = [];
  const killed = { workers: 0, redis: 0 };
  try {
    await command('plan', project, '--out', manifest);
    await command('queue', 'submit', '--queue', url, '--manifest', manifest);
    workers.push(...Array.from({ length: WORKERS }, worker));
    for (let kill = 0; kill < kills; kill++) {
      await wait(SOONEST + random() * (LATEST - SOONEST));
      if (random() < WORKER_SHARE) {
        const at = Math.floor(random() * WORKERS);
        killGroup(workers[at]);
        killed.workers++;
        workers[at] = worker();
      } else {
        await server.stop();
        killed.redis++;
        await wait(random() * 2000);
        server = await redis();
      }
    }
    await untilEmpty(url, started);
    const seconds = (performance.now() - started) / 1000;
    await command('merge', store, '--manifest', manifest);
    return {
      jobs,
      results: readdirSync(join(store, 'entries')).length,
      audits: printed.split('\n').filter((line) => / (audited|another worker was faster)$/.test(line)).length,
      kills: killed,
      seconds,
      problems: await problemsOf(project, scratch, store),
    };
  } finally {
    workers.forEach(killGroup);
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function untilEmpty(url: string, started: number): Promise<void> {
  for (;;) {
    await wait(1000);
    if (performance.now() - started > MOST_MS) {
      throw new Error('The queue did not come to its end.');
    }
    const { out, code } = await tried('queue', 'status', '--queue', url, '--format', 'json');
    if (code === 0) {
      const { waiting, running, delayed } = JSON.parse(out) as Record<'waiting' | 'running' | 'delayed', number>;
      if (waiting + running + delayed === 0) {
        return;
      }
    }
  }
}

/** Against an audit of the project that nobody disturbs. */
async function problemsOf(project: string, scratch: string, store: string): Promise<string[]> {
  const plain = join(scratch, 'plain');
  await tried('audit', project, '--out', plain, '--jobs', '2');
  const [one, other] = [plain, store].map(
    (folder) => JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as ProjectReport,
  );
  const told = ({ entries }: ProjectReport): Map<string, string> =>
    new Map(entries.map(({ gradients, status, result }) => [gradients, JSON.stringify({ status, result })]));
  const [wanted, found] = [told(one!), told(other!)];
  const problems = [...wanted]
    .filter(([name, result]) => found.get(name) !== result)
    .map(([name, result]) => `${name}: ${found.get(name) ?? 'nothing'} in place of ${result}`);
  if (found.size !== wanted.size || other!.entries.length !== found.size) {
    problems.push(`${other!.entries.length} entries of ${found.size} gradients, where there are ${wanted.size}`);
  }
  const left = readdirSync(join(store, 'failed'));
  return left.length > 0 ? [...problems, `${left.length} failures are noted`] : problems;
}

function killGroup(child: ChildProcess | undefined): void {
  if (child?.pid !== undefined) {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
}

async function command(...args: string[]): Promise<string> {
  const { code, out, err } = await tried(...args);
  if (![0, 4].includes(code)) {
    throw new Error(`gradleak ${args.join(' ')} ended with ${code}: ${err}`);
  }
  return out;
}

function tried(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err] = ['', ''];
    child.stdout.on('data', (text: Buffer) => (out += text.toString()));
    child.stderr.on('data', (text: Buffer) => (err += text.toString()));
    child.on('close', (code) => {
      resolve({ code: code ?? 1, out, err });
    });
  });
}
