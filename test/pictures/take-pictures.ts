import { cpSync, mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EditorSession, openEditor } from '../end-to-end/editor-session.js';
import type { Workbench } from '../end-to-end/workbench.js';

/** The pictures of README, walkthrough and tour, taken of the packaged extension in VS Code. */

const ROOT = join(import.meta.dirname, '..', '..');
const FIXTURES = join(ROOT, 'test', 'fixtures');
const PICTURES = join(ROOT, 'media', 'walkthrough');
/** Bytes of one picture. */
const MOST = 150_000;
const SIZE = { width: 1200, height: 760 };

/** Captures of a project, by the folder they lie in. */
const CAPTURES = {
  'runs/digits/round_1': join(ROOT, 'media', 'example'),
  'runs/digits/round_2': join(FIXTURES, 'networks', 'lenet'),
  'runs/digits/round_3': join(FIXTURES, 'batches', 'trained-smoothed-bias-s0'),
  'runs/photos/round_1': join(FIXTURES, 'vit', 'torchvision'),
  'runs/texts/round_1': join(FIXTURES, 'texts', 'gpt2'),
  'runs/texts/round_2': join(FIXTURES, 'texts', 'llama'),
};

let folder: string;
let session: EditorSession;
let page: Page;
let workbench: Workbench;

beforeAll(async () => {
  mkdirSync(PICTURES, { recursive: true });
  folder = mkdtempSync(join(tmpdir(), 'gradleak-pictures-'));
  const workspace = join(folder, 'project');
  for (const [to, from] of Object.entries(CAPTURES)) {
    cpSync(from, join(workspace, to), { recursive: true });
  }
  // Without the line that says what the end-to-end test does with it.
  const [, ...script] = readFileSync(join(FIXTURES, 'e2e', 'train.py'), 'utf8').split('\n');
  writeFileSync(join(workspace, 'train.py'), script.join('\n'));
  mkdirSync(join(workspace, '.vscode'));
  writeFileSync(
    join(workspace, '.vscode', 'settings.json'),
    JSON.stringify({ 'editor.minimap.enabled': false, 'files.exclude': { '.vscode': true } }),
  );
  session = await openEditor({ folder, workspace, command: 'GradLeak: Audit Workspace', size: SIZE, timeout: 200_000 });
  ({ workbench } = session);
  ({ page } = workbench);
});

afterAll(async () => {
  await session.end();
});

/** As WebP, which is small and keeps text sharp. */
async function take(name: string): Promise<void> {
  // Nothing but the view is to be seen: no notification, and no hint on what the mouse is over.
  await workbench.runCommand('Notifications: Clear All Notifications');
  await page.mouse.move(SIZE.width / 2, SIZE.height - 4);
  await page.waitForTimeout(1500);
  const png = (await page.screenshot()).toString('base64');
  const blank = await session.browser.newPage();
  const webp = await blank.evaluate(
    // A string, as these types know no browser.
    `(async () => {
      const image = await createImageBitmap(await (await fetch('data:image/png;base64,${png}')).blob());
      const canvas = new OffscreenCanvas(image.width, image.height);
      canvas.getContext('2d').drawImage(image, 0, 0);
      const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/webp', quality: 0.85 })).arrayBuffer());
      return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
    })()`,
  );
  await blank.close();
  const file = join(PICTURES, `${name}.webp`);
  writeFileSync(file, Buffer.from(String(webp), 'base64'));
  expect(statSync(file).size).toBeLessThan(MOST);
}

/** @param path folders that are closed yet, and the file */
async function openFile(...path: string[]): Promise<void> {
  await workbench.runCommand('View: Show Explorer');
  const row = (name: string): Locator =>
    page.locator('.explorer-folders-view .monaco-list-row', { hasText: name }).first();
  for (const [at, name] of path.entries()) {
    const next = path[at + 1];
    await row(name).click();
    await (next === undefined ? row(name).dblclick() : row(next).waitFor({ timeout: 60_000 }));
  }
}

it('takes the lens on a training script', async () => {
  await openFile('train.py');
  await page.locator('.codelens-decoration a', { hasText: 'Capture gradients here' }).waitFor({ timeout: 60_000 });
  await take('capture');
});

it('takes the audit of the example', async () => {
  await workbench.runCommand('GradLeak: Audit the Bundled Example');
  await workbench.webview('h1', 'the label is seven', 200_000);
  await workbench.runCommand('View: Close Primary Side Bar');
  await take('example');
});

it('takes a look into a dump', async () => {
  await workbench.closeEditors();
  await openFile('runs', 'digits', 'round_1', 'gradient.pt');
  const inspector = await workbench.webview('h1', 'gradient.pt', 200_000);
  await inspector.locator('#table .body .name[title="fc.weight"]').click();
  await inspector.locator('canvas').first().waitFor();
  await take('inspect');
});

it('takes the summary of a project', async () => {
  await workbench.closeEditors();
  await workbench.runCommand('View: Close Primary Side Bar');
  await workbench.runCommand('GradLeak: Audit Workspace');
  await page.locator('.quick-input-title', { hasText: /Audit \d+ gradients/ }).waitFor({ timeout: 200_000 });
  await page.keyboard.press('Enter');
  const summary = await workbench.webview('h1', /gradients leak/, 300_000);
  await summary.getByRole('button', { name: 'Audit again' }).waitFor({ timeout: 500_000 });
  await summary.locator('.recovered-tile canvas').first().waitFor({ timeout: 60_000 });
  await take('project');
});
