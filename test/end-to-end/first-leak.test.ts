import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { BrowserContext } from 'playwright-core';
import { VSIX } from './package-extension.js';
import { type VsCodeServer, startVsCode } from './vscode-server.js';
import { Workbench, openBrowser } from './workbench.js';

/** What somebody who reads nothing sees: the extension installed, a folder with a dump opened, two clicks. */

const ROOT = join(import.meta.dirname, '..', '..');

let folder: string;
let browser: BrowserContext;
let server: VsCodeServer | undefined;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gradleak-first-'));
  cpSync(join(ROOT, 'media', 'example'), join(folder, 'dump'), { recursive: true });
  browser = await openBrowser(join(folder, 'profile'));
});

afterAll(async () => {
  await browser.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it('is a leak, two clicks in the Explorer after the installation', async () => {
  const started = performance.now();
  server = await startVsCode({ workspace: join(folder, 'dump'), vsix: VSIX, trust: true });
  const installed = performance.now();
  const page = browser.pages()[0] ?? (await browser.newPage());
  await page.goto(server.url);
  const workbench = new Workbench(page);
  const dump = page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'gradient.pt' });
  await dump.waitFor({ timeout: 120_000 });
  // Menus have an extension's entries once its icon is there.
  await page.locator('.activitybar .action-item a[aria-label^="GradLeak"]').waitFor({ timeout: 60_000 });
  const opened = performance.now();
  await workbench.chooseFromMenu(dump, 'Audit Gradient File');
  const panel = await workbench.webview('h1', 'the label is seven', 120_000);
  const seen = performance.now();
  await workbench.screenshot('first-leak');
  expect(await panel.locator('h1').first().textContent()).toContain('gives away its one sample');
  expect(await page.locator('.quick-input-widget:visible').count()).toBe(0);
  const seconds = (from: number, to: number): string => ((to - from) / 1000).toFixed(1);
  console.log(
    `First leak ${seconds(started, seen)} s after the installation began: installing and starting VS Code ` +
      `${seconds(started, installed)} s, the folder on screen ${seconds(installed, opened)} s, two clicks and the audit ${seconds(opened, seen)} s.`,
  );
});
