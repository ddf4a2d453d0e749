import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Frame } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TensorStatistics } from '../../src/protocol/inspection.js';
import { generator } from '../../src/recovery/paper-method.js';
import { syntheticBatch, writeSafetensors } from '../write-fixtures.js';
import { type EditorSession, openEditor } from './editor-session.js';
import type { Workbench } from './workbench.js';

/** Where people work: the inspector, prompts on a training script, the audit of a workspace. */

const FIXTURES = join(import.meta.dirname, '..', 'fixtures');
const THEMES = [
  ['light', 'Light Modern'],
  ['high-contrast', 'Dark High Contrast'],
  ['dark', 'Dark Modern'],
] as const;

/** A Python with PyTorch, undefined where there is none: then a capture made before is dropped in. */
function pythonWithTorch(): string | undefined {
  return [process.env.GRADLEAK_PYTHON, 'python3'].find((python) => {
    try {
      execFileSync(python ?? '', ['-c', 'import torch'], { stdio: 'ignore', timeout: 60_000 });
      return true;
    } catch {
      return false;
    }
  });
}

describe('the packaged extension at work', () => {
  let folder: string;
  let workspace: string;
  let session: EditorSession;
  let workbench: Workbench;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-work-'));
    workspace = join(folder, 'workspace');
    mkdirSync(join(workspace, '.vscode'), { recursive: true });
    for (const name of ['first.pt', 'second.pt']) {
      cpSync(join(FIXTURES, 'inspection', name), join(workspace, 'grads', name));
    }
    cpSync(join(FIXTURES, 'e2e', 'train.py'), join(workspace, 'train.py'));
    const dumps = readdirSync(join(FIXTURES, 'dumps')).filter((name) =>
      /^(k10_|k17_|k100_|clipped|confident|float|bfloat)/.test(name),
    );
    for (const name of dumps) {
      cpSync(join(FIXTURES, 'dumps', name), join(workspace, 'dumps', name), { recursive: true });
    }
    expect(dumps.length).toBeGreaterThanOrEqual(29);
    // One that takes a while, in the middle: a batch of which samples are searched for until the time limit.
    const big = syntheticBatch({ classes: 1000, features: 1024, batch: 300, random: generator(1) });
    writeSafetensors(join(workspace, 'dumps', 'k10_slow', 'checkpoint.safetensors'), { 'fc.weight': big.weight });
    writeSafetensors(join(workspace, 'dumps', 'k10_slow', 'gradient.safetensors'), { 'fc.weight': big.gradient });
    writeFileSync(
      join(workspace, '.vscode', 'settings.json'),
      JSON.stringify({
        'gradleak.audit.batchTimeLimit': 5,
        'gradleak.project.concurrency': 1,
        'files.simpleDialog.enable': true,
        'editor.codeLens': true,
      }),
    );
    writeFileSync(
      join(workspace, '.vscode', 'tasks.json'),
      JSON.stringify({
        version: '2.0.0',
        tasks: [
          {
            type: 'gradleak',
            folder: 'dumps/k10_hard_bias_default',
            args: ['--out', 'task-report'],
            label: 'audit one',
          },
        ],
      }),
    );
    cpSync(join(FIXTURES, 'scripts', 'notebook.ipynb'), join(workspace, 'notebook.ipynb'));
    session = await openEditor({ folder, workspace, command: 'GradLeak: Audit Workspace' });
    ({ workbench } = session);
  });

  afterAll(async () => {
    await session.end('work-last');
  });

  async function inEveryTheme(name: string): Promise<void> {
    for (const [theme, title] of THEMES) {
      await workbench.useTheme(title);
      await workbench.page.waitForTimeout(1200);
      await workbench.screenshot(`work-${name}-${theme}`);
    }
  }

  function titleOf(inspector: Frame, row: string, column: number): Promise<string | null> {
    return inspector
      .locator('#table .body .row', { has: inspector.locator(`.name[title="${row}"]`) })
      .locator('[role="gridcell"]')
      .nth(column)
      .getAttribute('title');
  }

  it('opens a dump by a click, with PyTorch’s statistics in the table', async () => {
    const { page } = workbench;
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'grads' }).click();
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'first.pt' }).dblclick();
    const inspector = await workbench.webview('h1', 'first.pt');
    expect(await inspector.locator('h1 vscode-tag').textContent()).toBe('Gradient');
    const { statistics } = JSON.parse(readFileSync(join(FIXTURES, 'inspection', 'expected.json'), 'utf8')) as {
      statistics: Record<string, TensorStatistics | null>;
    };
    for (const name of ['conv1.weight', 'block.0.weight', 'fc.weight', 'fc.bias']) {
      const truth = statistics[name]!;
      for (const [at, key] of (['min', 'max', 'mean', 'std', 'norm'] as const).entries()) {
        await expect.poll(() => titleOf(inspector, name, 5 + at), { timeout: 20_000 }).not.toBeNull();
        const shown = Number(await titleOf(inspector, name, 5 + at));
        expect(Math.abs(shown - truth[key]!), `${name} ${key}`).toBeLessThanOrEqual(1e-6 * Math.abs(truth[key]!));
      }
    }
  });

  it('shows a heat map with the value under the pointer', async () => {
    const inspector = await workbench.webview('h1', 'first.pt');
    await inspector.locator('#table .body .row', { has: inspector.locator('.name[title="fc.weight"]') }).click();
    await inspector.locator('#heat-map').waitFor();
    await inspector.locator('#heat-map').hover();
    await expect.poll(() => inspector.locator('#readout').textContent()).toMatch(/^\[\d+, \d+\]: -?\d/);
    await inEveryTheme('inspector');
  });

  it('compares it with another round', async () => {
    const inspector = await workbench.webview('h1', 'first.pt');
    await inspector.getByRole('button', { name: 'Compare with...' }).click();
    await workbench.pick('Compare first.pt with', 'second.pt');
    await inspector.locator('.compared').waitFor();
    const row = inspector.locator('#table .body .row', { has: inspector.locator('.name[title="conv1.weight"]') });
    await expect.poll(() => row.locator('.changed').count(), { timeout: 20_000 }).toBe(1);
    await workbench.screenshot('work-diff-dark');
  });

  it('follows a change of the file', async () => {
    const inspector = await workbench.webview('h1', 'first.pt');
    cpSync(join(FIXTURES, 'inspection', 'round3.pt'), join(workspace, 'grads', 'first.pt'));
    await expect
      .poll(() => inspector.locator('h1 vscode-tag').textContent(), { timeout: 20_000 })
      .toBe('Delta of weights');
    rmSync(join(workspace, 'grads'), { recursive: true });
    await workbench.closeEditors();
  });

  it('a lens inserts a capture, and one undo takes it back', async () => {
    const { page } = workbench;
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'train.py' }).dblclick();
    const lens = page.locator('.codelens-decoration a', { hasText: 'Capture gradients here' });
    await lens.waitFor({ timeout: 30_000 });
    expect(await lens.count()).toBe(1);
    await inEveryTheme('lens');
    await lens.click();
    // The editor draws spaces as no-break spaces.
    const text = async (): Promise<string> =>
      (await page.locator('.view-lines').first().innerText()).replace(/\u00a0/g, ' ');
    await expect.poll(text, { timeout: 20_000 }).toContain('gradleak_capture.capture(model');
    expect(existsSync(join(workspace, 'gradleak_capture.py'))).toBe(true);
    await page
      .locator('.codelens-decoration', { hasText: 'The next run captures a gradient here' })
      .waitFor({ timeout: 20_000 });
    await page.locator('.view-lines').first().click();
    await page.keyboard.press('Control+z');
    await expect.poll(text).not.toContain('gradleak_capture');
    await page.keyboard.press('Control+y');
    await expect.poll(text).toContain('import gradleak_capture');
    await workbench.runCommand('File: Save');
    await expect
      .poll(() => readFileSync(join(workspace, 'train.py'), 'utf8'))
      .toContain(
        'gradleak_capture.capture(model, x, y, lambda outputs, labels: F.cross_entropy(outputs, labels, label_smoothing=0.1)',
      );
  });

  it('in a Flower client a lens captures what is sent, with the weights before, and one undo takes both back', async () => {
    const { page } = workbench;
    cpSync(join(FIXTURES, 'scripts', 'flower_messages.py'), join(workspace, 'client.py'));
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'client.py' }).dblclick();
    const lens = page.locator('.codelens-decoration a', { hasText: 'Capture what is sent here' });
    await lens.waitFor({ timeout: 30_000 });
    await lens.click();
    const text = async (): Promise<string> =>
      (await page.locator('.view-lines').first().innerText()).replace(/\u00a0/g, ' ');
    await expect.poll(text, { timeout: 20_000 }).toContain('gradleak_capture.capture_update(gradleak_before');
    expect(await text()).toContain('gradleak_before = gradleak_capture.weights_of(msg.content["arrays"]');
    await page
      .locator('.codelens-decoration', { hasText: 'The next run captures what is sent here' })
      .waitFor({ timeout: 20_000 });
    await workbench.screenshot('work-lens-sent-dark');
    await page.locator('.view-lines').first().click();
    await page.keyboard.press('Control+z');
    await expect.poll(text).not.toContain('gradleak');
    await workbench.closeEditors();
    rmSync(join(workspace, 'client.py'));
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'train.py' }).dblclick();
  });

  it('hints are information, with their code, in the Problems view', async () => {
    const { page } = workbench;
    await workbench.runCommand('Problems: Focus on Problems View');
    await page.locator('.markers-panel .monaco-list-row', { hasText: 'Batch size 1' }).waitFor({ timeout: 20_000 });
    await page.locator('.markers-panel .monaco-list-row', { hasText: 'Label smoothing hides nothing' }).waitFor();
    await workbench.screenshot('work-hints-dark');
  });

  it('the script runs, and the lens then shows what its capture gave away', async () => {
    const { page } = workbench;
    const script = join(workspace, 'train.py');
    const python = pythonWithTorch();
    if (python === undefined) {
      const capture = join(workspace, 'captures', 'train-1');
      cpSync(join(FIXTURES, 'e2e', 'capture'), capture, { recursive: true });
      const notes = JSON.parse(readFileSync(join(capture, 'capture.json'), 'utf8')) as object;
      writeFileSync(join(capture, 'capture.json'), JSON.stringify({ ...notes, script }));
    } else {
      execFileSync(python, [script], { cwd: workspace, stdio: 'pipe' });
    }
    expect(readdirSync(join(workspace, 'captures', 'train-1'))).toEqual(
      expect.arrayContaining(['gradient.pt', 'checkpoint.pt']),
    );
    const lens = page.locator('.codelens-decoration a', { hasText: 'Audit last capture' });
    await lens.waitFor({ timeout: 30_000 });
    await lens.click();
    await workbench.webview('h1', 'This gradient gives away its one sample');
    await page.locator('.tab', { hasText: 'train.py' }).click();
    await page
      .locator('.codelens-decoration a', { hasText: /Audit last capture: 1 of 1 label and 1 input leaked/ })
      .waitFor({ timeout: 30_000 });
    await workbench.screenshot('work-leaked-dark');
    await workbench.closeEditors();
  });

  it('audits the workspace, is stopped half-way, and goes on to the end', async () => {
    const { page } = workbench;
    await workbench.runCommand('View: Toggle Panel Visibility');
    await workbench.runCommand('GradLeak: Audit Workspace');
    await page.locator('.quick-input-title', { hasText: /Audit \d+ gradients/ }).waitFor({ timeout: 60_000 });
    await page.keyboard.press('Enter');
    const summary = await workbench.webview('[role="status"], h1', /k10_|gradients? leaks?/);
    await summary.getByRole('button', { name: 'Stop' }).waitFor({ timeout: 60_000 });
    await expect
      .poll(() => summary.locator('.verdict [role="status"]').textContent(), { timeout: 60_000 })
      .toMatch(/k10_mixup_smooth/);
    await summary.getByRole('button', { name: 'Stop' }).click();
    await summary.getByRole('button', { name: 'Resume' }).waitFor({ timeout: 30_000 });
    const half = await summary.locator('.severity').count();
    const all = await summary.locator('table.entries tbody tr').count();
    expect(all).toBeGreaterThanOrEqual(30);
    expect(half).toBeGreaterThan(3);
    expect(half).toBeLessThan(all);
    await workbench.screenshot('work-stopped-dark');
    await summary.getByRole('button', { name: 'Resume' }).click();
    await summary.getByRole('button', { name: 'Audit again' }).waitFor({ timeout: 120_000 });
    expect(await summary.locator('.entries .problem').allTextContents()).toEqual([]);
    expect(await summary.locator('.severity').count()).toBe(all);
  });

  it('shows runs and rounds in a tree, and problems on the script’s line', async () => {
    const { page } = workbench;
    await workbench.runCommand('Focus on Workspace Audit View');
    const view = page.locator('.pane', { has: page.locator('.pane-header[aria-label^="Workspace Audit"]') });
    const row = view.locator('.pane-body .monaco-list-row', { hasText: /train-1/ });
    await row.waitFor({ timeout: 20_000 });
    expect(await row.textContent()).toContain('1 of 1 label');
    await inEveryTheme('summary');
    await row.click();
    await workbench.webview('h1', 'This gradient gives away its one sample');
    await workbench.runCommand('Problems: Focus on Problems View');
    await page
      .locator('.markers-panel .monaco-list-row', { hasText: 'This gradient gives away its one sample' })
      .waitFor({ timeout: 20_000 });
  });

  it('writes SARIF where the user says', async () => {
    await workbench.runCommand('GradLeak: Save Findings as SARIF');
    const target = join(workspace, 'findings.sarif');
    await workbench.answerFileDialog('gradleak.sarif', target);
    await expect.poll(() => existsSync(target), { timeout: 20_000 }).toBe(true);
    const log = JSON.parse(readFileSync(target, 'utf8')) as {
      version: string;
      runs: { results: { locations: { physicalLocation: { artifactLocation: { uri: string } } }[] }[] }[];
    };
    expect(log.version).toBe('2.1.0');
    const places = log.runs[0]!.results.map(({ locations }) => locations[0]!.physicalLocation.artifactLocation.uri);
    expect(new Set(places).size).toBeGreaterThanOrEqual(30);
    expect(places).toContain('train.py');
  });

  it('offers its tasks; running one takes a terminal, which this server has not', async () => {
    const { page } = workbench;
    await workbench.runCommand('Tasks: Run Task');
    await page
      .locator('.quick-input-list .monaco-list-row', { hasText: 'audit one' })
      .first()
      .waitFor({ timeout: 30_000 });
    await page.keyboard.press('Escape');
    await workbench.runCommand('View: Toggle Panel Visibility');
  });

  it('shows lenses and hints in the cells of a notebook', async () => {
    const { page } = workbench;
    await workbench.runCommand('View: Show Explorer');
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'notebook.ipynb' }).dblclick();
    await page
      .locator('.notebook-editor .codelens-decoration a', { hasText: 'Capture gradients here' })
      .waitFor({ timeout: 40_000 });
    await workbench.screenshot('work-notebook-dark');
    await workbench.closeEditors();
  });

  it('leads in by a walkthrough with the bundled example', async () => {
    const { page } = workbench;
    await workbench.runCommand('Welcome: Open Walkthrough');
    await page
      .locator('.quick-input-list .monaco-list-row', { hasText: 'What do your gradients give away?' })
      .first()
      .click();
    await page.getByText('Look into a dump').first().waitFor({ timeout: 30_000 });
    await workbench.webview('h1', 'A gradient is not a safe thing to share');
    await expect.poll(() => workbench.widthOfPicture('bundled example'), { timeout: 30_000 }).toBeGreaterThan(600);
    await workbench.screenshot('work-walkthrough-dark');
    await workbench.runCommand('GradLeak: Audit the Bundled Example');
    await workbench.webview('h1', 'the label is seven');
  });
});
