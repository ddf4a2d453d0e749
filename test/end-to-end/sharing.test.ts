import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EditorSession, openEditor } from './editor-session.js';
import type { Workbench } from './workbench.js';

/** What somebody does with an audit that is done: compare it with a truth, and save it as a page to pass on. */

const DUMP = join(import.meta.dirname, '..', 'fixtures', 'dumps', 'k10_hard_bias_default');
const AUDIT = 'GradLeak: Audit Gradient File...';

describe('an audit that is passed on', () => {
  let folder: string;
  let workspace: string;
  let session: EditorSession;
  let workbench: Workbench;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-e2e-sharing-'));
    workspace = join(folder, 'workspace');
    mkdirSync(workspace);
    cpSync(DUMP, join(workspace, 'beside'), { recursive: true });
    cpSync(DUMP, join(workspace, 'apart'), { recursive: true });
    renameSync(join(workspace, 'apart', 'truth.json'), join(workspace, 'known.json'));
    mkdirSync(join(workspace, '.vscode'));
    writeFileSync(
      join(workspace, '.vscode', 'settings.json'),
      JSON.stringify({ 'files.simpleDialog.enable': true, 'gradleak.reconstruction.attack': 'none' }),
    );
    session = await openEditor({ folder, workspace, command: AUDIT });
    ({ workbench } = session);
  });

  afterAll(async () => {
    await session.end('sharing-last');
  });

  async function audit(name: string): Promise<void> {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', `${name}/gradient.pt`);
  }

  it('shows a truth that lies beside the gradient, and says that it took no part', async () => {
    await audit('beside');
    const panel = await workbench.webview('h1', 'gives away its one sample');
    expect(await panel.locator('header.verdict').innerText()).toContain(
      'Compared with truth.json (found beside the file, not used)',
    );
    await workbench.closeEditors();
  });

  it('compares with a truth that is chosen, by button and by command', async () => {
    await audit('apart');
    const panel = await workbench.webview('h1', 'gives away its one sample');
    expect(await panel.getByText('Against the truth').count()).toBe(0);
    const found = await panel.locator('h1').innerText();
    await panel.getByRole('button', { name: /^Choose truth/ }).click();
    await workbench.answerFileDialog('apart', join(workspace, 'known.json'));
    await panel
      .getByText('Compared with known.json (chosen after the audit, not used)')
      .first()
      .waitFor({ timeout: 30_000 });
    expect(await panel.getByText('Against the truth').count()).toBe(2);
    expect(await panel.locator('h1').innerText()).toBe(found);
    await workbench.screenshot('sharing-truth');
    await workbench.runCommand('GradLeak: Choose Truth...');
    await workbench.answerFileDialog('apart', join(workspace, '.vscode', 'settings.json'));
    await workbench.notification('no labels, features or inputs of the sizes').waitFor({ timeout: 30_000 });
    await workbench.runCommand('Notifications: Clear All Notifications');
    expect(await panel.getByText('Compared with known.json').count()).toBeGreaterThan(0);
  });

  it('saves a page that can be filed', async () => {
    const panel = await workbench.webview('h1', 'gives away its one sample');
    const target = join(workspace, 'filed.html');
    await panel.getByRole('button', { name: /^Save page/ }).click();
    await workbench.answerFileDialog('report.html', target);
    await expect.poll(() => existsSync(target), { timeout: 20_000 }).toBe(true);
    expect(readFileSync(target, 'utf8')).not.toContain(workspace);
    const page = await session.browser.newPage();
    await page.goto(`file://${target}`);
    await page.locator('.evidence > summary').click();
    const text = await page.locator('main').innerText();
    for (const wanted of [
      /\d{4}-\d\d-\d\d \d\d:\d\d UTC/,
      /SHA-256/,
      /[0-9a-f]{64}/,
      /It assumes that/,
      /What this report does not tell/,
    ]) {
      expect(text).toMatch(wanted);
    }
    await page.close();
  });
});
