import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { defend } from '../../src/audit/defence/defend.js';
import { readDefence } from '../../src/audit/defence/stored-defence.js';
import { readImages, readStored } from '../../src/audit/output.js';
import { pathsInFolder } from '../../src/facts/inputs.js';
import { renderHtml } from '../../src/project/render-html.js';
import type { FromPanel, PanelImage, StoredDefence } from '../../src/protocol/panel-messages.js';
import type { Report } from '../../src/protocol/report.js';
import { NETWORKS } from '../networks.js';
import { SCREENSHOTS, type Theme, launchBrowser, openView, post, sent, seriousFindings } from './browser.js';
import { THEMES } from './themes.js';

/** The panel's view of a sweep of defences, of a real one. */

const ROOT = join(import.meta.dirname, '..', '..');
const AUDIT = '20260101000000-00000000';
const scratch = mkdtempSync(join(tmpdir(), 'gradleak-defences-'));
let browser: Browser;
let report: Report;
let images: PanelImage[];
let stored: StoredDefence;

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
  const out = join(scratch, 'lenet');
  await defend(
    {
      audit: {
        ...pathsInFolder(join(NETWORKS, 'lenet')),
        method: 'auto',
        out,
        reconstruction: { attack: 'auto', preset: 'soft-label', engine: 'onnxruntime-cpu', timeLimitSeconds: 30 },
      },
      out,
      effort: 'quick',
      defences: ['gaussian-noise', 'clipping', 'withholding'],
      timeLimitSeconds: 600,
    },
    { progress: () => undefined, pause: () => Promise.resolve() },
  );
  report = readStored(out) as Report;
  images = readImages(out, report);
  stored = readDefence(out)!;
}, 120_000);

afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true });
  await browser.close();
});

async function openDefences(theme: Theme = 'dark', width = 1000): Promise<Page> {
  const page = await openView(browser, 'panel', theme, { width, height: 900 });
  await post(page, { t: 'show', auditId: AUDIT, report, images });
  await post(page, { t: 'defence', auditId: AUDIT, progress: null, stored });
  return page;
}

