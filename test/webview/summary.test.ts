import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../src/audit/run-audit.js';
import { fileKindOf } from '../../src/kinds/file-kind.js';
import { planProject } from '../../src/project/plan.js';
import { previewsForPage } from '../../src/project/previews.js';
import { runProject } from '../../src/project/run-project.js';
import { renderProjectHtml } from '../../src/project/render-html.js';
import { summarise } from '../../src/project/summarise.js';
import type { ProjectEntry, ProjectReport } from '../../src/protocol/project-report.js';
import { standingOf } from '../../src/words/outcome-words.js';
import type { EntryPreview, FromSummary } from '../../src/protocol/summary-messages.js';
import { entryResult, projectEntry } from '../project-entries.js';
import {
  SCREENSHOTS,
  asPrinted,
  backgroundOf,
  launchBrowser,
  openView,
  post,
  sent,
  seriousFindings,
  tell,
} from './browser.js';

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
  const options = {
    exclude: ['k1000*', 'k100_*_nobias*', 'k17_*_nobias*', 'in_*', 'confident*'],
    includeIgnored: false,
    settings: '',
  };
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
      rounds: [1, 2, 3, 4].map((round) => ({
        round,
        leakRate: 1 - round / 8,
        leaking: 8 - round,
        gradients: 8,
        exactInputs: 0,
      })),
    },
    {
      run: 'captures/private',
      rounds: [1, 2, 3].map((round) => ({
        round,
        leakRate: 0.1 * round,
        leaking: round,
        gradients: 10,
        exactInputs: 0,
      })),
    },
  ];
}, 120_000);

afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await browser.close();
});

async function open(theme: 'light' | 'dark' | 'high-contrast', shown = report): Promise<Page> {
  const page = await openView(browser, 'summary', theme, { width: 1100, height: 1000 });
  await post(page, { t: 'show', report: shown, closedScripts: [] });
  return page;
}

const REASON =
  'The file holds the state of an optimiser (exp_avg, exp_avg_sq), and no method here recovers anything from averages over many steps.';

/** The same project, had some of its gradients come to no judgement. */
function withOpenEntries(leaking = true): ProjectReport {
  const judged = (entry: ProjectEntry, own: Partial<NonNullable<ProjectEntry['result']>>): ProjectEntry => ({
    ...entry,
    change: 'same',
    result: entry.result && {
      ...entry.result,
      severity: null,
      findings: [],
      labels: 0,
      features: 0,
      exactInputs: 0,
      tokens: 0,
      kinds: {},
      layers: [],
      truth: null,
      counts: null,
      ...own,
    },
  });
  const leaks = report.entries.filter((entry) => standingOf(entry) === 'leaks');
  const entries = leaks.slice(0, leaking ? 10 : 5).map((entry, at): ProjectEntry => {
    switch (at) {
      case 0:
        return judged(entry, { outcome: 'not-assessed', sentence: REASON });
      case 1:
        return {
          ...entry,
          change: 'same',
          status: 'failed',
          result: null,
          problem: `${entry.gradients}: found NaN in "fc.weight"`,
        };
      case 2:
        return judged(entry, {
          outcome: 'mismatch',
          sentence: 'This gradient was captured from another checkpoint: no label explains it under this one.',
        });
      case 3:
        return judged(entry, { outcome: 'none', sentence: 'Nothing was found at this noise.' });
      case 4:
        return judged(entry, {
          outcome: 'counts',
          severity: 'medium',
          samples: 300,
          counts: { classes: 8, of: 10, confirmed: false },
        });
      default:
        return entry;
    }
  });
  return { ...report, entries, summary: summarise(entries) };
}

