import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Locator } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, hasRedis, startRedis } from '../redis-server.js';
import { syntheticBatch, writeSafetensors } from '../write-fixtures.js';
import { generator } from '../../src/recovery/paper-method.js';
import { type EditorSession, openEditor } from './editor-session.js';
import type { Workbench } from './workbench.js';

/** A workspace whose audit other machines do: a real server with a password, and a real worker. */

const ROOT = join(import.meta.dirname, '..', '..');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'k17_smooth_bias_default', 'float64'];
const [USER, PASSWORD] = ['alice', 'hunter2-of-the-queue'];
const SUBMIT = 'GradLeak: Submit Workspace to Queue';

describe.skipIf(!hasRedis)('a workspace in a queue', () => {
  let folder: string;
  let workspace: string;
  let store: string;
  let server: RedisServer;
  let worker: ChildProcess | undefined;
  let printed = '';
  let session: EditorSession;
  let workbench: Workbench;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-e2e-queue-'));
    [workspace, store] = [join(folder, 'workspace'), join(folder, 'store')];
    mkdirSync(workspace);
    for (const name of DUMPS) {
      cpSync(join(ROOT, 'test', 'fixtures', 'dumps', name), join(workspace, name), { recursive: true });
    }
    // Pairs with its checkpoint, and cannot be audited.
    const { weight, gradient } = syntheticBatch({ classes: 10, features: 8, batch: 1, random: generator(1) });
    writeSafetensors(join(workspace, 'broken', 'checkpoint.safetensors'), { 'fc.weight': weight });
    gradient.data.fill(Number.NaN);
    writeSafetensors(join(workspace, 'broken', 'gradient.safetensors'), { 'fc.weight': gradient });
    mkdirSync(join(folder, 'redis'));
    server = await startRedis(join(folder, 'redis'), [
      ...['--appendonly', 'yes', '--maxmemory-policy', 'allkeys-lru', '--requirepass', 'nobody-knows'],
      ...['--user', USER, 'on', `>${PASSWORD}`, '~*', '&*', '+@all'],
    ]);
    session = await openEditor({ folder, workspace, command: SUBMIT });
    ({ workbench } = session);
  });

  afterAll(async () => {
    worker?.kill('SIGKILL');
    await server.stop();
    await session.end('queue-last');
  });

  async function answer(title: string | RegExp, text: string): Promise<void> {
    const { page } = workbench;
    await page.locator('.quick-input-title', { hasText: title }).waitFor({ timeout: 30_000 });
    await page.locator('.quick-input-widget input.input').fill(text);
    await page.waitForTimeout(300);
    await page.keyboard.press('Enter');
  }

  function statusBar(): Locator {
    return workbench.page.locator('.statusbar-item', { hasText: 'GradLeak:' });
  }

  /** Empty for one that has ended, or is somebody else's. */
  function ofProcess(pid: string, what: 'cmdline' | 'environ'): string {
    try {
      return readFileSync(join('/proc', pid, what), 'latin1');
    } catch {
      return '';
    }
  }

  function startWorker(): void {
    worker = spawn(process.execPath, [join(ROOT, 'dist', 'cli.js'), 'queue', 'work', '--out', store], {
      env: { ...process.env, GRADLEAK_QUEUE: server.url.replace('//', `//${USER}:${PASSWORD}@`) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [worker.stdout, worker.stderr]) {
      stream?.on('data', (text: Buffer) => {
        printed += text.toString();
      });
    }
  }

  it('asks for the server, the store, and who this is; a wrong password is said, and entered again', async () => {
    await workbench.runCommand(SUBMIT);
    await answer('Queue: Server', server.url);
    await answer('Queue: Store', store);
    await answer('Queue: User at', USER);
    await answer('Queue: Password at', 'wrong');
    const refused = workbench.notification('a server that does not let this user in (WRONGPASS');
    await refused.waitFor({ timeout: 30_000 });
    await workbench.page.waitForTimeout(500);
    await workbench.screenshot('queue-refused-dark');
    await refused.getByRole('button', { name: 'Enter user and password' }).click();
    await answer('Queue: User at', USER);
    await answer('Queue: Password at', PASSWORD);
    await workbench.notification('The server drops keys when its memory is full').waitFor({ timeout: 30_000 });
    await workbench.page.locator('.quick-input-title', { hasText: 'Submit 5 gradients' }).waitFor({ timeout: 60_000 });
    await workbench.page.keyboard.press('Enter');
  });

  it('shows that the jobs wait, and that nobody takes them', async () => {
    await expect.poll(() => statusBar().textContent(), { timeout: 60_000 }).toContain('0 of 5');
    await workbench.notification('No worker takes jobs at').waitFor({ timeout: 30_000 });
    await workbench.runCommand('Focus on Workspace Audit View');
    await workbench.page.getByText('0 of 5: 5 waiting').first().waitFor({ timeout: 20_000 });
    await workbench.webview('main > [role="status"]', '0 of 5: 5 waiting');
    await workbench.screenshot('queue-waiting-dark');
  });

  it.runIf(existsSync('/proc/self/environ'))('has a child for it, to which the password came by no argument', () => {
    const children = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => ({ command: ofProcess(pid, 'cmdline'), environment: ofProcess(pid, 'environ') }))
      .filter(({ command }) => command.includes('queue-runner.js'));
    expect(children.length).toBeGreaterThan(0);
    for (const { command, environment } of children) {
      expect(environment).toContain('PATH=');
      expect(command + environment).not.toContain(PASSWORD);
    }
  });

  it('goes on following after a reload of the window', async () => {
    await workbench.page.reload();
    await workbench.waitForCommand('GradLeak: Show Queue');
    await expect.poll(() => statusBar().textContent(), { timeout: 60_000 }).toContain('0 of 5');
  });

  it('shows the results of the worker, and which job failed and why', async () => {
    startWorker();
    await workbench
      .notification(/4 of 5 jobs of the queue are done\. 1 failed: broken\/gradient\.safetensors: found NaN/)
      .waitFor({ timeout: 120_000 })
      .catch((error: unknown) => {
        throw new Error(`The worker said: ${printed}`, { cause: error });
      });
    const summary = await workbench.webview('h1', /4 of 5 gradients leak/);
    await workbench.page.waitForTimeout(500);
    await workbench.screenshot('queue-done-dark');
    expect(await summary.locator('.severity').count()).toBe(4);
    await workbench.runCommand('Focus on Workspace Audit View');
    const row = workbench.page.locator('.pane-body .monaco-list-row', { hasText: 'float64' });
    await row.first().click();
    await workbench.webview('h1', 'This gradient gives away its one sample');
    expect(readdirSync(join(store, 'entries'))).toHaveLength(4);
  });

  it('shows the queue, and cancels what waits', async () => {
    const { page } = workbench;
    worker?.kill('SIGKILL');
    await workbench.runCommand('Notifications: Clear All Notifications');
    await workbench.runCommand('GradLeak: Show Queue');
    await page.locator('.quick-input-title', { hasText: '4 of 5 done, 1 failed' }).waitFor({ timeout: 30_000 });
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'broken/gradient.safetensors' }).waitFor();
    await workbench.screenshot('queue-state-dark');
    await page.locator('.quick-input-list .monaco-list-row', { hasText: 'Try failed jobs again' }).click();
    await workbench.notification('1 job waiting again').waitFor({ timeout: 30_000 });
    await expect.poll(() => statusBar().textContent(), { timeout: 30_000 }).toContain('4 of 5');
    await workbench.runCommand('GradLeak: Cancel Jobs in Queue');
    const dialog = page.locator('.monaco-dialog-box');
    await dialog.waitFor({ timeout: 20_000 });
    await workbench.screenshot('queue-cancel-dark');
    await dialog.getByRole('button', { name: 'Remove Jobs' }).click();
    await workbench.notification('1 job removed from the queue. 4 of 5 have results').waitFor({ timeout: 30_000 });
  });

  it('writes the password nowhere, and forgets it', async () => {
    const { userData } = session.server;
    expect(session.server.log()).not.toContain(PASSWORD);
    for (const place of [userData, store, workspace]) {
      for (const file of readdirSync(place, { recursive: true, withFileTypes: true })) {
        const path = join(file.parentPath, file.name);
        if (file.isFile() && existsSync(path)) {
          expect(readFileSync(path).includes(PASSWORD), path).toBe(false);
        }
      }
    }
    // The editor shows no fourth notification that comes within a second.
    await workbench.page.waitForTimeout(1500);
    await workbench.runCommand('GradLeak: Forget Credentials of Queues');
    await workbench.notification(`User and password are forgotten of ${server.url}`).waitFor({ timeout: 20_000 });
  });
});