describe('what would stop a leak', () => {
  it('is offered for a leak, shows how far it is, and is stopped by the user', async () => {
    const page = await openView(browser, 'panel', 'light', { width: 1000, height: 900 });
    await post(page, { t: 'show', auditId: AUDIT, report, images });
    await page.getByRole('button', { name: 'Try defences, quick' }).click();
    expect((await sent(page)).at(-1)).toEqual({ t: 'defend', effort: 'quick' } satisfies FromPanel);
    await post(page, {
      t: 'defence',
      auditId: AUDIT,
      progress: { message: 'Gaussian noise: 0.3 of the norm', fraction: 0.4 },
    });
    expect(await page.getByRole('progressbar', { name: 'Progress of the defences' }).getAttribute('value')).toBe('40');
    await page.getByRole('button', { name: 'Stop and keep' }).click();
    expect((await sent(page)).at(-1)).toEqual({ t: 'stop' } satisfies FromPanel);
    await post(page, {
      t: 'defence',
      auditId: AUDIT,
      progress: null,
      problem: 'The audit process ended unexpectedly.',
    });
    expect(await page.getByRole('alert').textContent()).toContain('ended unexpectedly');
    await page.close();
  });

  it('is not offered where nothing leaks', async () => {
    const page = await openView(browser, 'panel', 'light', { width: 1000, height: 900 });
    const calm = { ...report, verdict: { ...report.verdict, outcome: 'none-found' } };
    await post(page, { t: 'show', auditId: AUDIT, report: calm, images: [] });
    expect(await page.locator('section.defences').count()).toBe(0);
    await page.close();
  });

  it.each(Object.keys(THEMES) as Theme[])('dissolves the picture as the level rises: %s', async (theme) => {
    const page = await openDefences(theme);
    const section = page.locator('section.defences');
    const noise = stored.report.curves.find(({ id }) => id === 'gaussian-noise')!;
    const slider = section.getByRole('slider');
    const pictures: (string | null)[] = [];
    for (let at = 0; at < noise.points.length; at++) {
      await slider.fill(String(at));
      const level = noise.levels[noise.points[at]!.level]!;
      expect(await section.locator('output').textContent()).toBe(level.name);
      expect(await section.locator('tr[aria-current] th').last().textContent()).toBe(level.name);
      pictures.push(await section.locator('.before-after img').last().getAttribute('src'));
    }
    expect(new Set(pictures).size).toBeGreaterThan(3);
    await slider.fill('2');
    await section.getByText('Settings of this level').click();
    expect(await seriousFindings(page)).toEqual([]);
    await section.screenshot({ path: join(SCREENSHOTS, `defences-${theme}.png`) });
    await page.close();
  });

  it('chooses a level by dragging over the chart, and a defence by its row', async () => {
    const page = await openDefences();
    const section = page.locator('section.defences');
    const chart = section.locator('svg.defence-chart');
    await chart.scrollIntoViewIfNeeded();
    const box = (await chart.boundingBox())!;
    const noise = stored.report.curves.find(({ id }) => id === 'gaussian-noise')!;
    await page.mouse.move(box.x + box.width * 0.2, box.y + 80);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.97, box.y + 80, { steps: 5 });
    await page.mouse.up();
    const last = noise.levels[noise.points.at(-1)!.level]!;
    expect(await section.locator('output').textContent()).toBe(last.name);
    // Moving without a pressed button chooses nothing.
    await page.mouse.move(box.x + box.width * 0.2, box.y + 80);
    expect(await section.locator('output').textContent()).toBe(last.name);
    await section.getByRole('button', { name: 'Withholding layers' }).click();
    expect(await section.locator('h3').textContent()).toBe('Withholding layers');
    expect(await section.locator('.none').first().textContent()).toContain('No guess');
    await section.screenshot({ path: join(SCREENSHOTS, 'defences-withheld.png') });
    await page.close();
  });

  it('copies the lines for Opacus of the chosen level, and saves table and chart', async () => {
    const page = await openDefences();
    const section = page.locator('section.defences');
    const noise = stored.report.curves.find(({ id }) => id === 'gaussian-noise')!;
    await section.getByRole('slider').fill('1');
    await section.getByText('Settings of this level').click();
    await section.getByRole('button', { name: 'Copy the lines for Opacus' }).click();
    const opacus = noise.levels[noise.points[1]!.level]!.settings.find(({ library }) => library === 'Opacus')!;
    expect((await sent(page)).at(-1)).toEqual({ t: 'copy', text: opacus.code } satisfies FromPanel);
    expect(opacus.code).toContain('noise_multiplier=');
    await section.getByRole('button', { name: 'Save table' }).click();
    expect((await sent(page)).at(-1)).toEqual({ t: 'save', what: 'csv' } satisfies FromPanel);
    await section.getByRole('button', { name: 'Save chart' }).click();
    await vi.waitFor(async () => {
      expect((await sent(page)).at(-1)).toMatchObject({ what: 'png' });
    });
    const saved = (await sent(page)).at(-1) as unknown as { png: string; name: string };
    expect(saved.name).toBe('defences.png');
    expect(Buffer.from(saved.png, 'base64').subarray(1, 4).toString()).toBe('PNG');
    await page.close();
  });

  it('is on the saved page, where the table is the browser to save', async () => {
    const page = await browser.newPage();
    await page.setContent(renderHtml(report, images, { defence: stored, bundles: join(ROOT, 'dist', 'webview') }));
    const section = page.locator('section.defences');
    await section.getByRole('slider').fill('1');
    expect(await section.getByRole('button', { name: 'Try defences' }).count()).toBe(0);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      section.getByRole('button', { name: 'Save table' }).click(),
    ]);
    expect(download.suggestedFilename()).toBe('defences.csv');
    await page.close();
  });
});
