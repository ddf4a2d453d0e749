import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pathsInFolder } from '../../src/facts/inputs.js';
import { readImages } from '../../src/audit/output.js';
import { runAudit } from '../../src/audit/run-audit.js';
import { renderHtml } from '../../src/project/render-html.js';
import { METHODS } from '../../src/audit/registry.js';
import type { FromPanel, PanelImage } from '../../src/protocol/panel-messages.js';
import type { Report } from '../../src/protocol/report.js';
import { expectGolden, goldenReport } from '../golden/golden.js';
import { GOLDEN_CASES } from '../golden/make-cases.js';
import { NETWORKS } from '../networks.js';
import { toyMethod } from '../toy-method.js';
import {
  type Theme,
  asPrinted,
  backgroundOf,
  launchBrowser,
  openView,
  post,
  sent,
  seriousFindings,
} from './browser.js';

/** The built panel in a real browser, with VS Code's side of the door played by the test. */

const ROOT = join(import.meta.dirname, '..', '..');
const SCREENSHOTS = join(ROOT, 'out', 'screenshots');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

let browser: Browser;
const reports: Record<string, Report> = {};
const images: Record<string, PanelImage[]> = {};
/** Golden reports whose page is kept, too: a kind left open, no judgement, and a difference turned into a gradient. */
const KEPT_PAGES = ['kind-open-under-noise', 'adam', 'difference'];
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-panel-'));

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
  const audit = async (folder: string): Promise<Report> =>
    (await runAudit({ ...pathsInFolder(folder), method: 'auto' }, hooks)).report;
  const dumps = join(ROOT, 'test', 'fixtures', 'dumps');
  reports.example = await audit(join(ROOT, 'media', 'example'));
  reports.mixup = await audit(join(dumps, 'k100_mixup_smooth_nobias_trained'));
  reports.batch = await audit(join(dumps, 'batch6_bias'));
  reports.gallery = await audit(join(ROOT, 'test', 'fixtures', 'batches', 'trained-smoothed-bias-s0'));
  reports.multilabel = await audit(join(dumps, 'multilabel_bias'));
  reports.mismatch = await audit(join(dumps, 'dense_nobias'));
  for (const golden of GOLDEN_CASES.filter(({ name }) => [...KEPT_PAGES, 'batch-under-noise'].includes(name))) {
    reports[golden.name] = await goldenReport(golden, scratch);
  }
  for (const [name, folder, settings] of [
    ['rebuilt', 'lenet', {}],
    ['matched', 'pooled', { settings: { iterations: 150, restarts: 2 } }],
    ['vector', 'mlp', {}],
  ] as const) {
    const capture = join(NETWORKS, folder);
    const out = join(scratch, name);
    const { report } = await runAudit(
      {
        ...pathsInFolder(capture),
        method: 'auto',
        truth: join(capture, 'truth.json'),
        out,
        reconstruction: {
          attack: 'auto',
          preset: 'soft-label',
          engine: 'onnxruntime-cpu',
          timeLimitSeconds: 30,
          ...settings,
        },
      },
      hooks,
    );
    reports[name] = report;
    images[name] = readImages(out, report);
  }
  const out = join(scratch, 'toy');
  const request = { ...pathsInFolder(join(dumps, 'k10_hard_bias_default')), method: 'auto' as const, out };
  reports.toy = (await runAudit(request, hooks, { methods: [...METHODS, toyMethod] })).report;
  images.toy = readImages(out, reports.toy);
}, 60_000);

afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await browser.close();
});

function openPanel(theme: Theme, width = 1000): Promise<Page> {
  return openView(browser, 'panel', theme, { width, height: 900 });
}

async function show(page: Page, report: Report | undefined, pictures: PanelImage[] = []): Promise<void> {
  await post(page, { t: 'show', auditId: '20260101000000-00000000', report, images: pictures });
}

/** RGBA of a canvas. */
async function pixelsOf(page: Page, id: string): Promise<number[]> {
  return page.locator(`canvas#${id}`).evaluate((canvas) => {
    const element = canvas as unknown as {
      width: number;
      height: number;
      getContext(kind: string): { getImageData(x: number, y: number, w: number, h: number): { data: number[] } };
    };
    return [...element.getContext('2d').getImageData(0, 0, element.width, element.height).data];
  });
}

