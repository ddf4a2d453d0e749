import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type Locator, type Page, chromium } from 'playwright-core';
import { expect } from 'vitest';
import { THEMES } from './themes.js';

/** The built views in a real browser, with VS Code's side of the door played by the test. */

const ROOT = join(import.meta.dirname, '..', '..');
export const SCREENSHOTS = join(ROOT, 'out', 'screenshots');
const axe = readFileSync(join(ROOT, 'node_modules', 'axe-core', 'axe.min.js'), 'utf8');

export type Theme = keyof typeof THEMES;

export function launchBrowser(): Promise<Browser> {
  const executablePath = process.env.GRADLEAK_CHROMIUM;
  if (executablePath === undefined) {
    throw new Error('GRADLEAK_CHROMIUM is not set; run the tests with "npm test".');
  }
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}

/** A page as the extension serves it, content security policy included. */
export async function openView(
  browser: Browser,
  view: 'panel' | 'inspector' | 'summary',
  theme: Theme,
  viewport: { width: number; height: number },
  receive: (message: unknown, page: Page) => Promise<void> = () => Promise.resolve(),
): Promise<Page> {
  const page = await browser.newPage({ viewport });
  const { bodyClass, variables } = THEMES[theme];
  const declarations = Object.entries(variables).map(([name, value]) => `--vscode-${name}: ${value};`);
  const root = [...declarations, '--vscode-font-family: system-ui, sans-serif;', '--vscode-font-size: 13px;'].join(' ');
  await page.route('http://view.test/', async (route) => {
    await route.fulfill({
      contentType: 'text/html',
      body: `<!doctype html><html lang="en" style="${root}"><head><meta charset="utf-8"><title>GradLeak</title>
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'nonce-test'; style-src http://view.test 'unsafe-inline'; img-src data: blob:">
        <link rel="stylesheet" href="http://view.test/${view}.css"></head>
        <body class="${bodyClass}"><main id="root"><p role="status">Loading the report...</p></main>
        <script nonce="test">window.sent = []; window.kept = undefined;
          window.acquireVsCodeApi = () => ({
            postMessage: (m) => { window.sent.push(m); window.receive(m); },
            setState: (s) => { window.kept = s; },
            getState: () => window.kept,
          });</script>
        <script nonce="test" src="http://view.test/${view}.js"></script></body></html>`,
    });
  });
  for (const [name, contentType] of [
    [`${view}.css`, 'text/css'],
    [`${view}.js`, 'text/javascript'],
  ] as const) {
    const body = readFileSync(join(ROOT, 'dist', 'webview', name), 'utf8');
    await page.route(`http://view.test/${name}`, (route) => route.fulfill({ contentType, body }));
  }
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') {
      complaints.push(message.text());
    }
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.exposeFunction('receive', (message: unknown) => receive(message, page));
  await page.goto('http://view.test/');
  await expect.poll(async () => (await sent(page))[0]).toEqual({ t: 'ready' });
  expect(complaints.filter((text) => !text.includes('favicon'))).toEqual([]);
  return page;
}

/** What the view has posted to the host so far. */
export async function sent<T extends { t: string }>(page: Page): Promise<T[]> {
  return page.evaluate(() => (globalThis as unknown as { sent: T[] }).sent);
}

/** Posts a message as the host does. */
export async function tell(page: Page, message: unknown): Promise<void> {
  // As text: of a message with 10,000 entries, the debugger takes half a minute to spell out each value.
  await page.evaluate((text) => {
    const own = JSON.parse(text) as unknown;
    (globalThis as unknown as { postMessage(message: unknown, origin: string): void }).postMessage(own, '*');
  }, JSON.stringify(message));
}

/** The same, and waits until something with a heading is drawn. */
export async function post(page: Page, message: unknown): Promise<void> {
  await tell(page, message);
  await page.locator('h1').waitFor();
}

/** A page as it goes to a printer, from a screen of this scheme. */
export async function asPrinted(page: Page, colorScheme: 'light' | 'dark'): Promise<void> {
  await page.emulateMedia({ media: 'print', colorScheme });
  await page.evaluate(() => {
    const own = globalThis as unknown as { dispatchEvent(event: unknown): void; Event: new (name: string) => unknown };
    own.dispatchEvent(new own.Event('beforeprint'));
  });
}

/** The colour behind an element of its own, as the browser computes it. */
export function backgroundOf(element: Locator): Promise<string> {
  return element.evaluate(
    (own) =>
      (globalThis as unknown as { getComputedStyle(e: unknown): { backgroundColor: string } }).getComputedStyle(own)
        .backgroundColor,
  );
}

interface AxeResult {
  violations: { id: string; impact: string; nodes: { html: string }[] }[];
}

/** What axe calls serious or critical. */
export async function seriousFindings(page: Page): Promise<string[]> {
  // Through the debugger: the page's own policy rightly refuses foreign scripts.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResult> } }).axe.run(),
  );
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes[0]?.html ?? ''}`);
}
