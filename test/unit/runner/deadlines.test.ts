import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import { type CancelSignal, RunnerClient } from '../../../src/runner/client.js';
import { RunnerPool } from '../../../src/runner/pool.js';

/** Files whose reading never ends, in a real child process: opening one named "hang" is a loop. */

const ROOT = join(import.meta.dirname, '..', '..', '..');
const DUMP = join(ROOT, 'test', 'fixtures', 'dumps', 'k10_hard_bias_default');
const DEADLINES = { listing: 1500, dump: 1500 };
const never: CancelSignal = { cancelled: false, onCancel: () => undefined };
const folder = mkdtempSync(join(tmpdir(), 'gradleak-deadlines-'));
const blocker = join(folder, 'block.cjs');
const clients: RunnerClient[] = [];

beforeAll(() => {
  writeFileSync(
    blocker,
    `const fs = require('node:fs'); const { openSync } = fs;
     fs.openSync = (path, ...rest) => { while (String(path).includes('hang')); return openSync(path, ...rest); };`,
  );
});
afterEach(() => {
  for (const client of clients.splice(0)) {
    client.dispose();
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<RunnerClient> {
  const args = ['--require', blocker, join(ROOT, 'dist', 'runner.js')];
  const command = { executable: process.execPath, args, env: process.env };
  const client = await RunnerClient.start(command, () => undefined, DEADLINES);
  clients.push(client);
  return client;
}

async function failure(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  );
}

function audit(name: string, gradients = join(DUMP, 'gradient.pt')) {
  const request = { checkpoint: join(DUMP, 'checkpoint.pt'), gradients, method: 'auto' as const };
  return { id: name, request: { ...request, out: join(folder, name) } };
}

describe('a file that is never read to its end', () => {
  it('is given up when it is looked at, and its reader ended', async () => {
    const client = await start();
    const error = await failure(client.openInspection(join(folder, 'hang.pt')));
    expect(error).toBeInstanceOf(UnusableInputError);
    expect((error as UnusableInputError).code).toBe('took-too-long');
    expect((error as Error).message).toMatch(/hang\.pt: found a file whose tensors could not be listed within 1\.5 s/);
    expect(client.alive).toBe(false);
  });

  it.each(['rank', 'kinds'] as const)('is given up when many are looked at: %s', async (what) => {
    const client = await start();
    const [gradients, hang] = [join(DUMP, 'gradient.pt'), join(folder, 'hang.pt')];
    const error = await failure(
      what === 'rank' ? client.rank({ gradients, candidates: [hang] }) : client.kinds({ paths: [gradients, hang] }),
    );
    expect((error as UnusableInputError).parts).toMatchObject({ code: 'took-too-long', file: hang });
  });

  it('is left out of a project, and the rest is planned', async () => {
    const project = join(folder, 'project');
    cpSync(DUMP, join(project, 'a'), { recursive: true });
    cpSync(join(DUMP, 'gradient.pt'), join(project, 'a', 'hang1.pt'));
    cpSync(join(DUMP, 'gradient.pt'), join(project, 'b', 'hang2.pt'));
    const pool = new RunnerPool(start);
    const plan = await pool.plan({ root: project, exclude: [], includeIgnored: false, settings: '' }, never);
    expect(plan.entries.map(({ gradients }) => gradients)).toEqual(['a/gradient.pt']);
    expect(plan.skipped.map(({ path }) => path)).toEqual(['a/hang1.pt', 'b/hang2.pt']);
    expect(plan.skipped[0]?.reason).toContain('could not be listed within 1.5 s');
    pool.dispose();
  });

  it('ends its own audit, and no other', async () => {
    const hang = join(folder, 'hang-gradient.pt');
    cpSync(join(DUMP, 'gradient.pt'), hang);
    const pool = new RunnerPool(start);
    const error = await failure(pool.run(audit('held-up', hang), never));
    expect((error as UnusableInputError).parts).toMatchObject({ code: 'took-too-long', file: hang });
    expect(await pool.run(audit('free'), never)).toMatchObject({ cancelled: false });
    pool.dispose();
  });
});

it('a reader is left alone when it is done', async () => {
  const client = await start();
  const { inspection } = await client.openInspection(join(DUMP, 'gradient.pt'));
  await client.audit(audit('done'), () => undefined, never);
  await new Promise((resolve) => setTimeout(resolve, DEADLINES.listing + 200));
  expect(await client.look(inspection, { look: 'kind' })).toMatchObject({ kind: 'gradient' });
});