/** A running audit after some steps of gradient matching. */
async function showRun(page: Page): Promise<void> {
  const preview = readFileSync(join(scratch, 'rebuilt', 'reconstruction-0.png')).toString('base64');
  for (let step = 0; step < 12; step++) {
    await post(page, {
      t: 'run',
      auditId: '20260101000000-00000000',
      progress: {
        stage: 'reconstruct',
        message: `Gradient matching: iteration ${40 * step} of 4800, 20 s left`,
        fraction: 0.6 + step / 100,
        reconstruction: {
          sample: 0,
          method: 'matching',
          restart: Math.floor(step / 8),
          iteration: 40 * (step % 8),
          of: 4800,
          loss: 0.5 / (1 + (step % 8)),
          secondsLeft: 20,
          caption: 'So far',
          preview: step % 2 === 0 ? preview : null,
        },
      },
    });
  }
}

describe('the results panel', () => {
  it('shows label, feature, confidence and findings of a sample', async () => {
    const page = await openPanel('dark');
    await show(page, reports.example);
    expect(await page.getByText('Loading the report').count()).toBe(0);
    expect(await page.locator('h1').textContent()).toContain('the label is seven');
    expect(await page.locator('.bar-name').first().textContent()).toBe('seven');
    expect(await page.locator('.fold summary').innerText()).toBe('9 other classes, 9.0 % together (1.0 % each)');
    const share = await page.locator('.bar-strong .bar-fill').getAttribute('width');
    expect(Number(share)).toBeCloseTo(91, 3);
    expect(await page.locator('.finding').count()).toBe(reports.example?.findings.length);
    expect(await page.locator('.check').count()).toBe(reports.example?.consistency.length);
    expect(await page.evaluate(() => (globalThis as unknown as { kept: unknown }).kept)).toEqual({
      auditId: '20260101000000-00000000',
    });
    await page.close();
  });

  it('draws the feature: the strip is not blank and follows the values', async () => {
    const page = await openPanel('dark');
    await show(page, reports.example);
    const pixels = await page.locator('canvas.strip').evaluate((canvas) => {
      const element = canvas as unknown as {
        width: number;
        getContext(kind: string): { getImageData(x: number, y: number, w: number, h: number): { data: number[] } };
      };
      return [...element.getContext('2d').getImageData(0, 0, element.width, 1).data];
    });
    const { preview } = reports.example!.samples[0]!.featureStatistics;
    expect(pixels.length).toBe(preview.length * 4);
    const green = (index: number): number => pixels[index * 4 + 1]!;
    const highest = preview.indexOf(Math.max(...preview));
    const lowest = preview.indexOf(Math.min(...preview));
    expect(green(highest)).toBeGreaterThan(green(lowest) + 100);
    await page.close();
  });

  it('works by keyboard alone: unfold, switch the curve, zoom, save, copy', async () => {
    const page = await openPanel('light');
    await show(page, reports.example);
    await page.locator('.fold summary').focus();
    await page.keyboard.press('Enter');
    expect(await page.locator('.fold li').first().isVisible()).toBe(true);
    await page.locator('.evidence > summary').focus();
    await page.keyboard.press('Enter');
    const curve = page.locator('.chart .curve').first();
    const before = await curve.getAttribute('d');
    await page.locator('vscode-radio').first().focus();
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => curve.getAttribute('d')).not.toBe(before);
    const paper = await curve.getAttribute('d');
    await page.locator('svg.chart').focus();
    await page.keyboard.press('+');
    expect(await curve.getAttribute('d')).not.toBe(paper);
    for (const name of [
      'Save report (JSON)',
      'Save page (HTML in one file, to read, print or send)',
      'Choose truth... to compare with (JSON); nothing that was recovered changes',
      'Save features (.npy)',
      'Copy summary',
      'Show log',
      'Save plot (PNG): the loss landscape as it is drawn',
    ]) {
      await page.getByRole('button', { name }).focus();
      await page.keyboard.press('Enter');
    }
    await expect.poll(async () => (await sent<FromPanel>(page)).length).toBe(8);
    const messages = await sent<FromPanel>(page);
    const png = messages.find((message) => message.t === 'save' && message.what === 'png');
    expect(
      Buffer.from((png as { png: string }).png, 'base64')
        .subarray(1, 4)
        .toString(),
    ).toBe('PNG');
    expect(messages.filter(({ t }) => t === 'save')).toHaveLength(4);
    expect(messages.find((message) => message.t === 'copy')).toMatchObject({
      text: expect.stringContaining('seven') as string,
    });
    await page.close();
  });

  it.each(['dark', 'light', 'high-contrast'] as const)(
    '%s: leads by keyboard to its files, to the line that captured and to another checkpoint',
    async (theme) => {
      const page = await openPanel(theme);
      const script = { file: '/work/train.py', line: 12, why: null };
      await post(page, { t: 'show', auditId: 'a', report: reports.example, images: [], script });
      const line = page.locator('.verdict .muted').first();
      expect((await line.innerText()).replace(/\s+/g, ' ')).toContain(
        'gradient.pt against checkpoint.pt (Change) · captured at train.py:12 · head:',
      );
      for (const name of ['gradient.pt', 'checkpoint.pt', 'Change', 'train.py:12']) {
        await line.getByRole('button', { name, exact: true }).focus();
        await page.keyboard.press('Enter');
      }
      await expect
        .poll(async () => (await sent<FromPanel>(page)).slice(1))
        .toEqual([
          { t: 'inspect', file: 'gradient' },
          { t: 'inspect', file: 'checkpoint' },
          { t: 'change-checkpoint' },
          { t: 'script' },
        ]);
      await page.screenshot({ path: join(SCREENSHOTS, `webview-ways-${theme}.png`) });
      expect(await seriousFindings(page)).toEqual([]);
      await page.close();
    },
  );

  it('says why it leads to no line, and offers a checkpoint where there was none', async () => {
    const page = await openPanel('dark');
    const script = { file: '/else/train.py', line: 12, why: 'The script is outside this workspace.' };
    const { inputs } = reports.example!;
    const report = { ...reports.example, inputs: { ...inputs, checkpoint: null } };
    await post(page, { t: 'show', auditId: 'a', report, images: [], script });
    const line = page.locator('.verdict .muted');
    await expect.poll(() => line.first().innerText()).toContain('without a checkpoint (Change)');
    expect(await line.getByRole('button', { name: 'train.py:12' }).isDisabled()).toBe(true);
    expect(await line.first().innerText()).toContain('outside this workspace');
    await page.close();
  });

  it('names both classes of a mixed label', async () => {
    const page = await openPanel('light');
    await show(page, reports.mixup);
    expect(await page.locator('.bar-strong').count()).toBe(2);
    expect(await page.locator('h3').first().textContent()).toBe('Label: class 61 (68.4 %) + class 86 (18.9 %)');
    expect(await page.locator('.bar-strong ~ .bar-value').allTextContents()).toEqual(['68.4 %', '18.9 %']);
    expect(await page.getByText('Kind: mixed and smoothed, epsilon = 0.1296').count()).toBe(1);
    await page.close();
  });

  it('shows a batch as a gallery, and each sample in full by keyboard', async () => {
    const page = await openPanel('dark');
    await show(page, reports.gallery);
    const tiles = page.getByRole('group', { name: 'Samples of the batch' }).getByRole('button');
    await expect.poll(() => tiles.count()).toBe(8);
    expect(await page.getByRole('heading', { name: /Samples: 8 of 8/ }).count()).toBe(1);
    expect(await page.getByRole('heading', { name: /^Sample 1/ }).count()).toBe(1);
    await tiles.nth(2).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => tiles.nth(2).getAttribute('aria-pressed')).toBe('true');
    expect(await tiles.nth(0).getAttribute('aria-pressed')).toBe('false');
    expect(await page.getByRole('heading', { name: /^Sample 3/ }).count()).toBe(1);
    expect(await page.getByRole('heading', { name: /^Sample 1/ }).count()).toBe(0);
    const third = reports.gallery!.samples[2]!;
    expect(await tiles.nth(2).textContent()).toContain(`class ${third.label.classes[0]!.index}`);
    await page.close();
  });

  it('shows label counts with who disagrees', async () => {
    const page = await openPanel('light');
    await show(page, reports.batch);
    expect(await page.locator('h2#counts').textContent()).toContain('6 samples');
    const row = page.locator('tbody tr', { hasText: 'class 7' });
    expect(await row.locator('strong').textContent()).toBe('3');
    await page.close();
  });

  it('a judgement that was not made looks like a warning, and an empty list of findings is no comfort', async () => {
    const page = await openPanel('light');
    await show(page, reports.adam);
    expect(await page.locator('.verdict-not-assessed').count()).toBe(1);
    expect(await page.getByRole('img', { name: 'Warning' }).count()).toBe(1);
    expect(await page.getByText('this is not a clean result').count()).toBe(1);
    await page.close();
  });

  it('shows a range where the noise leaves the kind open', async () => {
    const page = await openPanel('light');
    await show(page, reports['kind-open-under-noise']);
    expect(await page.locator('.bar-value').allTextContents()).toEqual(['97 to 100 %']);
    await page.close();
  });

  it.each(KEPT_PAGES)('the page of %s is the one that was kept', async (name) => {
    const page = await openPanel('light');
    await show(page, reports[name]);
    expectGolden(`${name}.page.txt`, `${await page.locator('main').innerText()}\n`);
    await page.close();
  });

  it('shows a report of an earlier version', async () => {
    const page = await openPanel('light');
    const { update: _update, methods: _methods, ...old } = structuredClone(reports.example!);
    for (const { label } of old.samples) {
      delete label.classConfidence;
      delete label.kindConfidence;
      delete label.smoothingRange;
    }
    await show(page, old);
    expect(await page.locator('h3', { hasText: 'Label: seven (91.0 %)' }).count()).toBe(1);
    expect(await page.locator('main').innerText()).not.toMatch(/undefined|NaN/);
    await page.close();
  });

  it('draws what a method shows without knowing the method', async () => {
    const page = await openPanel('dark');
    await show(page, reports.toy, images.toy);
    const section = page.locator('section', { has: page.locator('h2', { hasText: 'A toy that leaks' }) });
    expect(await section.locator('p code').first().textContent()).toBe('fc.weight');
    expect(await section.locator('[aria-label="Toy table"] tbody td').allInnerTexts()).toContain('first');
    expect(await section.locator('[aria-label="Toy bars"] li').innerText()).toContain('40 to 60 %');
    expect(await section.locator('svg[role="img"]').getAttribute('aria-label')).toBe(
      'Toy curve: loss over step of run; lowest 1',
    );
    expect(await section.locator('.tokens code').allInnerTexts()).toEqual([' toy', 'word']);
    const pixels = await section.locator('canvas').evaluate((canvas) => {
      const element = canvas as unknown as {
        width: number;
        getContext(kind: string): { getImageData(x: number, y: number, w: number, h: number): { data: number[] } };
      };
      return [...element.getContext('2d').getImageData(0, 0, element.width, element.width).data];
    });
    expect([pixels.length, pixels[0], pixels.at(-2)]).toEqual([4 * 64, 0, 255]);
    expect(await section.getByText('"hologram", which this version does not know').count()).toBeGreaterThan(0);
    expect(await section.getByText('toy-0.npy').count()).toBe(1);
    expect(await page.locator('.finding', { hasText: 'A toy can be read' }).count()).toBe(1);
    await page.close();
  });

  it('prints as a saved page: on white, with everything open, nothing cut and nothing to press', async () => {
    const page = await browser.newPage({ colorScheme: 'dark', viewport: { width: 1000, height: 900 } });
    await page.setContent(renderHtml(reports.gallery!, [], { bundles: join(ROOT, 'dist', 'webview') }));
    expect(await page.getByText('keep and share it as the data themselves').first().isVisible()).toBe(true);
    expect(await page.getByRole('button', { name: /^Choose truth/ }).count()).toBe(0);
    const closed = page.locator('details:not([open])');
    expect(await closed.count()).toBeGreaterThan(1);
    const pdf = await page.pdf({ preferCSSPageSize: true });
    // A4: wider than US Letter is long.
    expect(pdf.toString('latin1')).toMatch(/MediaBox \[0 0 59[45][\d.]* 84[12]/);
    await asPrinted(page, 'dark');
    expect(await closed.count()).toBe(0);
    expect(await backgroundOf(page.locator('body'))).toBe('rgb(255, 255, 255)');
    expect(await page.getByRole('toolbar').first().isVisible()).toBe(false);
    const cut = await page.locator('.scroll, .fold ul, .gallery').evaluateAll(
      (elements) =>
        elements.filter((element) => {
          const own = element as unknown as { scrollHeight: number; clientHeight: number };
          return own.scrollHeight > own.clientHeight + 1;
        }).length,
    );
    expect(cut).toBe(0);
    await page.close();
  });

  it('is the same on a saved page', async () => {
    const page = await browser.newPage();
    await page.setContent(renderHtml(reports.toy!, images.toy!, { bundles: join(ROOT, 'dist', 'webview') }));
    expect(await page.locator('h2', { hasText: 'A toy that leaks' }).count()).toBe(1);
    expect(await page.locator('canvas[id^="picture-toy"]').count()).toBe(1);
    // There is nobody to lead anywhere.
    expect(await page.locator('.verdict button.link').count()).toBe(0);
    await page.close();
  });

  it('asks for a truth by keyboard, and tells a comparison apart from what took part', async () => {
    const page = await openPanel('light');
    await show(page, reports.example);
    await page.getByRole('button', { name: /^Choose truth/ }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => sent(page)).toContainEqual({ t: 'truth' });
    const { truth } = reports.example!;
    const { found: _found, ...chosen } = truth!;
    await show(page, { ...reports.example!, truth: { ...chosen, chosenAfterwards: true } });
    await page.getByText('Compared with truth.json (chosen after the audit, not used)').first().waitFor();
    expect(await page.getByText('Against the truth (chosen after the audit, not used)').count()).toBe(2);
    await page.close();
  });

  it('offers no comparison where nothing was recovered', async () => {
    const page = await openPanel('light');
    await show(page, reports.adam);
    expect(await page.getByRole('button', { name: /^Choose truth/ }).count()).toBe(0);
    await page.close();
  });

  it('keeps a record: when, by what, from which contents, on which assumptions, and what is not told', async () => {
    const page = await openPanel('light');
    const report = reports.example!;
    await show(page, report);
    await page.locator('.evidence > summary').click();
    const record = await page.locator('.evidence').innerText();
    expect(record).toContain(`gradleak ${report.tool.version}`);
    expect(record).toContain(report.finished!.slice(0, 16).replace('T', ' '));
    const rows = page.locator('table.hashes tbody tr');
    expect(await rows.count()).toBe(report.inputs.files!.length);
    for (const { sha256, path } of report.inputs.files!) {
      expect(await rows.filter({ hasText: sha256 }).locator('th').innerText()).toBe(path);
    }
    expect(await page.locator('.limits li').count()).toBeGreaterThan(3);
    const ran = report.methods!.filter(({ outcome }) => outcome !== 'not-applicable');
    expect(await page.locator('.assumption').count()).toBe(ran.length);
    await page.close();
  });

  it('says so where files were not hashed', async () => {
    const page = await openPanel('light');
    const { files: _files, ...inputs } = reports.example!.inputs;
    await show(page, { ...reports.example!, inputs });
    await page.locator('.evidence > summary').click();
    expect(await page.locator('.limits').innerText()).toContain('hashes were not computed');
    await page.close();
  });

  it('a lost audit is said in a sentence', async () => {
    const page = await openPanel('dark');
    await page.evaluate(() => {
      (globalThis as unknown as { postMessage(message: unknown, origin: string): void }).postMessage(
        { t: 'problem', sentence: 'This audit is no longer stored.', next: [] },
        '*',
      );
    });
    expect(await page.getByRole('alert').textContent()).toBe('This audit is no longer stored.');
    await page.close();
  });
});

