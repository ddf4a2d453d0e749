import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Locator } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EditorSession, openEditor } from './editor-session.js';
import type { Workbench } from './workbench.js';

/** The list of audits with what can be done with each, and the ways between audits and what they are of. */

const ROOT = join(import.meta.dirname, '..', '..');

describe('the list of audits', () => {
  let folder: string;
  let workspace: string;
  let session: EditorSession;
  let workbench: Workbench;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-audits-'));
    workspace = join(folder, 'workspace');
    mkdirSync(workspace);
    cpSync(join(ROOT, 'media', 'example'), join(workspace, 'example'), { recursive: true });
    const capture = join(workspace, 'captures', 'train-1');
    cpSync(join(ROOT, 'test', 'fixtures', 'e2e', 'capture'), capture, { recursive: true });
    const script = join(workspace, 'train.py');
    cpSync(join(ROOT, 'test', 'fixtures', 'e2e', 'train.py'), script);
    const notes = JSON.parse(readFileSync(join(capture, 'capture.json'), 'utf8')) as object;
    writeFileSync(join(capture, 'capture.json'), JSON.stringify({ ...notes, script, line: 18 }));
    session = await openEditor({ folder, workspace, command: 'GradLeak: Audit Gradient File...' });
    ({ workbench } = session);
  });

  afterAll(async () => {
    await session.end('audits-last');
  });

  function view(title: string): Locator {
    return workbench.page.locator('.pane', { has: workbench.page.locator(`.pane-header[aria-label^="${title}"]`) });
  }

  function rows(text: string | RegExp, title = 'Audits'): Locator {
    return view(title).locator('.pane-body .monaco-list-row', { hasText: text });
  }

  /** Folders of single audits in the extension's storage. */
  function stored(): string[] {
    const storages = join(session.server.userData, 'User', 'workspaceStorage');
    return readdirSync(storages)
      .map((name) => join(storages, name, 'gradleak.gradleak', 'audits'))
      .filter((path) => existsSync(path))
      .flatMap((path) => readdirSync(path));
  }

  it('starts from its welcome text, and takes the one checkpoint that fits without asking', async () => {
    const { page } = workbench;
    await workbench.runCommand('Focus on Audits View');
    const start = view('Audits').getByRole('button', { name: 'Audit Gradient File...' }).last();
    await start.waitFor({ timeout: 30_000 });
    await workbench.screenshot('audits-welcome');
    await start.click();
    await workbench.pick('which gradient?', 'train-1/gradient.pt');
    await workbench.webview('h1', 'This gradient gives away its one sample');
    await rows('train-1/gradient.pt').waitFor({ timeout: 30_000 });
    expect(await rows('train-1/gradient.pt').textContent()).toMatch(/Leaks at .*critical/);
    await page.locator('.statusbar-item', { hasText: 'GradLeak: Leaks' }).waitFor({ timeout: 20_000 });
  });

  it('leads from the panel to the line that captured, to the inspector, and from there to the audit', async () => {
    const { page } = workbench;
    const panel = await workbench.webview('h1', 'This gradient gives away its one sample');
    await panel.getByRole('button', { name: 'train.py:18' }).click();
    await page.locator('.tab.active', { hasText: 'train.py' }).waitFor({ timeout: 20_000 });
    await page.locator('.statusbar', { hasText: 'Ln 18, Col 1' }).waitFor({ timeout: 20_000 });
    await page.locator('.tab', { hasText: 'train-1/gradient.pt' }).click();
    const again = await workbench.webview('h1', 'This gradient gives away its one sample');
    await again.getByRole('button', { name: 'gradient.pt', exact: true }).click();
    const inspector = await workbench.webview('h1', /gradient\.pt$/);
    await inspector.locator('#audited').waitFor({ timeout: 20_000 });
    await workbench.screenshot('audits-inspector');
    await inspector.locator('#audited').getByRole('button', { name: 'Leaks' }).click();
    await page.locator('.tab.active', { hasText: 'GradLeak: train-1/gradient.pt' }).waitFor({ timeout: 20_000 });
    const back = await workbench.webview('h1', 'This gradient gives away its one sample');
    await back.getByRole('button', { name: 'checkpoint.pt', exact: true }).click();
    const checkpoint = await workbench.webview('h1', /checkpoint\.pt$/);
    await checkpoint.locator('#audited').waitFor({ timeout: 20_000 });
    await workbench.closeEditors();
  });

  it('runs an audit again, as it was and with a change', async () => {
    const { page } = workbench;
    await workbench.chooseFromMenu(rows('train-1/gradient.pt').first(), 'Re-run Audit');
    await expect.poll(() => rows('train-1/gradient.pt').count(), { timeout: 30_000 }).toBe(2);
    await workbench.webview('h1', 'This gradient gives away its one sample');
    await workbench.closeEditors();
    await workbench.chooseFromMenu(rows('train-1/gradient.pt').first(), 'Re-run Audit With');
    await workbench.pick('Re-run train-1/gradient.pt With', 'Inputs');
    await workbench.pick('Inputs', 'labels and features only');
    await page.locator('.quick-input-title', { hasText: 'Re-run train-1/gradient.pt With' }).waitFor();
    await workbench.screenshot('audits-rerun-with');
    await workbench.pick('Re-run train-1/gradient.pt With', 'Run');
    await expect.poll(() => rows('train-1/gradient.pt').count(), { timeout: 30_000 }).toBe(3);
    const panel = await workbench.webview('h1', 'This gradient gives away its one sample');
    expect(await panel.locator('h1').first().textContent()).not.toContain('the input itself');
    await workbench.closeEditors();
  });

  it('shows two audits side by side', async () => {
    const { page } = workbench;
    await rows('train-1/gradient.pt').nth(0).click();
    await rows('train-1/gradient.pt')
      .nth(1)
      .click({ modifiers: ['ControlOrMeta'] });
    await workbench.chooseFromMenu(rows('train-1/gradient.pt').nth(1), 'Compare Audits');
    await expect.poll(() => page.locator('.editor-group-container .tab.active').count(), { timeout: 20_000 }).toBe(2);
    for (const [theme, name] of [
      ['Light Modern', 'light'],
      ['Dark High Contrast', 'high-contrast'],
      ['Dark Modern', 'dark'],
    ] as const) {
      await workbench.useTheme(theme);
      await page.waitForTimeout(1200);
      await workbench.screenshot(`audits-${name}`);
    }
    await workbench.closeEditors();
  });

  it('tries defences on an audited gradient, lets the picture dissolve, and copies the lines for Opacus', async () => {
    const { page } = workbench;
    const before = stored().length;
    await workbench.chooseFromMenu(rows('train-1/gradient.pt').first(), 'What Would Stop This Leak');
    await workbench.pick('What Would Stop This Leak', 'Quick');
    const panel = await workbench.webview('.defences svg.defence-chart', 'stopped', 120_000);
    await panel.locator('.defences').getByRole('button', { name: 'Try defences' }).waitFor({ timeout: 120_000 });
    const section = panel.locator('.defences');
    const chart = section.locator('svg.defence-chart');
    await chart.scrollIntoViewIfNeeded();
    await session.browser.grantPermissions(['clipboard-read', 'clipboard-write']);
    const chosen = section.locator('output');
    const box = (await chart.boundingBox())!;
    await page.mouse.move(box.x + box.width * 0.25, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.5, box.y + box.height / 2, { steps: 4 });
    const middle = await chosen.textContent();
    await page.mouse.move(box.x + box.width * 0.95, box.y + box.height / 2, { steps: 4 });
    await page.mouse.up();
    expect(await chosen.textContent()).not.toBe(middle);
    await workbench.screenshot('defences');
    await section.getByText('Settings of this level').click();
    await section.getByRole('button', { name: 'Copy the lines for Opacus' }).click();
    await page.waitForTimeout(500);
    expect(await page.evaluate('navigator.clipboard.readText()')).toContain('noise_multiplier=');
    // What the audit wrote stays, beside what was tried.
    expect(stored()).toHaveLength(before);
    await workbench.closeEditors();
  });

  it('deletes by key after asking, and what is kept stays', async () => {
    const { page } = workbench;
    const dialog = page.locator('.monaco-dialog-box');
    expect(stored()).toHaveLength(3);
    await rows('train-1/gradient.pt').first().click();
    await workbench.closeEditors();
    await workbench.runCommand('Focus on Audits View');
    await page.waitForTimeout(500);
    await page.keyboard.press('Delete');
    await dialog.filter({ hasText: 'Delete the audit of train-1/gradient.pt?' }).waitFor({ timeout: 20_000 });
    await workbench.screenshot('audits-delete');
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'detached' });
    expect(stored()).toHaveLength(3);
    await workbench.chooseFromMenu(rows('train-1/gradient.pt').first(), 'Delete Audit');
    await dialog.getByRole('button', { name: 'Delete', exact: true }).click();
    // A server has no trash.
    await dialog.getByRole('button', { name: 'Delete Permanently' }).click();
    await expect.poll(() => rows('train-1/gradient.pt').count(), { timeout: 20_000 }).toBe(2);
    expect(stored()).toHaveLength(2);
    expect(existsSync(join(workspace, 'captures', 'train-1', 'gradient.pt'))).toBe(true);
  });

  it('leads from a problem to its audit, and offers the same of a workspace’s audits', async () => {
    const { page } = workbench;
    await workbench.runCommand('GradLeak: Audit Workspace');
    await page.locator('.quick-input-title', { hasText: /Audit \d+ gradients/ }).waitFor({ timeout: 60_000 });
    await page.keyboard.press('Enter');
    await page.locator('.statusbar-item', { hasText: 'GradLeak: 2 of 2 leak' }).waitFor({ timeout: 60_000 });
    await workbench.closeEditors();
    await workbench.runCommand('Problems: Focus on Problems View');
    await page
      .locator('.markers-panel .monaco-list-row', { hasText: 'This gradient gives away its one sample' })
      .first()
      .dblclick();
    await page.locator('.tab.active', { hasText: 'train.py' }).waitFor({ timeout: 20_000 });
    await page.waitForTimeout(500);
    await page.keyboard.press('Control+.');
    const action = page.locator('.action-widget .monaco-list-row', {
      hasText: 'Show the audit of captures/train-1/gradient.pt',
    });
    await action.first().waitFor({ timeout: 20_000 });
    await workbench.screenshot('audits-problem');
    await page.keyboard.press('Enter');
    await workbench.webview('h1', 'This gradient gives away its one sample');
    await workbench.closeEditors();
    await workbench.runCommand('View: Toggle Panel Visibility');
    await workbench.chooseFromMenu(rows('train-1', 'Workspace Audit').first(), 'Inspect Gradient');
    await workbench.webview('h1', /gradient\.pt$/);
    await workbench.chooseFromMenu(rows('train-1', 'Workspace Audit').first(), 'Re-run Audit');
    await expect.poll(() => rows('train-1/gradient.pt').count(), { timeout: 30_000 }).toBe(3);
  });
});
