import { cpSync, mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EditorSession, openEditor } from './editor-session.js';
import type { Workbench } from './workbench.js';

/**
 * Texts with the whole tokenizers of GPT-2 and Llama 3, too large to be committed: a folder that
 * make_whole_tokenizer_dumps.sh made.
 */
const DUMPS = process.env.GRADLEAK_E2E_TEXTS;

describe.runIf(DUMPS !== undefined)('whole tokenizers in VS Code', () => {
  const dumps = DUMPS ?? '';
  let folder: string;
  let session: EditorSession;
  let workbench: Workbench;
  let sentences: string[];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gradleak-tokenizers-'));
    const workspace = join(folder, 'workspace');
    mkdirSync(workspace);
    for (const name of ['gpt2', 'llama']) {
      cpSync(join(dumps, name), join(workspace, name), { recursive: true });
    }
    sentences = JSON.parse(readFileSync(join(dumps, 'sentences.json'), 'utf8')) as string[];
    session = await openEditor({ folder, workspace, command: 'GradLeak: Audit Gradient File...' });
    ({ workbench } = session);
  });

  afterAll(async () => {
    await session.end('tokenizers-last');
  });

  it.each([
    ['gpt2', 'vocab.json', ''],
    ['llama', 'tokenizer.json', '<|begin_of_text|>'],
  ])('reads the texts of %s word for word', async (name, vocabulary, beginning) => {
    await workbench.runCommand('GradLeak: Audit Gradient File...');
    await workbench.pick('which gradient?', `${name}/gradient.safetensors`);
    const panel = await workbench.webview('h1', '4 texts, word for word', 120_000);
    const texts = await panel.locator('.texts .running-text').allTextContents();
    expect([...texts].sort()).toEqual(sentences.map((sentence) => beginning + sentence).sort());
    expect(await panel.locator('.texts mark').count()).toBe(0);
    expect(await panel.locator('body').textContent()).toContain(`Read with ${vocabulary}.`);
    await panel.locator('.texts').first().scrollIntoViewIfNeeded();
    await workbench.screenshot(`tokenizers-${name}`);
    await workbench.closeEditors();
  });

  it('lists the tokens of an embedding in the inspector', async () => {
    const files = workbench.page.locator('.explorer-folders-view .monaco-list-row');
    await files.filter({ hasText: 'llama' }).click();
    await files.filter({ hasText: 'gradient.safetensors' }).dblclick();
    const inspector = await workbench.webview('h1', 'gradient.safetensors');
    expect(await inspector.locator('#model').textContent()).toBe(
      'Llama by config.json: 2 blocks, 64 wide, 4 heads (2 of keys and values), 128,256 tokens',
    );
    await inspector
      .locator('#table .body .row', { has: inspector.locator('.name[title="model.embed_tokens.weight"]') })
      .click();
    await inspector.getByRole('radio', { name: 'Rows' }).click();
    const list = inspector.getByRole('region', { name: 'Rows that are not zero' });
    await list.waitFor();
    const tokens = await list.locator('tbody td:nth-child(2)').allTextContents();
    expect(tokens).toEqual(expect.arrayContaining(['" password"', '" 🙂"', '"<|begin_of_text|>"']));
    for (const [theme, title] of [
      ['light', 'Light Modern'],
      ['high-contrast', 'Dark High Contrast'],
      ['dark', 'Dark Modern'],
    ] as const) {
      await workbench.useTheme(title);
      await workbench.page.waitForTimeout(1000);
      await workbench.screenshot(`tokenizers-inspector-${theme}`);
    }
  });
});