describe('the reconstructed input', () => {
  it('is drawn pixel by pixel like the true one, with its numbers and evidence', async () => {
    const page = await openPanel('dark');
    await show(page, reports.rebuilt, images.rebuilt);
    const found = await pixelsOf(page, 'picture-0');
    const truth = await pixelsOf(page, 'picture-0-truth');
    expect(found).toHaveLength(4 * 32 * 32);
    expect(found.filter((level, at) => Math.abs(level - truth[at]!) > 1)).toEqual([]);
    expect(new Set(found).size).toBeGreaterThan(50);
    expect(await page.locator('h3.with-tag vscode-tag').textContent()).toBe('Exact');
    expect(await page.getByText(/PSNR/).first().isVisible()).toBe(true);
    expect(await page.locator('[aria-label="Evidence of each layer"] tbody tr').count()).toBe(3);
    await page.close();
  });

  it('follows normalisation, channel, zoom and amplification by keyboard, and is saved', async () => {
    const page = await openPanel('light');
    await show(page, reports.rebuilt, images.rebuilt);
    const before = await pixelsOf(page, 'picture-0');
    await page.getByText('Colours, zoom and saving of the picture').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('combobox', { name: 'Normalisation' }).selectOption('imagenet');
    await expect.poll(async () => (await pixelsOf(page, 'picture-0')).join()).not.toBe(before.join());
    await page.getByRole('combobox', { name: 'Channel' }).selectOption('1');
    await expect
      .poll(async () => (await pixelsOf(page, 'picture-0')).slice(0, 3))
      .toSatisfy((own: number[]) => own[0] === own[1]);
    await page.getByRole('combobox', { name: 'Zoom' }).selectOption('2');
    await expect
      .poll(() =>
        page.locator('canvas#picture-0').evaluate((own) => (own as unknown as { clientWidth: number }).clientWidth),
      )
      .toBe(64);
    const quiet = await pixelsOf(page, 'picture-0-difference');
    await page.getByRole('combobox', { name: 'Amplify difference' }).selectOption('1');
    await expect.poll(async () => (await pixelsOf(page, 'picture-0-difference')).join()).not.toBe(quiet.join());
    for (const name of [
      'Save picture (PNG): the reconstruction as it is drawn',
      "Save numbers (.npy): the reconstruction in the input's own units",
    ]) {
      await page.getByRole('button', { name }).focus();
      await page.keyboard.press('Enter');
    }
    await expect.poll(async () => (await sent<FromPanel>(page)).length).toBe(3);
    const [, png, npy] = await sent<FromPanel>(page);
    expect(png).toMatchObject({ t: 'save', what: 'png', name: 'reconstruction.png' });
    expect(npy).toEqual({ t: 'save', what: 'input-npy', sample: 0 });
    await page.close();
  });

  it('shows the curve of every restart when it was matched', async () => {
    const page = await openPanel('dark');
    await show(page, reports.matched, images.matched);
    expect(await page.locator('.loss-curve path').count()).toBe(2);
    expect(
      await page
        .getByText(/a maximum tells one entry of each window/)
        .first()
        .isVisible(),
    ).toBe(true);
    await page.close();
  });

  it('grows while it runs, and stops on demand', async () => {
    const page = await openPanel('dark');
    await showRun(page);
    expect(await page.locator('[role="status"]').textContent()).toContain('iteration 440 of 4800');
    expect(await page.locator('img.preview').getAttribute('src')).toContain('data:image/png;base64,iVBOR');
    expect(await page.locator('.loss-curve path').count()).toBe(2);
    await page.getByRole('button', { name: 'Stop and keep' }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => sent(page)).toContainEqual({ t: 'stop' });
    await show(page, reports.rebuilt, images.rebuilt);
    await expect.poll(() => page.locator('progress').count()).toBe(0);
    await page.close();
  });
});

