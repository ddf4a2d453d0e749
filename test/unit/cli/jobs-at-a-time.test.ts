import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { jobsAtATime, jobsByGpu } from '../../../src/cli/jobs-at-a-time.js';

/** The driver's tool is a script here: no test machine has a GPU. */
describe.skipIf(process.platform === 'win32')('audits at a time', () => {
  const path = process.env.PATH;
  let folder = '';

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-gpu-'));
    process.env.PATH = `${folder}${delimiter}${path ?? ''}`;
  });

  afterEach(() => {
    process.env.PATH = path;
    rmSync(folder, { recursive: true, force: true });
  });

  function driverTool(script: string): void {
    const file = join(folder, 'nvidia-smi');
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
  }

  it.each([
    ['echo 81000; echo 10', 19],
    ['echo 9000', 2],
    ['echo 500', 1],
    ['echo "No devices were found"; exit 6', Infinity],
    ['echo "[N/A]"', Infinity],
  ])('by the free memory of the first GPU: %s', (script, jobs) => {
    driverTool(script);
    expect(jobsByGpu()).toBe(jobs);
  });

  it('are as many as were asked for, and at least one', () => {
    driverTool('echo 500');
    expect(jobsAtATime(7, 'auto')).toBe(7);
    expect(jobsAtATime(undefined, 'auto')).toBe(1);
    expect(jobsAtATime(undefined, undefined)).toBeGreaterThanOrEqual(1);
  });
});
