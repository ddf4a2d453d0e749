import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Frame, Locator } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generator } from '../../src/recovery/paper-method.js';
import { NETWORKS } from '../networks.js';
import { syntheticBatch, writeSafetensors } from '../write-fixtures.js';
import { VSIX } from './package-extension.js';
import { type EditorSession, openEditor } from './editor-session.js';
import type { Workbench } from './workbench.js';

const ROOT = join(import.meta.dirname, '..', '..');
const AUDIT = 'GradLeak: Audit Gradient File...';

/** Child processes of the VS Code under test, found by their command line. */
function runnerPids(): number[] {
  return execFileSync('ps', ['-ax', '-o', 'pid=,command='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes('dist/runner.js') && line.includes('gradleak-vscode-'))
    .map((line) => Number.parseInt(line, 10));
}

describe('the package', () => {
  it('holds what it needs, nothing else, and the binaries of this platform only', () => {
    expect(statSync(VSIX).size).toBeLessThan(40 * 2 ** 20);
    const listed = execFileSync('npx', ['vsce', 'ls', '--no-dependencies'], { cwd: ROOT, encoding: 'utf8' });
    const files = listed.split('\n').filter((line) => line !== '');
    expect(files).toContain('dist/extension.js');
    expect(files).toContain('dist/runner.js');
    expect(files).toContain('dist/engine-probe.js');
    expect(files).toContain('dist/hdf5-reader.mjs');
    const binaries = files.filter((file) => file.endsWith('onnxruntime_binding.node'));
    expect(binaries).toHaveLength(1);
    expect(binaries[0]).toContain(`${process.platform}/${process.arch}`);
    expect(
      files.filter((file) => !/^(dist|media)\/|^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/.test(file)),
    ).toEqual([]);
    expect(files.filter((file) => file.endsWith('.map'))).toEqual([]);
  });
});

/** A folder with checkpoint.pt and gradient.pt of one sample, such as a ResNet-18's, which is too large to be committed. */
const OWN_DUMP = process.env.GRADLEAK_E2E_DUMP;

describe('the packaged extension in VS Code', () => {
  let folder: string;
  let session: EditorSession;
  let workbench: Workbench;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-e2e-'));
    const workspace = join(folder, 'workspace');
    mkdirSync(workspace);
    cpSync(join(ROOT, 'media', 'example'), join(workspace, 'example'), { recursive: true });
    const other = join(ROOT, 'test', 'fixtures', 'dumps', 'k10_mixup_nobias_trained');
    cpSync(join(other, 'checkpoint.pt'), join(workspace, 'other', 'model.pt'));
    const pooled = join(NETWORKS, 'pooled');
    for (const name of ['checkpoint.pt', 'gradient.pt', 'recipe.json']) {
      cpSync(join(pooled, name), join(workspace, 'pooled', name));
      cpSync(join(pooled, name), join(workspace, 'wrong', name));
    }
    writeFileSync(
      join(workspace, 'wrong', 'recipe.json'),
      JSON.stringify({ schemaVersion: 1, input: [1, 8, 8], layers: [{ op: 'conv', weight: 'stem.weight' }] }),
    );
    for (const name of ['checkpoint.pt', 'gradient.pt', 'capture.json']) {
      cpSync(join(NETWORKS, 'residual-train', name), join(workspace, 'residual', name));
    }
    cpSync(join(ROOT, 'test', 'fixtures', 'texts', 'gpt2'), join(workspace, 'texts'), { recursive: true });
    if (OWN_DUMP !== undefined) {
      for (const name of ['checkpoint.pt', 'gradient.pt']) {
        cpSync(join(OWN_DUMP, name), join(workspace, 'own', name));
      }
    }
    mkdirSync(join(workspace, '.vscode'));
    // Long enough to be watched and stopped.
    writeFileSync(
      join(workspace, '.vscode', 'settings.json'),
      JSON.stringify({ 'gradleak.matching.settings': { iterations: 500_000 }, 'gradleak.audit.batchTimeLimit': 5 }),
    );
    // Large enough that counting its labels takes a while, which the cancel and kill tests need.
    const big = syntheticBatch({ classes: 1000, features: 1024, batch: 300, random: generator(1) });
    writeSafetensors(join(workspace, 'big', 'checkpoint.safetensors'), { 'fc.weight': big.weight });
    writeSafetensors(join(workspace, 'big', 'gradient.safetensors'), { 'fc.weight': big.gradient });
    // Too large for a look inside before an audit, so that either file is offered as either.
    const plain = syntheticBatch({ classes: 160, features: 128, batch: 3, random: generator(3) });
    writeSafetensors(join(workspace, 'plain', 'checkpoint.safetensors'), { 'fc.weight': plain.weight });
    writeSafetensors(join(workspace, 'plain', 'gradient.safetensors'), { 'fc.weight': plain.gradient });
    const convnet = join(ROOT, 'test', 'fixtures', 'kinds', 'convnet');
    for (const name of ['checkpoint.pt', 'sgd-0.1-state.pt', 'four-steps.pt']) {
      cpSync(join(convnet, name), join(workspace, 'convnet', name));
    }
    session = await openEditor({ folder, workspace, command: AUDIT });
    ({ workbench } = session);
  });

  afterAll(async () => {
    await session.end('last');
  });

  it('audits a gradient with the one checkpoint beside it that fits, the recovered class in the panel', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'example/gradient.pt');
    const panel = await workbench.webview('h1', 'the label is seven');
    expect(await panel.getByText('Loading the report').count()).toBe(0);
    expect(await panel.locator('.bar-name').first().textContent()).toBe('seven');
    expect(await panel.locator('.bar-value').first().textContent()).toBe('91.0 %');
    expect(await panel.locator('.finding-critical').count()).toBe(1);
    expect(await panel.locator('.finding-high').count()).toBe(2);
    await workbench.screenshot('panel-dark');
  });

  it('shows the exact image that the LeNet leaked', async () => {
    const panel = await workbench.webview('h1', 'the input itself was computed');
    expect(await panel.locator('h3.with-tag vscode-tag').textContent()).toBe('Exact');
    const colours = await panel.locator('canvas#picture-0').evaluate((canvas) => {
      const element = canvas as unknown as {
        width: number;
        height: number;
        getContext(kind: string): { getImageData(x: number, y: number, w: number, h: number): { data: number[] } };
      };
      const { data } = element.getContext('2d').getImageData(0, 0, element.width, element.height);
      return new Set(data).size;
    });
    expect(colours).toBeGreaterThan(50);
    expect(await panel.locator('[aria-label="Evidence of each layer"] tbody tr').count()).toBe(3);
  });

  it('zooms the landscape by keyboard and shows the paper’s curve', async () => {
    const panel = await workbench.webview('h1', 'the label is seven');
    await panel.locator('.evidence > summary').focus();
    await workbench.page.keyboard.press('Enter');
    const curve = panel.locator('.chart .curve').first();
    const whole = await curve.getAttribute('d');
    await panel.locator('svg.chart').focus();
    await workbench.page.keyboard.press('+');
    expect(await curve.getAttribute('d')).not.toBe(whole);
    await workbench.page.keyboard.press('0');
    expect(await curve.getAttribute('d')).toBe(whole);
    await panel.locator('vscode-radio', { hasText: "Paper's loss" }).click();
    await expect.poll(() => curve.getAttribute('d')).not.toBe(whole);
  });

  it('looks right in light and high contrast', async () => {
    for (const [theme, name] of [
      ['Light Modern', 'light'],
      ['Dark High Contrast', 'high-contrast'],
    ] as const) {
      await workbench.useTheme(theme);
      const wanted = name === 'light' ? 'vscode-light' : 'vscode-high-contrast';
      const panel = await workbench.webview('h1', 'the label is seven');
      await expect.poll(() => panel.locator('body').getAttribute('class'), { timeout: 20_000 }).toContain(wanted);
      await workbench.screenshot(`panel-${name}`);
    }
  });

  it('restores the panel after the window is reloaded', async () => {
    // VS Code in a browser saves which editors are open every five seconds, and cannot while it is unloaded.
    await workbench.page.waitForTimeout(7000);
    await workbench.page.reload();
    const panel = await workbench.webview('h1', 'the label is seven');
    expect(await panel.locator('.bar-name').first().textContent()).toBe('seven');
    await workbench.waitForCommand(AUDIT);
    await workbench.closeEditors();
  });

  /** Chooses another checkpoint in the panel that shows this. @returns the picker's first entry */
  async function changeCheckpoint(heading: string, checkpoint: string): Promise<string> {
    const panel = await workbench.webview('h1', heading);
    await panel.getByRole('button', { name: 'Change', exact: true }).click();
    return workbench.pick('which checkpoint', checkpoint);
  }

  it('asks for another checkpoint, best first, and says which was used last', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'example/gradient.pt');
    const first = await changeCheckpoint('the label is seven', 'example/checkpoint.pt');
    expect(first).toContain('example/checkpoint.pt');
    expect(first).toContain('fits 100 %');
    await expect
      .poll(() => workbench.page.locator('.tab', { hasText: 'example/gradient.pt' }).count(), { timeout: 30_000 })
      .toBe(2);
    const second = await changeCheckpoint('the label is seven', 'example/checkpoint.pt');
    expect(second).toContain('used last time');
    await expect
      .poll(() => workbench.page.locator('.tab', { hasText: 'example/gradient.pt' }).count(), { timeout: 30_000 })
      .toBe(3);
    await workbench.webview('h1', 'the label is seven');
    await workbench.closeEditors();
  });

  it('grows an image by gradient matching, and keeps the best when it is stopped', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'pooled/gradient.pt');
    const running = await workbench.webview('h1', 'Reconstructing the input');
    const preview = running.locator('img.preview');
    await preview.waitFor({ timeout: 60_000 });
    const first = await preview.getAttribute('src');
    await expect.poll(() => preview.getAttribute('src'), { timeout: 20_000 }).not.toBe(first);
    await running.locator('.loss-curve path').first().waitFor();
    await workbench.screenshot('matching');
    const started = Date.now();
    await running.getByRole('button', { name: 'Stop and keep' }).click();
    const panel = await workbench.webview('h1', 'gives away its one sample');
    expect(Date.now() - started).toBeLessThan(4000);
    expect(
      await panel
        .getByText(/It was stopped early/)
        .first()
        .isVisible(),
    ).toBe(true);
    expect(await panel.locator('canvas#picture-0').count()).toBe(1);
    await workbench.screenshot('matching-stopped');
    await workbench.closeEditors();
  });

  /** The head of a panel and one of its tables in every theme. */
  async function photograph(what: string, panel: Frame, table: Locator): Promise<void> {
    for (const [theme, name] of [
      ['Light Modern', 'light'],
      ['Dark High Contrast', 'high-contrast'],
      ['Dark Modern', 'dark'],
    ] as const) {
      await workbench.useTheme(theme);
      await workbench.page.waitForTimeout(800);
      await panel.locator('h1').first().scrollIntoViewIfNeeded();
      await workbench.screenshot(`${what}-${name}`);
      await table.scrollIntoViewIfNeeded();
      await workbench.screenshot(`${what}-table-${name}`);
    }
  }

  it('computes the feature maps of a residual network in train mode, and the input from them', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'residual/gradient.pt');
    const panel = await workbench.webview('h1', 'gives away its one sample', 120_000);
    const table = panel.locator('vscode-data-grid, table', { hasText: 'row space' }).first();
    await table.scrollIntoViewIfNeeded();
    expect(await table.textContent()).toContain('equations');
    expect(await panel.getByText(/this is the input, up to one factor/).count()).toBeGreaterThan(0);
    await photograph('maps', panel, table);
  });

  it('shows what a gradient gives away without its checkpoint', async () => {
    await changeCheckpoint('gives away its one sample', 'Without a checkpoint');
    const panel = await workbench.webview('h1', 'no checkpoint was given');
    const table = panel.locator('vscode-data-grid, table', { hasText: 'layer2.0.conv2.weight' }).first();
    expect(await table.textContent()).toContain('48 x 4 x 4');
    await photograph('alone', panel, table);
    await workbench.closeEditors();
  });

  it('reads the texts of a language model word for word, with its tokenizer', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'texts/gradient.safetensors');
    const panel = await workbench.webview('h1', 'texts, word for word', 60_000);
    const list = panel.locator('.texts').first();
    expect(await list.textContent()).toContain('Her account number is 4711, and the password is green.');
    expect(await list.textContent()).toContain('The patient was told about the results on Monday.');
    await photograph('texts', panel, list);
    await workbench.closeEditors();
  });

  it.runIf(OWN_DUMP !== undefined)('computes the input of a large dump that is not in the repository', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'own/gradient.pt');
    const panel = await workbench.webview('h1', 'gives away its one sample', 240_000);
    const table = panel.locator('vscode-data-grid, table', { hasText: 'row space' }).first();
    expect(await panel.getByText(/so this is the input/).count()).toBeGreaterThan(0);
    await photograph('own', panel, table);
    await workbench.closeEditors();
  });

  it('keeps what it asks for where a panel takes the focus', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'example/gradient.pt');
    const panel = await workbench.webview('h1', 'the label is seven');
    await panel.getByRole('button', { name: 'Change', exact: true }).click();
    const title = workbench.page.locator('.quick-input-title', { hasText: 'which checkpoint' });
    await title.waitFor({ timeout: 30_000 });
    await panel.locator('body').click({ position: { x: 5, y: 400 } });
    await workbench.page.waitForTimeout(1000);
    expect(await panel.evaluate('document.hasFocus()')).toBe(true);
    expect(await title.isVisible()).toBe(true);
    await workbench.page.locator('.quick-input-widget input.input').click();
    await workbench.page.keyboard.press('Escape');
    await title.waitFor({ state: 'hidden', timeout: 5000 });
    await workbench.closeEditors();
  });

  it('passes over a wrong recipe beside a dump, and says which layer of it does not fit', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'wrong/gradient.pt');
    const panel = await workbench.webview('body', 'the checkpoint holds no tensor "stem.weight"');
    expect(await panel.locator('h1').first().textContent()).toContain('gives away its one sample');
    await workbench.screenshot('wrong-recipe');
    await workbench.closeEditors();
  });

  it('opens any earlier audit again, with its image', async () => {
    await workbench.runCommand('GradLeak: Open Audit...');
    await workbench.pick('Open Audit', 'pooled/gradient.pt');
    const panel = await workbench.webview('h1', 'gives away its one sample');
    expect(await panel.locator('canvas#picture-0').count()).toBe(1);
    await workbench.closeEditors();
  });

  it('shows which engines work', async () => {
    await workbench.runCommand('GradLeak: Show Engines');
    await workbench.page.locator('.quick-input-widget', { hasText: 'onnxruntime-cpu' }).waitFor({ timeout: 60_000 });
    await workbench.screenshot('engines');
    await workbench.page.keyboard.press('Escape');
  });

  it('says why files do not fit', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'example/gradient.pt');
    await changeCheckpoint('the label is seven', 'other/model.pt');
    const toast = workbench.notification('The gradient belongs to another model');
    await toast.waitFor({ timeout: 30_000 });
    await workbench.page.waitForTimeout(800);
    await workbench.screenshot('does-not-fit');
    await workbench.runCommand('Notifications: Clear All Notifications');
  });

  it('exchanges swapped files by a click', async () => {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'plain/checkpoint.safetensors');
    await workbench.pick('which checkpoint', 'plain/gradient.safetensors');
    const toast = workbench.notification('The checkpoint and the gradient look swapped');
    await toast.waitFor({ timeout: 30_000 });
    // Neither the command line's advice nor paths longer than they need be.
    expect(await toast.textContent()).toContain('swapped. plain/checkpoint.safetensors: found what looks like weights');
    expect(await toast.textContent()).not.toContain('--checkpoint');
    await workbench.page.waitForTimeout(800);
    await workbench.screenshot('swap');
    await toast.getByRole('button', { name: 'Swap and audit' }).click();
    await workbench.webview('h1', 'gives away all 3 samples');
    await workbench.closeEditors();
  });

  it('offers no gradient as a checkpoint and no checkpoint as a gradient', async () => {
    const rows = workbench.page.locator('.quick-input-list .monaco-list-row');
    await workbench.runCommand(AUDIT);
    await workbench.page.locator('.quick-input-title', { hasText: 'which gradient?' }).waitFor({ timeout: 30_000 });
    await rows.filter({ hasText: 'convnet/four-steps.pt' }).waitFor({ timeout: 30_000 });
    expect(await rows.filter({ hasText: 'convnet/checkpoint.pt' }).count()).toBe(0);
    expect(await rows.first().textContent()).toContain('by its contents');
    await workbench.screenshot('pick-gradient');
    await workbench.pick('which gradient?', 'example/gradient.pt');
    // The checkpoint that was chosen in vain before is no choice: the one that fits is taken again.
    const panel = await workbench.webview('h1', 'the label is seven');
    await panel.getByRole('button', { name: 'Change', exact: true }).click();
    await workbench.page.locator('.quick-input-title', { hasText: 'which checkpoint' }).waitFor({ timeout: 30_000 });
    await rows.filter({ hasText: 'example/checkpoint.pt' }).waitFor({ timeout: 30_000 });
    expect(await rows.filter({ hasText: 'pooled/gradient.pt' }).count()).toBe(0);
    await workbench.page.keyboard.press('Escape');
    await workbench.closeEditors();
  });

  it('audits a gradient of a checkpoint that is open, and warns when nothing could be judged', async () => {
    const { page } = workbench;
    await workbench.runCommand('View: Show Explorer');
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'convnet' }).click();
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'checkpoint.pt' }).first().dblclick();
    const inspector = await workbench.webview('h1', 'checkpoint.pt');
    await inspector.getByRole('button', { name: /^Audit a Gradient of This/ }).click();
    const first = await workbench.pick('which gradient was computed with it?', 'convnet/four-steps.pt');
    expect(first).toMatch(/convnet\/.*a difference of weights, by its contents/);
    expect(first).toContain('fits');
    await workbench.webview('h1', 'over several steps');
    const toast = workbench.notification('over several steps');
    await toast.locator('.codicon-warning').waitFor({ timeout: 30_000 });
    await page.waitForTimeout(800);
    await workbench.screenshot('not-assessed');
    await workbench.runCommand('Notifications: Clear All Notifications');
    await workbench.closeEditors();
  });

  async function startBigAudit(): Promise<void> {
    await workbench.runCommand(AUDIT);
    await workbench.pick('which gradient?', 'big/gradient.safetensors');
    await workbench.notification(/Estimating the batch size|Counting labels/).waitFor({ timeout: 60_000 });
  }

  it('cancels a running audit within two seconds', async () => {
    await startBigAudit();
    await workbench.screenshot('progress');
    const started = Date.now();
    const toast = workbench.notification('gradient.safetensors');
    await toast.getByRole('button', { name: 'Cancel' }).click();
    await workbench.page.locator('.statusbar', { hasText: 'audit stopped' }).waitFor({ timeout: 10_000 });
    expect(Date.now() - started).toBeLessThan(2500);
    expect(await toast.count()).toBe(0);
    // What was found until then is shown.
    const panel = await workbench.webview('h1', 'The audit was stopped');
    expect(await panel.locator('.check').count()).toBeGreaterThan(3);
    await workbench.closeEditors();
  });

  it('tells when the child process was killed, and a retry works', async () => {
    await startBigAudit();
    const pids = runnerPids();
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) {
      process.kill(pid, 'SIGKILL');
    }
    const crash = workbench.notification('ended unexpectedly (signal SIGKILL)');
    await crash.waitFor({ timeout: 20_000 });
    await workbench.page.waitForTimeout(800);
    await workbench.screenshot('crash');
    await crash.getByRole('button', { name: 'Retry' }).click();
    const panel = await workbench.webview('h1', 'batch', 120_000);
    expect(await panel.locator('h2#counts').textContent()).toContain('300 samples');
    await workbench.screenshot('batch');
  });

  it('ends the child process with the window', async () => {
    expect(runnerPids().length).toBeGreaterThan(0);
    await session.server.stop();
    await expect.poll(runnerPids, { timeout: 15_000 }).toEqual([]);
  });
});

