import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { buildTfjsNode } from '../../../src/engine/build-tfjs-node.js';
import { EngineError } from '../../../src/engine/engine.js';
import { CancelledError } from '../../../src/protocol/errors.js';

/** What goes wrong on the way; `npm run engines` compiles it for real. */

const scratch = mkdtempSync(join(tmpdir(), 'gradleak-tfjs-'));
const bin = join(scratch, 'bin');

beforeEach(() => {
  mkdirSync(bin, { recursive: true });
  vi.stubEnv('PATH', `${bin}:/usr/bin:/bin`);
});
afterEach(() => {
  rmSync(bin, { recursive: true });
  vi.unstubAllEnvs();
});
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function program(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

const build = (signal?: AbortSignal): Promise<string> =>
  buildTfjsNode({
    id: 'tfjs-node',
    folder: join(scratch, 'folder'),
    python: join(bin, 'python'),
    say: () => undefined,
    ...(signal ? { signal } : {}),
  });

describe.runIf(process.platform === 'linux')('compiling TensorFlow.js for Node', () => {
  it('tells the last words of what failed', async () => {
    program('npm', 'echo "network is away" >&2; exit 7');
    await expect(build()).rejects.toThrow(/npm ended with 7: network is away/);
  });

  it('tells what is not there', async () => {
    program('npm', 'exit 0');
    await expect(build()).rejects.toThrow(EngineError);
    await expect(build()).rejects.toThrow(/python could not be started.*needed to compile/);
  });

  it('tells a Python that no wheel is for', async () => {
    program('npm', 'exit 0');
    program('python', 'mkdir -p wheel');
    await expect(build()).rejects.toThrow(/no wheel of tensorflow-cpu==2\.15\.1 for this Python/);
  });

  it('ends with what it started when it is cancelled', async () => {
    program('npm', 'sleep 60 & wait');
    const stop = new AbortController();
    const building = build(stop.signal);
    await wait(200);
    const since = performance.now();
    stop.abort();
    await expect(building).rejects.toThrow(CancelledError);
    expect(performance.now() - since).toBeLessThan(2000);
  });
});