/** Where an element is on the page, in pixels. */
async function boxOf(locator: Locator): Promise<{ x: number; y: number; width: number; height: number }> {
  return (await locator.boundingBox())!;
}

describe('the first screen', () => {
  it.each([
    [1440, 900],
    [1000, 820],
  ])('of %i x %i holds verdict, pictures, label and all findings', async (width, height) => {
    const page = await openView(browser, 'panel', 'dark', { width, height });
    await show(page, reports.rebuilt, images.rebuilt);
    const parts = [page.locator('h1'), page.locator('h3', { hasText: 'Label:' }), page.locator('.finding').last()];
    for (const id of ['picture-0', 'picture-0-truth', 'picture-0-difference']) {
      const picture = page.locator(`canvas#${id}`);
      expect((await boxOf(picture)).width).toBeGreaterThanOrEqual(256);
      parts.push(picture);
    }
    await page.screenshot({ path: join(SCREENSHOTS, `first-screen-${width}.png`) });
    for (const part of parts) {
      const box = await boxOf(part);
      expect(box.y + box.height).toBeLessThanOrEqual(height);
    }
    expect((await boxOf(page.locator('.findings'))).x).toBeGreaterThan((await boxOf(parts[3]!)).x + 256);
    await page.close();
  });

  it('says in words how bad a finding is, and shows critical and high unlike', async () => {
    const page = await openPanel('high-contrast');
    await show(page, reports.rebuilt, images.rebuilt);
    const looks = await Promise.all(
      ['critical', 'high'].map((severity) =>
        page
          .locator(`.severity-${severity}`)
          .first()
          .evaluate((own) => {
            const view = globalThis as unknown as { getComputedStyle(element: unknown): { backgroundColor: string } };
            return view.getComputedStyle(own).backgroundColor;
          }),
      ),
    );
    expect(looks[0]).not.toBe(looks[1]);
    expect(await page.locator('.severity').allInnerTexts()).toContain('CRITICAL');
    await page.close();
  });
});