/** Rounds of eight clients, every fifth of which gives away a picture or a text. */
function manyEntries(count: number): ProjectReport {
  const entries = Array.from({ length: count }, (_, at): ProjectEntry => {
    const [round, client] = [Math.floor(at / 8), at % 8];
    const leaks = at % 3 !== 0;
    const own = at % 5 === 2 ? { exactInputs: 1 + (at % 4) } : {};
    return projectEntry({
      id: at.toString(16).padStart(20, '0'),
      gradients: `runs/mnist/round_${round}/client_${client}/gradient.pt`,
      checkpoint: `runs/mnist/round_${round}/checkpoint.pt`,
      run: `runs/mnist/client_${client}`,
      round,
      script: { file: '/home/me/project/train.py', line: 41 },
      change: at % 50 === 0 ? 'worse' : 'same',
      result: entryResult({
        outcome: leaks ? 'leaks' : 'none',
        severity: leaks ? 'high' : null,
        sentence: 'A sentence on what was found.',
        labels: leaks ? 1 : 0,
        kinds: leaks ? { hard: 1 } : {},
        layers: leaks ? ['fc.weight'] : [],
        ...own,
        ...(at % 5 === 2 && at % 10 === 7 ? { exactInputs: 0, texts: 2 } : {}),
      }),
    });
  });
  return { ...report, entries, skipped: [], summary: summarise(entries) };
}

