import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

/** A short, fixed run of `npm run fuzz`, which ends in an error when anything is found. */

const ROOT = join(import.meta.dirname, '..', '..');

async function fuzz(...args: readonly string[]): Promise<string> {
  try {
    return (await promisify(execFile)(process.execPath, ['.ci/fuzz.mjs', '--untimed', ...args], { cwd: ROOT })).stdout;
  } catch (error) {
    // What was found says more than the exit code.
    throw new Error((error as { stdout?: string }).stdout, { cause: error });
  }
}

describe('mutated files end in a result or a typed error, in bounded time and memory, and touch no other files', () => {
  it('those that once did not', async () => {
    expect(await fuzz('--replay', 'test/fuzz/regressions')).toContain('0 findings');
  }, 120_000);

  it('a fixed sample of everything that reads files', async () => {
    expect(await fuzz('--seed', '2025', '--executions', '6000')).toContain('6000 executions, seed 2025');
  }, 300_000);
});
