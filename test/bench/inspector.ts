import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { type Browser, type Page, chromium } from 'playwright-core';
import type { Directory } from '../../src/protocol/inspection.js';
import type { FromInspector, ToInspector } from '../../src/protocol/inspector-messages.js';
import { RunnerClient } from '../../src/runner/client.js';

/** First paint, memory and scrolling of the inspector: a real child process and a real browser, the host played by this process. */

export interface InspectorCost {
  readonly tensors: number;
  /** From a child that runs to the directory in the host, ms. */
  readonly directoryMs: number;
  /** The same directory as JSON, written and parsed once in this process, ms: what the machine can do. */
  readonly jsonMs: number;
  /** From the page's navigation to rows on it, the child's reading included, ms; undefined without a browser. */
  readonly firstPaintMs: number | undefined;
  /** Until the rows on screen have their statistics. */
  readonly statisticsMs: number | undefined;
  /** Peak of the child, and what the host holds more than before, MB. */
  readonly childMegabytes: number;
  readonly hostMegabytes: number;
  /** Frames while scrolling through all rows, ms: 95th percentile and worst; and of a page that is empty. */
  readonly frame: { p95: number; worst: number; emptyP95: number } | undefined;
}

/** Chromium as the tests find it; undefined where there is none. */
export async function launch(): Promise<Browser | undefined> {
  const path = [process.env.GRADLEAK_CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
    (own) => own !== undefined && existsSync(own),
  );
  return path === undefined
    ? undefined
    : chromium.launch({ executablePath: path, args: ['--no-sandbox', '--disable-gpu'] });
}

function peakOf(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid ?? 'self'}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

export async function inspectorCost(path: string, browser: Browser | undefined): Promise<InspectorCost> {
  const before = process.memoryUsage().rss;
  const client = await RunnerClient.start(
    { executable: process.execPath, args: [join('dist', 'runner.js')], env: process.env },
    () => undefined,
  );
  try {
    const started = performance.now();
    const { inspection, directory } = await client.openInspection(path);
    const directoryMs = performance.now() - started;
    const jsonStarted = performance.now();
    JSON.parse(JSON.stringify(directory));
    const jsonMs = performance.now() - jsonStarted;
    const hostMegabytes = (process.memoryUsage().rss - before) / 2 ** 20;
    const drawn = browser && (await draw(browser, client, inspection, directory));
    await client.look(inspection, { look: 'close' });
    return {
      tensors: directory.names.length,
      directoryMs,
      jsonMs,
      // The page asks for the directory only once it is there, so the two add up.
      firstPaintMs: drawn && drawn.firstPaintMs + directoryMs,
      statisticsMs: drawn?.statisticsMs,
      childMegabytes: peakOf(client.pid),
      hostMegabytes,
      frame: drawn?.frame,
    };
  } finally {
    client.dispose();
  }
}

const ROWS_PER_MESSAGE = 10_000;

async function draw(
  browser: Browser,
  client: RunnerClient,
  inspection: number,
  directory: Directory,
): Promise<{ firstPaintMs: number; statisticsMs: number; frame: NonNullable<InspectorCost['frame']> }> {
  // An editor's browser is warm.
  const warm = await browser.newPage();
  await warm.setContent('<p>warm</p>');
  await warm.close();
  const page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
  const tell = (message: ToInspector): Promise<void> =>
    page.evaluate((own) => {
      (globalThis as unknown as { postMessage(message: unknown, origin: string): void }).postMessage(own, '*');
    }, message);
  await page.exposeFunction('receive', async (message: FromInspector) => {
    if (message.t === 'need') {
      await tell({ t: 'statistics', of: await client.statistics({ inspection, rows: message.rows }) });
    }
  });
  const file = (name: string): string => readFileSync(join('dist', 'webview', name), 'utf8');
  // A page of this size takes longer to travel through the automation than messages do; what it would load by itself is taken
  // from one without messages.
  const body = (parts: readonly ToInspector[]): string =>
    `<!doctype html><html><head><style>${file('inspector.css')}</style></head><body class="vscode-dark"><main id="root"></main>
        <script>new MutationObserver(() => { if (!window.firstRow && document.querySelector('#table .body .row')) window.firstRow = performance.now(); }).observe(document, { childList: true, subtree: true });
          const parts = ${JSON.stringify(parts).replace(/</g, '\\u003c')};
          window.began = performance.now();
          window.acquireVsCodeApi = () => ({ setState() {}, getState() {}, postMessage: (m) => {
            if (m.t === 'ready') { setTimeout(() => { for (const part of parts) window.postMessage(part, '*'); }); } else { window.receive(m); }
          } });</script>
        <script>${file('inspector.js').replace(/<\/script/g, '<\\/script')}</script></body></html>`;
  await page.route('http://view.test/**', (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: body(route.request().url().endsWith('empty') ? [] : partsOf(directory)),
    }),
  );
  await page.goto('http://view.test/empty');
  const loadMs = await page.evaluate<number>('window.began');
  await page.goto('http://view.test/', { waitUntil: 'commit' });
  await page.locator('#table .body .row').first().waitFor();
  // By the page's own clock, with the messages at hand: automation takes longer than an editor does.
  const firstPaintMs = loadMs + (await page.evaluate<number>('window.firstRow - window.began'));
  await page.getByRole('radio', { name: 'List' }).click();
  const statisticsStarted = performance.now();
  await page.waitForFunction(
    "document.querySelectorAll('#table .tensor').length > 0 && document.querySelectorAll('#table .waiting').length === 0",
    undefined,
    { timeout: 120_000 },
  );
  const statisticsMs = performance.now() - statisticsStarted;
  const scrolling = await frames(page, true);
  const empty = await browser.newPage();
  const idle = await frames(empty, false);
  await empty.close();
  await page.close();
  return { firstPaintMs, statisticsMs, frame: { ...scrolling, emptyP95: idle.p95 } };
}

function partsOf({ names, shapes, dtypes, bytes, ...about }: Directory): ToInspector[] {
  const parts: ToInspector[] = [{ t: 'directory', about: { ...about, tensors: names.length } }];
  for (let from = 0; from < names.length; from += ROWS_PER_MESSAGE) {
    const to = from + ROWS_PER_MESSAGE;
    parts.push({
      t: 'rows',
      from,
      rows: {
        names: names.slice(from, to),
        shapes: shapes.slice(from, to),
        dtypes: dtypes.slice(from, to),
        bytes: bytes.slice(from, to),
      },
    });
  }
  return parts;
}

const FRAMES = 180;

/** Intervals between frames, while the table is scrolled from its top to its end. */
async function frames(page: Page, scrolls: boolean): Promise<{ p95: number; worst: number }> {
  const intervals = await page.evaluate<number[]>(`new Promise((resolve) => {
    const table = ${scrolls ? "document.getElementById('table')" : 'null'};
    const intervals = [];
    let last = performance.now();
    const step = (now) => {
      intervals.push(now - last);
      last = now;
      if (table) {
        table.scrollTop = (table.scrollHeight * intervals.length) / ${FRAMES};
      }
      if (intervals.length < ${FRAMES}) {
        requestAnimationFrame(step);
      } else {
        resolve(intervals.slice(2));
      }
    };
    requestAnimationFrame(step);
  })`);
  const sorted = [...intervals].sort((one, other) => one - other);
  return { p95: sorted[Math.floor(0.95 * sorted.length)] ?? NaN, worst: sorted.at(-1) ?? NaN };
}