function previewOfTest(id: string): EntryPreview {
  const at = parseInt(id, 16);
  const side = 28;
  const picture = Float32Array.from({ length: side * side }, (_, pixel) => {
    const [x, y] = [pixel % side, Math.floor(pixel / side)];
    return Math.exp(-((Math.hypot(x - 14, y - 14) - 4 - (at % 7)) ** 2) / 6);
  });
  const values = Buffer.from(picture.buffer).toString('base64');
  return at % 10 === 7
    ? {
        id,
        pictures: [],
        texts: ['The treaty was signed on the third of May, before any of them had read it to its end.'],
      }
    : {
        id,
        pictures: Array.from({ length: Math.min(1 + (at % 4), 3) }, () => ({
          shape: [1, side, side],
          values,
          normalisation: null,
        })),
        texts: [],
      };
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
    expect(await page.locator('h1').innerText()).toContain(`${summary.leaking} of ${summary.dumps} gradients leak`);
    expect(await page.locator('table.entries tbody tr').count()).toBe(report.entries.length);
    expect(await page.locator('.shares li').count()).toBe(summary.byKind.length + Math.min(summary.byLayer.length, 10));
    expect(await page.locator('svg.rounds path.run').count()).toBe(2);
    await page.close();
  });

  it('says how far the first audit is before there is a report, each time', async () => {
    const page = await openView(browser, 'summary', 'dark', { width: 1000, height: 800 });
    for (const done of [0, 1, 2]) {
      await post(page, { t: 'progress', progress: { done, of: 5, message: `${5 - done} waiting` } });
      await expect
        .poll(() => page.locator('[role="status"]').allTextContents())
        .toEqual([`${done} of 5: ${5 - done} waiting`]);
    }
    await page.close();
  });

  it('what was not judged never looks calm: said in the headline, in tiles, and with the reason in its row', async () => {
    const page = await open('dark', withOpenEntries());
    const headline = await page.locator('h1').innerText();
    expect(headline).toContain('5 of 10 gradients leak');
    expect(headline).toContain('1 not assessed; 1 not of its checkpoint; 1 could not be audited');
    expect(headline).not.toContain('%');
    expect(await page.locator('.tile-open').allInnerTexts()).toEqual([
      expect.stringMatching(/^not assessed\s+1$/),
      expect.stringMatching(/^of another checkpoint\s+1$/),
      expect.stringMatching(/^could not be audited\s+1$/),
    ]);
    const row = (name: string): Locator => page.locator('table.entries tbody tr', { hasText: name });
    expect(await row(REASON).locator('.standing').innerText()).toMatch(/not assessed/i);
    expect(await row('another checkpoint').locator('.standing').innerText()).toMatch(/files do not fit/i);
    expect(await row('found NaN').locator('.standing').innerText()).toMatch(/could not be audited/i);
    // A warning's colour, not the one of text that says all is well.
    const colourOf = (name: string): Promise<string> =>
      row(name)
        .locator('.standing')
        .evaluate(
          (element) =>
            (globalThis as unknown as { getComputedStyle(own: typeof element): { color: string } }).getComputedStyle(
              element,
            ).color,
        );
    const calm = await colourOf('Nothing found');
    for (const name of [REASON, 'another checkpoint', 'found NaN']) {
      expect(await colourOf(name)).not.toBe(calm);
    }
    await page.getByRole('searchbox').fill('not assessed');
    await expect.poll(async () => (await firstCells(page)).length).toBe(1);
    await page.close();
  });

  it('a project without a leak, but with gradients that were not judged, is marked as a warning', async () => {
    const page = await open('light', withOpenEntries(false));
    expect(await page.locator('h1').innerText()).toContain('None of 5 gradients was found to leak');
    expect(await page.locator('.verdict-open').count()).toBe(1);
    const first = await firstCells(page);
    const names = withOpenEntries(false).entries.map(({ gradients }) => gradients);
    // The estimate has a finding; then what was not judged; then what is calm.
    expect(first.map((cell) => names.findIndex((name) => cell.includes(name)))).toEqual([4, 0, 1, 2, 3]);
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
    await page.getByRole('button', { name: 'batch6_bias/gradient.pt', exact: true }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'train.py:41' }).first().focus();
    await page.keyboard.press('Enter');
    await tell(page, { t: 'progress', progress: { done: 3, of: 9, message: 'x/gradient.pt' } });
    await page.getByRole('button', { name: 'Stop' }).focus();
    await page.keyboard.press('Enter');
    await tell(page, { t: 'progress', progress: null });
    await post(page, { t: 'show', report: { ...report, status: 'cancelled' }, closedScripts: [] });
    await page.getByRole('button', { name: 'Resume' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Save SARIF' }).focus();
    await page.keyboard.press('Enter');
    const id = report.entries.find(({ gradients }) => gradients.startsWith('batch6_bias'))!.id;
    // Inputs that were recovered are asked for as their tiles come on screen.
    const done = async (): Promise<FromSummary[]> =>
      (await sent<FromSummary>(page)).filter(({ t }) => t !== 'previews');
    await expect
      .poll(async () => (await done()).map(({ t }) => t))
      .toEqual(['ready', 'open', 'script', 'stop', 'run', 'save']);
    expect((await done())[1]).toEqual({ t: 'open', id });
    await page.close();
  });

  it('opens a row to what was found, by keyboard, with the inputs that were recovered', async () => {
    const page = await openView(browser, 'summary', 'dark', { width: 1100, height: 1000 }, async (message, own) => {
      const request = message as FromSummary;
      if (request.t === 'previews') {
        await tell(own, { t: 'previews', previews: request.ids.map((id) => ({ ...previewOfTest('1'), id })) });
      }
    });
    const entry = report.entries.find(({ gradients }) => gradients.startsWith('batch6_bias'))!;
    const entries = report.entries.map((own) =>
      own === entry ? { ...own, result: own.result && { ...own.result, exactInputs: 1 } } : own,
    );
    await post(page, { t: 'show', report: { ...report, entries }, closedScripts: [] });
    const disclose = page.getByRole('button', { name: `Details of ${entry.gradients}` });
    expect(await disclose.getAttribute('aria-expanded')).toBe('false');
    await disclose.focus();
    await page.keyboard.press('Enter');
    const details = page.locator(`#entry-${entry.id}`);
    await details.waitFor();
    expect(await disclose.getAttribute('aria-expanded')).toBe('true');
    expect(await disclose.getAttribute('aria-controls')).toBe(`entry-${entry.id}`);
    expect(await details.locator('.finding h3').allInnerTexts()).toEqual(
      entry.result!.findings.map(({ title }) => expect.stringContaining(title) as string),
    );
    expect(await details.innerText()).toContain(entry.result!.findings[0]!.mitigation);
    await details.getByRole('img', { name: 'Recovered input 1' }).waitFor();
    await page.screenshot({ path: join(SCREENSHOTS, 'summary-opened.png') });
    expect(await seriousFindings(page)).toEqual([]);
    await details.getByRole('button', { name: 'Open audit' }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => sent<FromSummary>(page)).toContainEqual({ t: 'open', id: entry.id });
    await disclose.focus();
    await page.keyboard.press('Enter');
    expect(await details.count()).toBe(0);
    await page.close();
  });

  it('what was not judged opens to no comfort', async () => {
    const page = await open('light', withOpenEntries());
    const row = page.locator('table.entries tbody', { hasText: REASON });
    await row.getByRole('button', { name: /^Details of/ }).click();
    expect(await row.locator('.entry-details').innerText()).toContain('this is not a clean result');
    await page.close();
  });

  describe('saved as a page', () => {
    /** The first few gave their inputs away. */
    const FEW = 3;
    const withInputs = (): ProjectReport => ({
      ...report,
      entries: report.entries.map((entry, at) => ({
        ...entry,
        result: entry.result && { ...entry.result, exactInputs: at < FEW ? 1 : 0, closeInputs: 0, texts: 0 },
      })),
    });
    const saved = async (scheme: 'light' | 'dark', hasPages = false): Promise<Page> => {
      const page = await browser.newPage({ colorScheme: scheme, viewport: { width: 1100, height: 1000 } });
      const file = join(scratch, 'saved.html');
      const previews = previewsForPage(withInputs(), (id) => ({ ...previewOfTest('1'), id }));
      writeFileSync(file, renderProjectHtml(withInputs(), previews, { hasPages, bundles: DIST }));
      await page.goto(pathToFileURL(file).href);
      return page;
    };

    it('is self-contained, with nothing to press that does not work', async () => {
      const page = await saved('light');
      expect(await page.locator('h1').innerText()).toContain('gradients leak');
      expect(await page.getByRole('button', { name: 'Save SARIF' }).count()).toBe(0);
      expect(await page.getByRole('link').count()).toBe(0);
      await page.close();
    });

    it('shows what was recovered, and a tile leads to its row', async () => {
      const page = await saved('dark', true);
      const tiles = page.locator('.recovered-tile');
      await tiles.first().locator('canvas').first().waitFor();
      await expect.poll(() => tiles.count()).toBe(FEW);
      const [first] = report.entries;
      await page.getByRole('searchbox').fill('nothing of the kind');
      await tiles.first().focus();
      await page.keyboard.press('Enter');
      const details = page.locator(`#entry-${first!.id}`);
      await details.waitFor();
      await expect.poll(() => details.locator('.finding').count()).toBe(first!.result!.findings.length);
      expect(await details.getByRole('link').getAttribute('href')).toBe(`entries/${first!.id}/report.html`);
      await page.screenshot({ path: join(SCREENSHOTS, 'summary-saved-dark.png'), fullPage: true });
      expect(await seriousFindings(page)).toEqual([]);
      await page.close();
    });

    it('prints every row open, on white, and without a link to a folder of the machine', async () => {
      const page = await saved('dark', true);
      const isOpened = page.locator('.entry-details');
      const pdf = await page.pdf({ preferCSSPageSize: true });
      expect(pdf.subarray(0, 5).toString()).toBe('%PDF-');
      expect(pdf.toString('latin1')).not.toContain('file://');
      // Closed again once it is printed.
      await expect.poll(() => isOpened.count()).toBe(0);
      await asPrinted(page, 'dark');
      await expect.poll(() => isOpened.count()).toBe(report.entries.length);
      expect(await backgroundOf(page.locator('body'))).toBe('rgb(255, 255, 255)');
      expect(await page.getByRole('searchbox').isVisible()).toBe(false);
      await page.close();
    });
  });

  it('of 10,000 dumps draws only what is on screen, and comes to the last by scrolling and by filter', async () => {
    const many = manyEntries(10_000);
    const page = await open('dark', many);
    const elements = (): Promise<number> => page.locator('*').count();
    await expect.poll(() => page.locator('table.entries tbody[data-index]').count()).toBeGreaterThan(5);
    expect(await elements()).toBeLessThan(2500);
    expect(await page.locator('table.entries').getAttribute('aria-rowcount')).toBe('10001');
    const table = page.locator('#entries-scroller');
    await table.evaluate((element) => {
      const own = element as unknown as { scrollTop: number; scrollHeight: number };
      own.scrollTop = own.scrollHeight;
    });
    await expect.poll(() => page.locator('[data-index="9999"]').count()).toBe(1);
    expect(await elements()).toBeLessThan(2500);
    await page.getByRole('searchbox').fill('round_1249/client_7');
    await expect.poll(async () => (await firstCells(page)).length).toBe(1);
    expect(await page.locator('svg.rounds circle').count()).toBeLessThan(500);
    await page.close();
  });

  it('shows what was recovered as tiles: asked for as they come on screen, and each opens its audit', async () => {
    const asked: string[] = [];
    const page = await openView(browser, 'summary', 'dark', { width: 1100, height: 1000 }, async (message, own) => {
      const request = message as FromSummary;
      if (request.t === 'previews') {
        asked.push(...request.ids);
        await tell(own, { t: 'previews', previews: request.ids.map(previewOfTest) });
      }
    });
    const many = manyEntries(1000);
    await post(page, { t: 'show', report: many, closedScripts: [] });
    const recovered = many.entries.filter(({ result }) => (result?.exactInputs ?? 0) + (result?.texts ?? 0) > 0);
    await expect.poll(() => page.locator('.recovered-tile canvas').count()).toBeGreaterThan(3);
    await expect.poll(() => page.locator('.recovered-text').first().innerText()).toContain('The treaty');
    expect(asked.length).toBeLessThan(60);
    expect(asked).not.toContain(recovered.at(-1)?.id);
    await page.locator('#gallery-scroller').evaluate((element) => {
      const own = element as unknown as { scrollTop: number; scrollHeight: number };
      own.scrollTop = own.scrollHeight;
    });
    await expect.poll(() => asked).toContain(recovered.at(-1)?.id);
    expect(new Set(asked).size).toBe(asked.length);
    // By keyboard.
    const last = page.getByRole('button', { name: /round_124\/client_5/ }).first();
    await last.focus();
    await page.keyboard.press('Enter');
    await expect
      .poll(async () => (await sent<FromSummary>(page)).at(-1))
      .toEqual({ t: 'open', id: recovered.at(-1)?.id });
    await page.close();
  });

  it.each(['light', 'dark', 'high-contrast'] as const)(
    'is accessible and looks right with many dumps: %s',
    async (theme) => {
      const page = await openView(browser, 'summary', theme, { width: 1100, height: 1400 }, async (message, own) => {
        const request = message as FromSummary;
        if (request.t === 'previews') {
          await tell(own, { t: 'previews', previews: request.ids.map(previewOfTest) });
        }
      });
      await post(page, { t: 'show', report: manyEntries(600), closedScripts: [] });
      await page.locator('.recovered-tile canvas').first().waitFor();
      await page.screenshot({ path: join(SCREENSHOTS, `summary-many-${theme}.png`) });
      expect(await seriousFindings(page)).toEqual([]);
      await page.close();
    },
  );

  it.each(['light', 'dark', 'high-contrast'] as const)('is accessible and looks right: %s', async (theme) => {
    const page = await open(theme);
    await page.screenshot({ path: join(SCREENSHOTS, `summary-${theme}.png`) });
    expect(await seriousFindings(page)).toEqual([]);
    await page.close();
  });

  it.each(['light', 'dark', 'high-contrast'] as const)(
    'is accessible and looks right with entries that were not judged: %s',
    async (theme) => {
      const page = await open(theme, withOpenEntries());
      await page.screenshot({ path: join(SCREENSHOTS, `summary-open-${theme}.png`), fullPage: true });
      expect(await seriousFindings(page)).toEqual([]);
      await page.close();
    },
  );
});
