import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../src/audit/run-audit.js';
import { renderHtml } from '../../src/project/render-html.js';
import { pathsInFolder } from '../../src/facts/inputs.js';
import type { RecoveredToken, TextsDetail } from '../../src/protocol/detail.js';
import type { FromPanel } from '../../src/protocol/panel-messages.js';
import type { Report } from '../../src/protocol/report.js';
import { allTextsOf } from '../../src/words/recovered-texts.js';
import { SCREENSHOTS, type Theme, launchBrowser, openView, post, sent, seriousFindings } from './browser.js';

/** Recovered texts in the panel and on a saved page, in a real browser. */

const ROOT = join(import.meta.dirname, '..', '..');
const sure = (text: string): RecoveredToken => ({ id: 1, text });
const unsure = (id: number, text: string, ...others: string[]): RecoveredToken => ({
  id,
  text,
  isUncertain: true,
  alternatives: others.map((other, at) => ({ id: 100 + at, text: other })),
});

const TEXTS: TextsDetail = {
  type: 'texts',
  source: 'tokenizer.json',
  texts: [
    {
      title: 'Text 1',
      label: 'class 2',
      tokens: [
        sure('Patient 42 was seen'),
        unsure(17, ' today', ' yesterday', ' twice'),
        sure(' for a'),
        unsure(18, ' fever', ' cough'),
        sure('.\nThe\u202e results  were'),
        unsure(19, '', '\n'),
        unsure(20, '\n'),
        sure('clear; the doctor asked for more tests, and for the records of the last ten years. '.repeat(3)),
        unsure(21, ' End', ' Start'),
      ],
    },
    { title: 'Text 2', tokens: [sure('مرحبا بالعالم'), unsure(22, ' 日本語')] },
    { title: 'Text 3', tokens: [sure('All of this is sure.')] },
  ],
};
/** As many tokens as a batch may hold, each of them uncertain. */
const MANY: TextsDetail = {
  type: 'texts',
  texts: Array.from({ length: 16 }, (_, text) => ({
    title: `Text ${text + 1}`,
    tokens: Array.from({ length: 1024 }, (__, at) => unsure(at, String(at), '1', '2', '3')),
  })),
};

let browser: Browser;
let example: Report;

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
  const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
  example = (await runAudit({ ...pathsInFolder(join(ROOT, 'media', 'example')), method: 'auto' }, hooks)).report;
}, 60_000);

afterAll(async () => {
  await browser.close();
});

function reportOf(detail: TextsDetail): Report {
  const leak: Report['leaks'][number] = {
    method: 'tokens',
    noun: 'Texts',
    what: 'the texts of the batch',
    brief: 'the texts of the batch',
    title: 'Texts of the batch',
    amount: `${detail.texts.length} texts`,
    sample: null,
    tensor: 'wte.weight',
    certificate: { by: 'equations', error: 0, floor: 0, expectedError: 0, verdict: 'exact' },
    gives: { inputs: detail.texts.length, tokens: 0 },
    details: [detail],
    files: [],
  };
  return { ...example, leaks: [leak] };
}

async function openTexts(theme: Theme, detail: TextsDetail = TEXTS, width = 1000): Promise<Page> {
  const page = await openView(browser, 'panel', theme, { width, height: 900 });
  await post(page, { t: 'show', auditId: '20260101000000-00000000', report: reportOf(detail), images: [] });
  return page;
}

function token(page: Page, text: string): Locator {
  return page.locator('mark', { hasText: text });
}

