import { cpSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, expect, it } from 'vitest';
import { type EditorSession, openEditor } from './editor-session.js';

/** What somebody who reads nothing sees: the extension installed, a folder with a dump opened, two clicks. */

const ROOT = join(import.meta.dirname, '..', '..');

let session: EditorSession | undefined;

afterAll(async () => {
  await session?.end();
});

it('is a leak, two clicks in the Explorer after the installation', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-first-'));
  const workspace = join(folder, 'dump');
  cpSync(join(ROOT, 'media', 'example'), workspace, { recursive: true });
  const started = performance.now();
  session = await openEditor({ folder, workspace });
  const { workbench } = session;
  const { page } = workbench;
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
    `First leak ${seconds(started, seen)} s after the installation began: installing, starting VS Code and the folder on screen ` +
      `${seconds(started, opened)} s, two clicks and the audit ${seconds(opened, seen)} s.`,
  );
});
