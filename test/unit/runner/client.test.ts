import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import type { AuditProgress } from '../../../src/protocol/audit-request.js';
import type { DefenceReport } from '../../../src/protocol/defence-report.js';
import type { Report } from '../../../src/protocol/report.js';
import { generator } from '../../../src/recovery/paper-method.js';
import { type CancelSignal, RunnerClient, RunnerCrashedError } from '../../../src/runner/client.js';
import { syntheticBatch, writeSafetensors } from '../../write-fixtures.js';

/** A real child process from dist/runner.js, which "npm test" has built. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const DUMPS = join(ROOT, 'test', 'fixtures', 'dumps');
const KINDS = join(ROOT, 'test', 'fixtures', 'kinds');
const UPDATES = join(ROOT, 'test', 'fixtures', 'updates');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-runner-'));
const never: CancelSignal = { cancelled: false, onCancel: () => undefined };
const clients: RunnerClient[] = [];
let big: { checkpoint: string; gradients: string };

beforeAll(() => {
  const made = syntheticBatch({ classes: 1000, features: 800, batch: 300, random: generator(2) });
  big = { checkpoint: join(folder, 'c.safetensors'), gradients: join(folder, 'g.safetensors') };
  writeSafetensors(big.checkpoint, { 'fc.weight': made.weight });
  writeSafetensors(big.gradients, { 'fc.weight': made.gradient });
});
afterEach(() => {
  for (const client of clients.splice(0)) {
    client.dispose();
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function start(script = join(ROOT, 'dist', 'runner.js')): Promise<RunnerClient> {
  const client = await RunnerClient.start(
    { executable: process.execPath, args: [script], env: process.env },
    () => undefined,
  );
  clients.push(client);
  return client;
}

function dumpPaths(name: string): { checkpoint: string; gradients: string } {
  return { checkpoint: join(DUMPS, name, 'checkpoint.pt'), gradients: join(DUMPS, name, 'gradient.pt') };
}

async function failure(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('the child process', () => {
  it('audits, tells its progress, and leaves the report as files', async () => {
    const client = await start();
    const seen: AuditProgress[] = [];
    const out = join(folder, 'audit');
    const request = { ...dumpPaths('k10_smooth_nobias_trained'), method: 'auto' as const, out };
    const outcome = await client.audit({ id: 'a', request }, (progress) => seen.push(progress), never);
    expect(outcome).toEqual({ folder: out, mismatch: null, notAssessed: null, cancelled: false });
    const report = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report;
    expect(report.samples[0]?.status).toBe('recovered');
    expect(existsSync(join(out, 'features.npy'))).toBe(true);
    expect(seen.map(({ stage }) => stage)).toEqual(['open', 'match', 'read', 'check', 'recover', 'describe', 'write']);
    expect(seen.map(({ fraction }) => fraction)).toEqual(
      [...seen.map(({ fraction }) => fraction)].sort((a, b) => a - b),
    );
  });

  it('reports unusable input with its parts', async () => {
    const client = await start();
    const request = { checkpoint: 'gone.pt', gradients: 'gone2.pt', method: 'auto' as const, out: join(folder, 'x') };
    const error = await failure(client.audit({ id: 'a', request }, () => undefined, never));
    expect(error).toBeInstanceOf(UnusableInputError);
    expect((error as UnusableInputError).code).toBe('missing-file');
  });

  it('keeps the code of swapped files, by which the editor offers to exchange them', async () => {
    const client = await start();
    const { checkpoint, gradients } = dumpPaths('k10_smooth_nobias_trained');
    const request = {
      checkpoint: gradients,
      gradients: checkpoint,
      method: 'auto' as const,
      out: join(folder, 'swapped'),
    };
    const error = await failure(client.audit({ id: 's', request }, () => undefined, never));
    expect(error).toBeInstanceOf(UnusableInputError);
    expect((error as UnusableInputError).code).toBe('swapped-files');
    expect((error as UnusableInputError).parts.found).toContain('looks like a gradient');
  });

  it('keeps the code of what is no gradient', async () => {
    const client = await start();
    const lenet = join(KINDS, 'lenet');
    const request = {
      checkpoint: join(lenet, 'checkpoint.pt'),
      gradients: join(lenet, 'optimiser.pt'),
      method: 'auto' as const,
      out: join(folder, 'state'),
    };
    const error = await failure(client.audit({ id: 'o', request }, () => undefined, never));
    expect((error as UnusableInputError).code).toBe('not-a-gradient');
  });

  it('says when no method could judge the files', async () => {
    const client = await start();
    const convnet = join(KINDS, 'convnet');
    const out = join(folder, 'not-assessed');
    const request = {
      checkpoint: join(convnet, 'checkpoint.pt'),
      gradients: join(convnet, 'four-steps.pt'),
      method: 'auto' as const,
      out,
    };
    const outcome = await client.audit({ id: 'n', request }, () => undefined, never);
    const { verdict } = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report;
    expect(verdict.outcome).toBe('not-assessed');
    expect(outcome).toEqual({ folder: out, mismatch: null, notAssessed: verdict.sentence, cancelled: false });
  });

  it('offers weights after, which surely are a checkpoint, as what is audited with those before', async () => {
    const client = await start();
    const [before, after, other] = ['before.pt', 'after.pt', 'other.pt'].map((name) => join(UPDATES, name));
    const told = await client.kinds({ paths: [after!, other!, before!], checkpoint: before! });
    expect(told.map(({ canBeGradient, isOtherState }) => [canBeGradient, isOtherState])).toEqual([
      [true, true],
      [false, false],
      [false, false],
    ]);
  });

  it('tells kinds, what can be a gradient, and how well it fits a checkpoint', async () => {
    const client = await start();
    const { checkpoint, gradients } = dumpPaths('k10_smooth_nobias_trained');
    const misfit = dumpPaths('k100_hard_bias_default').gradients;
    const weights = join(KINDS, 'convnet', 'checkpoint.pt');
    const state = join(KINDS, 'lenet', 'optimiser.pt');
    const difference = join(KINDS, 'convnet', 'four-steps.pt');
    const broken = join(folder, 'unreadable.pt');
    writeFileSync(broken, 'nothing');
    const paths = [gradients, checkpoint, broken, weights, state, difference, misfit];
    const told = await client.kinds({ paths, checkpoint });
    // Nothing is known of what cannot be read; a checkpoint that shows it by its name only may be a gradient after all.
    expect(told.map(({ path, kind, canBeGradient }) => [path, kind.kind, kind.sure ?? false, canBeGradient])).toEqual([
      [gradients, 'gradient', true, true],
      [checkpoint, 'checkpoint', false, true],
      [weights, 'checkpoint', true, false],
      [state, 'optimiser-state', true, false],
      [difference, 'delta', true, true],
      [misfit, 'gradient', true, true],
    ]);
    expect(told.find(({ path }) => path === gradients)?.fit).toBe(1);
    expect(told.find(({ path }) => path === misfit)?.fit).toBe(0);
    expect((await client.kinds({ paths: [gradients] }))[0]?.fit).toBeNull();
  });

  it('looks at no more than fifty files, the first ones', async () => {
    const client = await start();
    const { checkpoint, gradients } = dumpPaths('k10_smooth_nobias_trained');
    const told = await client.kinds({ paths: [checkpoint, ...Array.from({ length: 99 }, () => gradients)] });
    expect(told).toHaveLength(50);
    expect(told[0]?.path).toBe(checkpoint);
  });

  it('ranks checkpoints by fit', async () => {
    const client = await start();
    const { checkpoint, gradients } = dumpPaths('k10_smooth_nobias_trained');
    const misfit = dumpPaths('k100_hard_bias_default').checkpoint;
    const broken = join(folder, 'broken.pt');
    writeFileSync(broken, 'nothing');
    const ranked = await client.rank({ gradients, candidates: [misfit, broken, checkpoint] });
    expect(ranked[0]).toEqual({ path: checkpoint, kind: 'checkpoint', fit: 1, problem: null });
    expect(ranked.find(({ path }) => path === misfit)?.fit).toBe(0);
    expect(ranked.find(({ path }) => path === broken)?.problem).toContain('broken.pt');
  });

  it('ranks no gradient as a checkpoint, and says what it is', async () => {
    const client = await start();
    const { checkpoint, gradients } = dumpPaths('k10_smooth_nobias_trained');
    const other = dumpPaths('k10_hard_nobias_trained').gradients;
    const ranked = await client.rank({ gradients, candidates: [other, checkpoint] });
    expect(ranked.map(({ path }) => path)).toEqual([checkpoint, other]);
    expect(ranked[1]).toMatchObject({ fit: 0, problem: 'a gradient, by its contents', isOther: true });
  });

  it('cancels within two seconds, keeps what it had, and goes on working', async () => {
    const client = await start();
    let cancel: () => void = () => undefined;
    const signal = { cancelled: false, onCancel: (listener: () => void) => (cancel = listener) };
    const out = join(folder, 'cancelled');
    let cancelledAt = 0;
    const outcome = await client.audit(
      { id: 'c', request: { ...big, method: 'auto', out } },
      ({ message }) => {
        if (message.includes('at least') && cancelledAt === 0) {
          cancelledAt = Date.now();
          // As from a terminal, where the signal comes again while it is being obeyed.
          cancel();
          cancel();
        }
      },
      signal,
    );
    expect(Date.now() - cancelledAt).toBeLessThan(2000);
    expect(outcome.cancelled).toBe(true);
    const report = JSON.parse(readFileSync(join(out, 'report.json'), 'utf8')) as Report;
    expect(report).toMatchObject({ cancelled: true, samples: [], verdict: { outcome: 'none' } });
    expect(report.consistency.length).toBeGreaterThan(3);
    cancel();
    expect(client.alive).toBe(true);
    const request = { ...dumpPaths('k10_hard_bias_default'), method: 'auto' as const, out: join(folder, 'after') };
    await expect(client.audit({ id: 'd', request }, () => undefined, never)).resolves.toMatchObject({
      cancelled: false,
    });
  });

  it('tries defences, and keeps the points that are done when it is stopped', async () => {
    const client = await start();
    let cancel: () => void = () => undefined;
    let cancelledAt = 0;
    const out = join(folder, 'defended');
    const audit = { ...dumpPaths('k10_hard_bias_default'), method: 'auto' as const };
    const outcome = await client.defend(
      { id: 'f', request: { audit, out, effort: 'thorough' } },
      ({ message }) => {
        if (message.startsWith('Keeping') && cancelledAt === 0) {
          cancelledAt = Date.now();
          cancel();
        }
      },
      { cancelled: false, onCancel: (listener: () => void) => (cancel = listener) },
    );
    expect(Date.now() - cancelledAt).toBeLessThan(2000);
    expect(outcome).toMatchObject({ folder: out, status: 'stopped' });
    const report = JSON.parse(readFileSync(join(out, 'defence.json'), 'utf8')) as DefenceReport;
    expect(report.curves[0]?.points.length).toBeGreaterThan(0);
    expect(client.alive).toBe(true);
  });

  it('kills a child that does not listen to cancel', async () => {
    const deaf = join(folder, 'deaf.cjs');
    writeFileSync(
      deaf,
      `const source = require('node:fs').readFileSync(${JSON.stringify(join(ROOT, 'dist', 'runner.js'))}, 'utf8');
       const module_ = new module.constructor(); module_.paths = module.paths;
       process.on('SIGTERM', () => {});
       const original = setImmediate; let count = 0;
       globalThis.setImmediate = (...args) => { if (++count > 5) for (;;) {} return original(...args); };
       module_._compile(source, 'runner.js');`,
    );
    const client = await start(deaf);
    const signal = { cancelled: false, onCancel: (listener: () => void) => setTimeout(listener, 500) };
    const started = Date.now();
    const error = await failure(
      client.audit({ id: 'k', request: { ...big, method: 'auto', out: join(folder, 'k') } }, () => undefined, signal),
    );
    expect(error).toBeInstanceOf(CancelledError);
    expect(Date.now() - started - 500).toBeLessThan(2000);
    expect(client.alive).toBe(false);
  });

  it('a crash is told with its last words', async () => {
    const client = await start();
    const running = client.audit(
      { id: 'x', request: { ...big, method: 'auto', out: join(folder, 'x') } },
      () => process.kill(client.pid!, 'SIGKILL'),
      never,
    );
    const error = await failure(running);
    expect(error).toBeInstanceOf(RunnerCrashedError);
    expect((error as Error).message).toContain('signal SIGKILL');
    expect(client.alive).toBe(false);
  });

  it('a script that dies at once is told with what it printed', async () => {
    const script = join(folder, 'dies.cjs');
    writeFileSync(script, 'console.error("libexample.so.11: cannot open shared object file"); process.exit(3);');
    const error = await failure(start(script));
    expect(error).toBeInstanceOf(RunnerCrashedError);
    expect((error as Error).message).toContain('exit code 3');
    expect((error as Error).message).toContain('libexample.so.11');
  });

  it('an executable that is not there', async () => {
    const command = { executable: join(folder, 'no-node'), args: [], env: {} };
    const error = await failure(RunnerClient.start(command, () => undefined));
    expect(error).toBeInstanceOf(RunnerCrashedError);
    expect((error as Error).message).toContain('ENOENT');
  });

  it('leaves a signal from the terminal to its host', async () => {
    const client = await start();
    process.kill(client.pid!, 'SIGINT');
    expect(await client.kinds({ paths: [] })).toEqual([]);
    expect(client.alive).toBe(true);
  });

  it('ends when its input closes', async () => {
    const client = await start();
    client.dispose();
    await expect.poll(() => client.alive, { timeout: 5000 }).toBe(false);
  });
});
