import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../src/audit/run-audit.js';
import { fileKindOf } from '../../src/kinds/file-kind.js';
import { planProject } from '../../src/project/plan.js';
import { runProject } from '../../src/project/run-project.js';
import type { ProjectReport } from '../../src/protocol/project-report.js';
import type { FromSummary } from '../../src/protocol/summary-messages.js';
import { SCREENSHOTS, launchBrowser, openView, post, sent, seriousFindings, tell } from './browser.js';

/** The summary of a project in a browser, over the real audit of the fixtures. */

const DUMPS = join(import.meta.dirname, '..', 'fixtures', 'dumps');
const DIST = join(import.meta.dirname, '..', '..', 'dist', 'webview');
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-summary-'));
let browser: Browser;
let report: ProjectReport;

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
  const pause = (): Promise<void> => Promise.resolve();
  const options = { exclude: ['k1000*', 'in_*', 'confident*'], includeIgnored: false, settings: '' };
  const plan = await planProject(DUMPS, { ...options, kindOf: (file) => fileKindOf(file, true).kind }, pause);
  report = await runProject({
    plan,
    out: scratch,
    concurrency: 1,
    settings: { method: 'auto' },
    auditOne: async (request) => {
      await runAudit(request, { progress: () => undefined, pause });
    },
    progress: () => undefined,
    cancelled: () => false,
  });
  // Captures of one run, as a project has them.
  report.entries.slice(0, 6).forEach((entry, at) => {
    entry.script = { file: '/home/me/project/train.py', line: 41 };
    entry.change = at === 0 ? 'worse' : at === 1 ? 'better' : 'same';
  });
  report.summary.overRounds = [
    {
      run: 'captures/train',
      rounds: [1, 2, 3, 4].map((round) => ({ round, leakRate: 1 - round / 8, exactInputs: 0 })),
    },
    { run: 'captures/private', rounds: [1, 2, 3].map((round) => ({ round, leakRate: 0.1 * round, exactInputs: 0 })) },
  ];
}, 120_000);

afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await browser.close();
});

async function open(theme: 'light' | 'dark' | 'high-contrast'): Promise<Page> {
  const page = await openView(browser, 'summary', theme, { width: 1100, height: 1000 });
  await post(page, { t: 'show', report });
  return page;
}

async function firstCells(page: Page): Promise<string[]> {
  return page
    .locator('table.entries tbody th')
    .evaluateAll((cells) => cells.map((cell) => (cell as unknown as { innerText: string }).innerText));
}

describe('the summary of a project', () => {
  it('says what leaks in one sentence, with a row per dump', async () => {
    const page = await open('dark');
    const { summary } = report;
    expect(await page.locator('h1').innerText()).toContain(
      `${summary.leaking} of ${summary.done} audited gradients leak`,
    );
    expect(await page.locator('table.entries tbody tr').count()).toBe(report.entries.length);
    expect(await page.locator('.shares li').count()).toBe(summary.byKind.length + Math.min(summary.byLayer.length, 10));
    expect(await page.locator('svg.rounds path.run').count()).toBe(2);
    await page.close();
  });

  it('works by keyboard alone: filter, sort, open, script, stop, resume, save', async () => {
    const page = await open('light');
    await page.getByRole('searchbox').focus();
    await page.keyboard.type('mixup');
    await expect.poll(async () => (await firstCells(page)).every((cell) => cell.includes('mixup'))).toBe(true);
    await page.getByRole('searchbox').fill('');
    await page.getByRole('button', { name: 'Gradient', exact: true }).focus();
    await page.keyboard.press('Enter');
    await expect
      .poll(async () => (await firstCells(page))[0])
      .toContain([...report.entries].map(({ gradients }) => gradients).sort()[0]);
    await page.getByRole('button', { name: /batch6_bias/ }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'train.py:41' }).first().focus();
    await page.keyboard.press('Enter');
    await tell(page, { t: 'progress', progress: { done: 3, of: 9, message: 'x/gradient.pt' } });
    await page.getByRole('button', { name: 'Stop' }).focus();
    await page.keyboard.press('Enter');
    await tell(page, { t: 'progress', progress: null });
    await post(page, { t: 'show', report: { ...report, status: 'cancelled' } });
    await page.getByRole('button', { name: 'Resume' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Save SARIF' }).focus();
    await page.keyboard.press('Enter');
    const id = report.entries.find(({ gradients }) => gradients.startsWith('batch6_bias'))!.id;
    await expect
      .poll(async () => (await sent<FromSummary>(page)).map(({ t }) => t))
      .toEqual(['ready', 'open', 'script', 'stop', 'run', 'save']);
    expect((await sent<FromSummary>(page))[1]).toEqual({ t: 'open', id });
    await page.close();
  });

  it('is one self-contained page when saved, with nothing to press that does not work', async () => {
    // As the command line writes it; rendered here from the same bundle.
    const page = await browser.newPage();
    const file = join(scratch, 'saved.html');
    const bundle = (name: string): string => readFileSync(join(DIST, name), 'utf8');
    writeFileSync(
      file,
      `<!doctype html><html lang="en"><head><title>x</title><style>${bundle('page-theme.css')}${bundle('summary.css')}</style></head><body><main id="root"></main>
      <script type="application/json" id="gradleak-report">${JSON.stringify(report).replace(/</g, '\\u003c')}</script><script>${bundle('summary.js').replace(/<\/script/gi, '<\\/script')}</script></body></html>`,
    );
    await page.goto(pathToFileURL(file).href);
    expect(await page.locator('h1').innerText()).toContain('audited gradients leak');
    expect(await page.getByRole('button', { name: 'Save SARIF' }).count()).toBe(0);
    await page.close();
  });

  it.each(['light', 'dark', 'high-contrast'] as const)('is accessible and looks right: %s', async (theme) => {
    const page = await open(theme);
    await page.screenshot({ path: join(SCREENSHOTS, `summary-${theme}.png`) });
    expect(await seriousFindings(page)).toEqual([]);
    await page.close();
  });
});