describe('an untrusted workspace', () => {
  let folder: string;
  let session: EditorSession;
  let workbench: Workbench;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-e2e-untrusted-'));
    cpSync(join(ROOT, 'media', 'example'), join(folder, 'workspace', 'example'), { recursive: true });
    session = await openEditor({
      folder,
      workspace: join(folder, 'workspace'),
      command: 'GradLeak: Inspect Tensors',
      trust: false,
    });
    ({ workbench } = session);
  });

  afterAll(async () => {
    await session.end('untrusted');
  });

  it('runs no audit and no process, and says so', async () => {
    expect(await workbench.isOffered('GradLeak: Show Log')).toBe(true);
    expect(await workbench.isOffered(AUDIT)).toBe(false);
    const files = workbench.page.locator('.explorer-folders-view .monaco-list-row');
    await files.filter({ hasText: 'example' }).click();
    await workbench.chooseFromMenu(files.filter({ hasText: 'gradient.pt' }), 'Audit Gradient File...');
    await workbench.notification('trusted workspaces only').waitFor({ timeout: 20_000 });
    expect(runnerPids()).toEqual([]);
    await workbench.runCommand('Notifications: Clear All Notifications');
  });

  it('shows the tensors of a file, opened by a click', async () => {
    const { page } = workbench;
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'checkpoint.pt' }).dblclick();
    const inspector = await workbench.webview('h1', 'checkpoint.pt');
    await expect.poll(() => inspector.locator('#table .tensor').count(), { timeout: 20_000 }).toBeGreaterThan(2);
    expect(await inspector.locator('#table').textContent()).toMatch(/10 × 768/);
  });
});