describe('recovered texts', () => {
  it('run on as they were, with uncertain tokens marked and what acts on letters spelled out', async () => {
    const page = await openTexts('light');
    const first = page.getByRole('article', { name: 'Text 1 (class 2; 5 of 9 tokens uncertain)' });
    const shown = await first.locator('.running-text').textContent();
    expect(shown).toMatch(/^Patient 42 was seen today for a fever\.\nThe\\u202e results {2}were\n/);
    expect(await first.locator('mark').allTextContents()).toEqual(['today', 'fever', '', '\n', 'End']);
    expect(await token(page, 'today').evaluate(waveOf)).toBe('underline wavy');
    expect(await first.locator('mark').nth(2).getAttribute('data-sign')).toBe('◌');
    expect(await first.locator('mark').nth(3).getAttribute('data-sign')).toBe('↵');
    expect(await page.getByRole('article', { name: 'Text 3' }).locator('mark').count()).toBe(0);
    await page.close();
  });

  it('tell what else a token could be where the pointer is, which may go to the hint and is let go by Escape', async () => {
    const page = await openTexts('light');
    const hint = page.getByRole('tooltip');
    await token(page, 'today').hover();
    await expect
      .poll(() => hint.textContent())
      .toBe('" today" (id 17) is uncertain. It could also be " yesterday" (id 100), " twice" (id 101).');
    await hint.hover();
    expect(await hint.isVisible()).toBe(true);
    await page.keyboard.press('Escape');
    await expect.poll(() => hint.count()).toBe(0);
    await token(page, 'fever').hover();
    await expect.poll(() => hint.textContent()).toContain('" cough"');
    await page.locator('h1').hover();
    await expect.poll(() => hint.count()).toBe(0);
    await page.close();
  });

  it('tell it where the keyboard is: Tab goes to a text, arrow keys from token to token', async () => {
    const page = await openTexts('dark');
    const hint = page.getByRole('tooltip');
    await page.getByRole('region', { name: 'Texts', exact: true }).focus();
    await page.keyboard.press('Tab');
    expect(await focused(page)).toBe('Copy text');
    await page.keyboard.press('Tab');
    expect(await focused(page)).toBe('today');
    expect(await hint.textContent()).toContain('" yesterday"');
    expect(await token(page, 'today').getAttribute('aria-describedby')).toBe(await hint.getAttribute('id'));
    await page.keyboard.press('ArrowRight');
    expect(await hint.textContent()).toContain('" cough"');
    await page.keyboard.press('End');
    expect(await focused(page)).toBe('End');
    await page.keyboard.press('ArrowRight');
    expect(await focused(page)).toBe('End');
    await page.keyboard.press('ArrowLeft');
    expect(await hint.textContent()).toContain('"\\n" (id 20) is uncertain. What else it could be is not known.');
    await page.keyboard.press('Tab');
    await expect.poll(() => hint.count()).toBe(0);
    expect(await focused(page)).toBe('Copy text');
    await page.keyboard.press('Shift+Tab');
    expect(await hint.textContent()).toContain('(id 20)');
    await page.close();
  });

  it('are copied one by one or all, and saved by the host from the report', async () => {
    const page = await openTexts('light');
    for (const name of ['Copy text: Text 2', 'Copy all texts', 'Save texts (.txt, all of them)']) {
      await page.getByRole('button', { name }).focus();
      await page.keyboard.press('Enter');
    }
    await expect
      .poll(() => sent<FromPanel>(page))
      .toEqual([
        { t: 'ready' },
        { t: 'copy', text: 'مرحبا بالعالم 日本語' },
        { t: 'copy', text: allTextsOf(reportOf(TEXTS)) },
        { t: 'save', what: 'txt' },
      ]);
    await page.close();
  });

  it('are the same on a saved page, which downloads them itself', async () => {
    const page = await browser.newPage();
    const lone: TextsDetail = { ...TEXTS, texts: [...TEXTS.texts, { title: 'Text 4', tokens: [sure('half \ud83d')] }] };
    await page.setContent(renderHtml(reportOf(lone), [], { bundles: join(ROOT, 'dist', 'webview') }));
    await token(page, 'fever').hover();
    expect(await page.getByRole('tooltip').textContent()).toContain('" cough"');
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Save texts (.txt, all of them)' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('texts.txt');
    expect(readFileSync(await download.path(), 'utf8')).toBe(allTextsOf(reportOf(lone)).replace('\ud83d', '\ufffd'));
    await page.close();
  });

  it('without a vocabulary are ids, and those out of sight are not laid out', async () => {
    const page = await openTexts('light', MANY);
    expect(await page.getByText('No vocabulary is at hand').count()).toBe(1);
    expect(await page.locator('.running-text').first().textContent()).toMatch(/^0 1 2 3 4 5 /);
    expect(await page.locator('mark').count()).toBe(16 * 1024);
    const isLaidOut = (text: number): Promise<boolean> =>
      page
        .locator('.text .running-text')
        .nth(text)
        .evaluate((own) =>
          (own as unknown as { checkVisibility(how: object): boolean }).checkVisibility({
            contentVisibilityAuto: true,
          }),
        );
    await page.locator('.texts').scrollIntoViewIfNeeded();
    await expect.poll(() => isLaidOut(0)).toBe(true);
    expect(await isLaidOut(15)).toBe(false);
    const last = page.locator('mark').last();
    await last.hover();
    expect(await isLaidOut(15)).toBe(true);
    expect(await page.getByRole('tooltip').textContent()).toBe(
      'id 1023 is uncertain. It could also be "1" (id 100), "2" (id 101), "3" (id 102).',
    );
    const [hint, list] = await Promise.all([
      page.getByRole('tooltip').boundingBox(),
      page.locator('.texts').boundingBox(),
    ]);
    expect(hint!.y + hint!.height).toBeLessThanOrEqual(list!.y + list!.height);
    expect(hint!.x + hint!.width).toBeLessThanOrEqual(list!.x + list!.width);
    await page.close();
  });

  it.each(['light', 'dark', 'high-contrast'] as const)('look right and are accessible: %s', async (theme) => {
    const page = await openTexts(theme);
    await token(page, 'fever').focus();
    await page.locator('.texts').screenshot({ path: join(SCREENSHOTS, `webview-texts-${theme}.png`) });
    await page.screenshot({ path: join(SCREENSHOTS, `webview-texts-page-${theme}.png`), fullPage: true });
    expect(await seriousFindings(page)).toEqual([]);
    await page.close();
  });

  it('fit a narrow editor column', async () => {
    const page = await openTexts('dark', TEXTS, 380);
    await token(page, 'End').focus();
    await page.screenshot({ path: join(SCREENSHOTS, 'webview-texts-narrow.png'), fullPage: true });
    const overflow = await page.locator('.texts').evaluate((list) => {
      const own = list as unknown as { scrollWidth: number; clientWidth: number };
      return own.scrollWidth - own.clientWidth;
    });
    expect(overflow).toBeLessThanOrEqual(0);
    await page.close();
  });
});

function waveOf(element: unknown): string {
  const page = globalThis as unknown as {
    getComputedStyle(own: unknown): { textDecorationLine: string; textDecorationStyle: string };
  };
  const style = page.getComputedStyle(element);
  return `${style.textDecorationLine} ${style.textDecorationStyle}`;
}

/** What the focused element says. */
function focused(page: Page): Promise<string> {
  return page.evaluate(() => {
    const { document } = globalThis as unknown as { document: { activeElement: { textContent: string } } };
    return document.activeElement.textContent.trim();
  });
}
