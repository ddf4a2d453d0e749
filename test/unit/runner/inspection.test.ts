import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { CancelledError, UnusableInputError } from '../../../src/protocol/errors.js';
import { type CancelSignal, RunnerClient, RunnerCrashedError } from '../../../src/runner/client.js';
import { RunnerPool } from '../../../src/runner/pool.js';

/** Looking at files and auditing projects in real child processes from dist/runner.js, which "npm test" has built. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const FIXTURES = join(ROOT, 'test', 'fixtures');
const folder = mkdtempSync(join(tmpdir(), 'gradleak-children-'));
const never: CancelSignal = { cancelled: false, onCancel: () => undefined };
const clients: RunnerClient[] = [];

async function start(): Promise<RunnerClient> {
  const client = await RunnerClient.start(
    { executable: process.execPath, args: [join(ROOT, 'dist', 'runner.js')], env: process.env },
    () => undefined,
  );
  clients.push(client);
  return client;
}

afterEach(() => {
  for (const client of clients.splice(0)) {
    client.dispose();
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('looking at a file in the child process', () => {
  it('opens it, computes rows, shows slices, and closes it', async () => {
    const client = await start();
    const { inspection, directory } = await client.openInspection(join(FIXTURES, 'inspection', 'second.pt'));
    expect(directory.names).toContain('fc.bias');
    expect((await client.look(inspection, { look: 'kind' })).kind).toBe('gradient');
    const rows = directory.names.map((_, at) => at);
    const first = await client.statistics({ inspection, rows });
    expect(first.map(({ row }) => row)).toEqual(rows);
    const row = directory.names.indexOf('fc.weight');
    const request = { rowAxis: 0, columnAxis: 1, at: [0, 0], of: 'here' as const };
    expect(await client.look(inspection, { look: 'slice', row, request })).toMatchObject({ rows: 10, columns: 12 });
    const summary = await client.look(inspection, { look: 'compare', path: join(FIXTURES, 'inspection', 'first.pt') });
    expect(summary.matched).toBe(10);
    expect(await client.differences({ inspection, rows: [row] })).toMatchObject([
      { difference: { status: 'changed' } },
    ]);
    await client.look(inspection, { look: 'close' });
    await expect(client.statistics({ inspection, rows })).rejects.toThrow(/not open/);
  });

  it('says of which model a file is, and which tokens occur', async () => {
    const client = await start();
    const { inspection, directory } = await client.openInspection(
      join(FIXTURES, 'texts', 'llama', 'gradient.safetensors'),
    );
    expect(directory.model?.sentence).toContain('Llama by config.json');
    const row = directory.names.indexOf('model.embed_tokens.weight');
    expect(await client.look(inspection, { look: 'rows', row })).toMatchObject({ rows: 600, count: 32 });
  });

  it('says in a sentence what cannot be opened, and goes on', async () => {
    const client = await start();
    const broken = join(folder, 'broken.pt');
    writeFileSync(broken, 'PK\u0003\u0004 but no zip');
    await expect(client.openInspection(broken)).rejects.toThrow(UnusableInputError);
    await expect(client.openInspection(join(folder, 'missing.pt'))).rejects.toThrow(UnusableInputError);
    const { directory } = await client.openInspection(join(FIXTURES, 'inspection', 'second.pt'));
    expect(directory.names).toHaveLength(10);
  });

  it('a child that is killed is reported, not waited for', async () => {
    const client = await start();
    const { inspection } = await client.openInspection(join(FIXTURES, 'inspection', 'second.pt'));
    const asked = client.statistics({ inspection, rows: [0] });
    process.kill(client.pid!, 'SIGKILL');
    await asked.catch(() => undefined);
    await expect(client.statistics({ inspection, rows: [0] })).rejects.toThrow(RunnerCrashedError);
  });

  it('so is one that is asked just while it ends', async () => {
    const client = await start();
    const { inspection } = await client.openInspection(join(FIXTURES, 'inspection', 'second.pt'));
    process.kill(client.pid!, 'SIGKILL');
    const errors: unknown[] = [];
    for (let turn = 0; turn < 300; turn++) {
      void client.statistics({ inspection, rows: [0] }).catch((error: unknown) => errors.push(error));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect(client.statistics({ inspection, rows: [0] })).rejects.toThrow(RunnerCrashedError);
    await expect.poll(() => errors.length).toBe(300);
    expect(errors.filter((error) => !(error instanceof RunnerCrashedError))).toEqual([]);
  });
});

describe('a pool of children', () => {
  const request = (name: string): { checkpoint: string; gradients: string; out: string; method: 'auto' } => ({
    checkpoint: join(FIXTURES, 'dumps', name, 'checkpoint.pt'),
    gradients: join(FIXTURES, 'dumps', name, 'gradient.pt'),
    out: join(folder, name),
    method: 'auto',
  });

  it('plans a project and runs audits side by side, each child used again', async () => {
    cpSync(join(FIXTURES, 'dumps', 'k10_hard_bias_default'), join(folder, 'project', 'a'), { recursive: true });
    let started = 0;
    const pool = new RunnerPool(() => {
      started++;
      return start();
    });
    const options = { root: join(folder, 'project'), exclude: [], includeIgnored: false, settings: '' };
    const plan = await (await pool.any()).plan(options, never);
    expect(plan.entries.map(({ gradients }) => gradients)).toEqual(['a/gradient.pt']);
    const both = await Promise.all(
      ['k10_hard_bias_default', 'k10_mixup_bias_default'].map((name) =>
        pool.run({ id: name, request: request(name) }, never),
      ),
    );
    expect(both).toMatchObject([{ cancelled: false }, { cancelled: false }]);
    await pool.run({ id: 'k100', request: request('k100_hard_bias_default') }, never);
    expect(started).toBe(2);
    pool.dispose();
  });

  it('replaces a child that has ended', async () => {
    const pool = new RunnerPool(start);
    process.kill((await pool.any()).pid!, 'SIGKILL');
    await expect.poll(() => clients[0]!.alive).toBe(false);
    expect(await pool.run({ id: 'k10', request: request('k10_hard_bias_default') }, never)).toMatchObject({
      cancelled: false,
    });
    pool.dispose();
  });

  it('a child that hears of a stop before its host does is no crash', async () => {
    const pool = new RunnerPool(() => {
      setTimeout(() => {
        signal.cancelled = true;
      }, 20);
      return Promise.reject(new RunnerCrashedError('signal SIGINT', ''));
    });
    const signal = { cancelled: false, onCancel: () => undefined };
    await expect(pool.run({ id: 'k10', request: request('k10_hard_bias_default') }, signal)).rejects.toThrow(
      CancelledError,
    );
    pool.dispose();
  });

  it('a plan is stopped when asked', async () => {
    const pool = new RunnerPool(start);
    const client = await pool.any();
    let stop: () => void = () => undefined;
    const signal: CancelSignal = {
      cancelled: false,
      onCancel: (listener) => {
        stop = listener;
      },
    };
    const options = { root: FIXTURES, exclude: [], includeIgnored: true, settings: '' };
    const plan = client.plan(options, signal);
    stop();
    await expect(plan).rejects.toThrow(CancelledError);
    pool.dispose();
  });
});
