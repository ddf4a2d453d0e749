import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { SUPERVISED, supervise } from '../../../src/cli/supervise.js';

/** Signals to the command as it is installed, while its child does not listen. */

const CLI = join(import.meta.dirname, '..', '..', '..', 'dist', 'cli.js');
const DUMP = join(import.meta.dirname, '..', '..', '..', 'media', 'example');
let scratch: string;
let blocker: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'gradleak-supervise-'));
  blocker = join(scratch, 'block.cjs');
  writeFileSync(
    blocker,
    `if (process.env.GRADLEAK_SUPERVISED) {
      require('node:fs').writeFileSync(process.env.GRADLEAK_PID_FILE, String(process.pid));
      for (;;);
    }`,
  );
});
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
});

function start(name: string, options: string): { child: ReturnType<typeof spawn>; pidFile: string } {
  const pidFile = join(scratch, name);
  const env = { ...process.env, NODE_OPTIONS: options, GRADLEAK_PID_FILE: pidFile };
  return { child: spawn(process.execPath, [CLI, 'audit', DUMP], { env, stdio: ['ignore', 'pipe', 'pipe'] }), pidFile };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(process.platform === 'win32')('a command whose child is held up', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)(
    'ends by %s, and its child with it',
    async (signal) => {
      const { child, pidFile } = start(signal, `--require ${blocker}`);
      await expect
        .poll(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '', { timeout: 20_000 })
        .toBe(true);
      child.kill(signal);
      const [code] = (await once(child, 'close')) as [number | null];
      expect(code).toBe(130);
      expect(isAlive(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
    },
    30_000,
  );

  it('passes output and exit code on where nothing holds it up', async () => {
    const { child } = start('none', '');
    let text = '';
    child.stdout!.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    const [code] = (await once(child, 'close')) as [number | null];
    expect(code).toBe(0);
    expect(text).toContain('This gradient gives away');
  }, 30_000);
});

describe('a command that reads a file', () => {
  const deadlines = { listing: 1000, dump: 1000 };
  const child = (name: string, steps: string): string => {
    const path = join(scratch, name);
    writeFileSync(path, steps);
    return path;
  };

  it('is ended when that takes too long, and the file is named', async () => {
    const path = child(
      'hang.cjs',
      `process.send({ reading: { path: 'large\u001b.pt', what: 'listing' } }, () => { for (;;); });`,
    );
    const print = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const code = await supervise(path, [], deadlines);
    const printed = print.mock.calls.map(([text]) => String(text)).join('');
    print.mockRestore();
    expect(code).toBe(2);
    expect(printed).toMatch(/^gradleak: large\\u001b\.pt: found a file whose tensors could not be listed within 1 s;/);
  });

  it('has all the time it needs afterwards', async () => {
    const path = child(
      'slow.cjs',
      `process.send({ reading: { path: 'a.pt', what: 'dump' } });
       process.send({ reading: null });
       setTimeout(() => process.exit(4), 1500);`,
    );
    expect(await supervise(path, [], deadlines)).toBe(4);
  });

  it.each([
    ['inspect', [join(DUMP, 'gradient.pt')], { path: join(DUMP, 'gradient.pt'), what: 'listing' }],
    ['audit', [DUMP, '--attack', 'none'], { path: join(DUMP, 'gradient.pt'), what: 'dump' }],
  ])('says when it begins and when it is done: %s', async (command, args, reading) => {
    const own = spawn(process.execPath, [CLI, command, ...args], {
      env: { ...process.env, [SUPERVISED]: '1' },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    const told: unknown[] = [];
    own.on('message', (message) => told.push(message));
    const [code] = (await once(own, 'close')) as [number | null];
    expect(code).toBe(0);
    expect(told).toEqual([{ reading }, { reading: null }]);
  });
});

describe.skipIf(process.platform === 'win32')('a command that is stopped', () => {
  /** Stops the command once its child listens. */
  async function stopped(name: string, onStop: string): Promise<{ code: number; seconds: number }> {
    const [path, ready] = [join(scratch, name), join(scratch, `${name}.ready`)];
    writeFileSync(
      path,
      `process.on('SIGINT', () => { ${onStop} });
       setInterval(() => undefined, 1000);
       require('node:fs').writeFileSync(${JSON.stringify(ready)}, '');`,
    );
    const code = supervise(path, []);
    await expect.poll(() => existsSync(ready), { timeout: 20_000 }).toBe(true);
    const begun = performance.now();
    process.emit('SIGINT');
    return { code: await code, seconds: (performance.now() - begun) / 1000 };
  }

  it('has time to tell what it found once it has heard of that', async () => {
    const { code, seconds } = await stopped(
      'heard.cjs',
      'process.send({ heard: true }); setTimeout(() => process.exit(7), 3000);',
    );
    expect(code).toBe(7);
    expect(seconds).toBeGreaterThan(2.9);
  }, 30_000);

  it('is ended where it has not', async () => {
    vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
    const { code } = await stopped('deaf.cjs', 'setTimeout(() => process.exit(7), 20_000);');
    expect(code).toBe(130);
    vi.restoreAllMocks();
  }, 30_000);
});