describe('terms', () => {
  it('explain themselves to the keyboard until Escape, and are described by what they show', async () => {
    const page = await openPanel('light');
    await show(page, reports.rebuilt, images.rebuilt);
    const psnr = page.locator('.term', { hasText: /^PSNR$/ });
    await psnr.focus();
    const hint = page.getByRole('tooltip');
    expect(await hint.textContent()).toContain('signal-to-noise');
    expect(await psnr.getAttribute('aria-describedby')).toBe(await hint.getAttribute('id'));
    expect(await seriousFindings(page)).toEqual([]);
    await page.keyboard.press('Escape');
    expect(await hint.count()).toBe(0);
    await page.close();
  });

  it('name the assumption of each estimator', async () => {
    const page = await openPanel('light');
    await show(page, reports.batch);
    await page.locator('.term', { hasText: 'LLG' }).focus();
    expect(await page.getByRole('tooltip').textContent()).toContain('It assumes non-negative features');
    await page.close();
  });
});

describe('looks and accessibility', () => {
  for (const theme of ['light', 'dark', 'high-contrast'] as const) {
    it.each([
      'example',
      'mixup',
      'batch',
      'gallery',
      'multilabel',
      'mismatch',
      'rebuilt',
      'matched',
      'vector',
      'toy',
      'run',
      ...KEPT_PAGES,
      'batch-under-noise',
    ])(`${theme}: %s`, async (name) => {
      const page = await openPanel(theme);
      await (name === 'run' ? showRun(page) : show(page, reports[name], images[name]));
      await page.screenshot({ path: join(SCREENSHOTS, `webview-${name}-${theme}.png`), fullPage: true });
      expect(await seriousFindings(page)).toEqual([]);
      await page.close();
    });
  }

  it('fits a narrow editor column', async () => {
    const page = await openPanel('dark', 380);
    await show(page, reports.example);
    await page.screenshot({ path: join(SCREENSHOTS, 'webview-narrow.png'), fullPage: true });
    const overflow = await page.evaluate(() => {
      const { document } = globalThis as unknown as {
        document: { documentElement: { scrollWidth: number; clientWidth: number } };
      };
      return document.documentElement.scrollWidth - document.documentElement.clientWidth;
    });
    expect(overflow).toBeLessThanOrEqual(0);
    await page.close();
  });
});
