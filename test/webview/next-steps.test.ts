import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../src/audit/run-audit.js';
import { pathsInFolder } from '../../src/facts/inputs.js';
import type { FromPanel } from '../../src/protocol/panel-messages.js';
import { renderHtml } from '../../src/project/render-html.js';
import { SCREENSHOTS, launchBrowser, openView, post, sent, seriousFindings, tell } from './browser.js';

/** What can be done next, as buttons of the results panel. */

const ROOT = join(import.meta.dirname, '..', '..');
const MISMATCHED = join(ROOT, 'test', 'fixtures', 'dumps', 'dense_nobias');
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };
const ID = '20260101000000-00000000';
const SENTENCE =
  'run/gradient.pt: found gradient "fc.weight" of shape [10, 32]; expected [10, 64], the shape of "fc.weight" in checkpoint.pt. The gradient belongs to another model: choose the checkpoint it was computed with.';

let browser: Browser;
beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
});

describe('the next steps', () => {
  it.each(['dark', 'light', 'high-contrast'] as const)(
    'of an audit that failed are done by keyboard, in %s',
    async (theme) => {
      const page = await openView(browser, 'panel', theme, { width: 1000, height: 500 });
      await tell(page, { t: 'problem', sentence: SENTENCE, next: ['choose-checkpoint', 'inspect-file', 'open-log'] });
      const steps = page.getByRole('toolbar', { name: 'Next steps' });
      await steps.waitFor();
      expect(await page.getByRole('alert').textContent()).toBe(SENTENCE);
      expect(await seriousFindings(page)).toEqual([]);
      await page.screenshot({ path: join(SCREENSHOTS, `next-steps-${theme}.png`) });
      await steps.getByRole('button', { name: 'Choose another checkpoint' }).focus();
      await page.keyboard.press('Enter');
      expect(await sent<FromPanel>(page)).toContainEqual({ t: 'step', step: 'choose-checkpoint' });
      await page.close();
    },
  );

  it.each(['dark', 'light', 'high-contrast'] as const)('of a report stand with its verdict, in %s', async (theme) => {
    const { report } = await runAudit({ ...pathsInFolder(MISMATCHED), method: 'auto' }, hooks);
    expect(report.next).toEqual(['choose-checkpoint']);
    const page = await openView(browser, 'panel', theme, { width: 1000, height: 700 });
    await post(page, { t: 'show', auditId: ID, report, images: [] });
    await page.getByRole('button', { name: 'Choose another checkpoint' }).click();
    expect(await sent<FromPanel>(page)).toContainEqual({ t: 'step', step: 'choose-checkpoint' });
    expect(await seriousFindings(page)).toEqual([]);
    await page.screenshot({ path: join(SCREENSHOTS, `next-steps-report-${theme}.png`) });
    await page.close();
  });

  it('are not on a saved page, where nobody does them', async () => {
    const { report } = await runAudit({ ...pathsInFolder(MISMATCHED), method: 'auto' }, hooks);
    const page = await browser.newPage();
    await page.setContent(renderHtml(report, [], { bundles: join(ROOT, 'dist', 'webview') }));
    await page.locator('h1').first().waitFor();
    expect(await page.getByRole('toolbar', { name: 'Next steps' }).count()).toBe(0);
    await page.close();
  });
});
