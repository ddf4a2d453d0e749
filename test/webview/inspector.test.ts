import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lookAtFile } from '../../src/audit/look-at-file.js';
import { encodeNpyArray } from '../../src/formats/write-npy.js';
import { Inspection } from '../../src/inspection/inspection.js';
import { canBe } from '../../src/kinds/file-kind.js';
import type { FromInspector, LookResult, ToInspector } from '../../src/protocol/inspector-messages.js';
import { SCREENSHOTS, type Theme, launchBrowser, openView, sent, seriousFindings, tell } from './browser.js';

/** The inspector in a browser, over real files. */

const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'inspection');
const pause = (): Promise<void> => Promise.resolve();
let browser: Browser;
/** Embeddings that are not the head's, with a vocabulary. */
const LLAMA = mkdtempSync(join(tmpdir(), 'gradleak-inspector-'));

beforeAll(async () => {
  cpSync(join(FIXTURES, '..', 'texts', 'llama'), LLAMA, { recursive: true });
  const texts = Array.from({ length: 600 }, (_, id) => (id === 87 ? ' \u202eturned<b>' : `\u0120word${id}`));
  writeFileSync(join(LLAMA, 'vocab.json'), JSON.stringify(Object.fromEntries(texts.map((text, id) => [text, id]))));
  writeFileSync(join(LLAMA, 'merges.txt'), '');
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await launchBrowser();
});
afterAll(async () => {
  rmSync(LLAMA, { recursive: true });
  await browser.close();
});

/** Plays the extension host and the child process. `opened` is called once the page has all that opening a file tells it. */
function hostOf(inspection: Inspection, opened?: () => void): (message: unknown, page: Page) => Promise<void> {
  return async (raw, page) => {
    const message = raw as FromInspector;
    const answer = (own: ToInspector): Promise<void> => tell(page, own);
    if (message.t === 'ready') {
      const { names, shapes, dtypes, bytes, ...about } = inspection.directory();
      await answer({ t: 'directory', about: { ...about, tensors: names.length } });
      await answer({ t: 'rows', from: 0, rows: { names, shapes, dtypes, bytes } });
      await answer({ t: 'kind', kind: inspection.kind() });
      const kind = inspection.kind();
      await answer({ t: 'findings', of: lookAtFile(inspection.tensors, (what) => canBe(kind, what)) });
      opened?.();
    } else if (message.t === 'need' && message.differences) {
      await answer({ t: 'differences', of: await inspection.differencesOf(message.rows, 100, pause) });
    } else if (message.t === 'need') {
      await answer({ t: 'statistics', of: await inspection.statisticsOf(message.rows, 100, pause) });
    } else if (message.t === 'compare') {
      await answer({ t: 'difference', summary: inspection.compare(join(FIXTURES, 'second.pt')) });
    } else if (message.t === 'compare-nothing') {
      inspection.compareNothing();
      await answer({ t: 'difference', summary: null });
    } else if (message.t === 'look') {
      try {
        await answer({ t: 'look', id: message.id, result: await lookAt(inspection, message.at) });
      } catch (error) {
        await answer({ t: 'look-failed', id: message.id, sentence: String(error) });
      }
    }
  };
}

async function lookAt(inspection: Inspection, at: Extract<FromInspector, { t: 'look' }>['at']): Promise<LookResult> {
  switch (at.what) {
    case 'slice':
      return { what: 'slice', slice: inspection.slice(at.row, at.request) };
    case 'histogram':
      return { what: 'histogram', histogram: await inspection.histogram(at.row, pause) };
    case 'text':
      return { what: 'text', text: inspection.text(at.row, at.start) };
    case 'filters':
      return { what: 'filters', filters: inspection.filters(at.row, at.input) };
    case 'pictures':
      return { what: 'pictures', pictures: inspection.pictures(at.row, at.request) };
    case 'rows':
      return { what: 'rows', rows: await inspection.rows(at.row, pause) };
  }
}

async function open(theme: Theme, file = 'first.pt', width = 1200): Promise<Page> {
  const inspection = new Inspection(resolve(FIXTURES, file));
  let opened = (): void => undefined;
  const whole = new Promise<void>((resolved) => {
    opened = resolved;
  });
  const page = await openView(browser, 'inspector', theme, { width, height: 800 }, hostOf(inspection, opened));
  await whole;
  await page.locator('#table .tensor').first().waitFor();
  page.on('close', () => {
    inspection.close();
  });
  return page;
}

async function rowNames(page: Page): Promise<string[]> {
  return page
    .locator('#table .body .row .name')
    .evaluateAll((cells) => cells.map((cell) => (cell as unknown as { title: string }).title));
}

function row(page: Page, name: string): ReturnType<Page['locator']> {
  return page.locator('#table .body .row', { has: page.locator(`.name[title="${name}"]`) });
}

describe('the inspector', () => {
  it('lists tensors as a tree with statistics, and says what the file is', async () => {
    const page = await open('dark', 'second.pt');
    await expect.poll(() => page.locator('h1 vscode-tag').textContent()).toBe('Gradient');
    expect(await page.locator('h1').innerText()).toContain('second.pt');
    expect(await rowNames(page)).toEqual(expect.arrayContaining(['conv1', 'conv1.weight', 'block.0', 'fc.bias']));
    await expect.poll(() => page.locator('#table .waiting').count()).toBe(0);
    const [bias] = await row(page, 'fc.bias').locator('.number').allInnerTexts();
    expect(bias).toBe('40 B');
    expect(Math.abs(Number(await row(page, 'fc.bias').locator('.number').nth(4).getAttribute('title')))).toBeLessThan(
      1e-7,
    );
    await page.close();
  });

  it('marks what is not finite and says why a row has no numbers', async () => {
    const page = await open('light');
    await expect.poll(() => row(page, 'odd.not_finite').locator('.alarm').innerText()).toBe('2');
    expect(await row(page, 'odd.complex').locator('.problem').innerText()).toContain('complex');
    await page.close();
  });

  it('filters, sorts and totals', async () => {
    const page = await open('dark');
    await page.locator('#filter').fill('conv1 weight');
    await expect.poll(() => rowNames(page)).toEqual(['conv1', 'conv1.weight']);
    expect(await page.locator('#total').innerText()).toContain('1 tensor, 2.34 kB');
    await page.locator('#filter').fill('8x3x5x5');
    await expect.poll(() => rowNames(page)).toEqual(['conv1', 'conv1.weight']);
    await page.locator('#filter').fill('weight');
    await page.getByRole('radio', { name: 'List' }).click();
    await page.getByRole('button', { name: 'L2 norm' }).click();
    await expect
      .poll(async () => await page.getByRole('columnheader', { name: 'L2 norm' }).getAttribute('aria-sort'))
      .toBe('descending');
    const norms = await page
      .locator('#table .body .row')
      .evaluateAll((rows) =>
        rows.map((own) =>
          Number(
            (own as unknown as { querySelectorAll(s: string): { title: string }[] }).querySelectorAll('.number')[6]!
              .title,
          ),
        ),
      );
    expect(norms.length).toBe(5);
    expect(norms).toEqual([...norms].sort((one, other) => other - one));
    await page.close();
  });

  it('sorts by keyboard alone, says so, and shows the order from its beginning', async () => {
    const page = await open('dark');
    await page.getByRole('radio', { name: 'List' }).click();
    await page.locator('#table').press('End');
    const head = page.getByRole('columnheader', { name: 'Size' });
    await head.getByRole('button').focus();
    const sizes = (): Promise<number[]> =>
      page.evaluate<number[]>(
        "[...document.querySelectorAll('#table .body .row')].map((own) => parseInt(own.querySelector('.number').title))",
      );
    for (const order of ['descending', 'ascending']) {
      await page.keyboard.press('Enter');
      await expect.poll(() => head.getAttribute('aria-sort')).toBe(order);
      const found = await sizes();
      const sorted = [...found].sort((one, other) => one - other);
      expect(found).toEqual(order === 'ascending' ? sorted : sorted.reverse());
      await expect.poll(() => page.locator('#total').innerText()).toContain(`sorted by Size, ${order}`);
      expect(await page.locator('#table').getAttribute('aria-activedescendant')).toBe('row-0');
    }
    await page.keyboard.press('Enter');
    await expect.poll(() => head.getAttribute('aria-sort')).toBe('none');
    await page.close();
  });

  it.each([false, true])(
    'shows what is not finite beside the side bar of 1440 pixels, comparing %s',
    async (compares) => {
      const page = await open('dark', 'first.pt', 1440 - 48 - 300);
      if (compares) {
        await page.getByRole('button', { name: 'Compare with...' }).click();
        await page.locator('.compared').waitFor();
      }
      await expect.poll(() => row(page, 'odd.not_finite').locator('.alarm').innerText()).toBe('2');
      const box = await row(page, 'odd.not_finite').locator('.alarm').boundingBox();
      const table = await page.locator('#table').boundingBox();
      expect(box!.x + box!.width).toBeLessThanOrEqual(table!.x + table!.width);
      await page.screenshot({ path: join(SCREENSHOTS, `inspector-1440${compares ? '-compared' : ''}.png`) });
      await page.close();
    },
  );

  it.each(['dark', 'light', 'high-contrast'] as const)(
    'shows arrays of images as pictures, by chosen axes, %s',
    async (theme) => {
      const size = 16;
      const values = Float32Array.from({ length: 20 * 3 * size * size }, (_, at) => {
        const [picture, channel] = [Math.floor(at / (3 * size * size)), Math.floor(at / (size * size)) % 3];
        return channel === picture % 3 ? (at % (size * size)) / (size * size) : 0;
      });
      const file = join(LLAMA, 'images.npy');
      writeFileSync(file, encodeNpyArray(values, [20, 3, size, size]));
      const page = await open(theme, file);
      await page.locator('#table').focus();
      await page.keyboard.press('Enter');
      await page.getByRole('radio', { name: 'Pictures' }).click();
      await page.locator('#pictures').waitFor();
      const middle = (): Promise<number[]> =>
        page.evaluate<number[]>(`(() => {
        const canvas = document.getElementById('pictures');
        return [...canvas.getContext('2d').getImageData(15, 15, 1, 1).data];
      })()`);
      // The last pixel of the first picture is red.
      await expect.poll(middle).toEqual([254, 0, 0, 255]);
      expect(await page.locator('.content [role="status"]').innerText()).toContain(
        'Pictures 0 to 19 of 20. 0 is black, 1.000 is white',
      );
      expect(await seriousFindings(page)).toEqual([]);
      await page.screenshot({ path: join(SCREENSHOTS, `inspector-pictures-${theme}.png`) });
      await page.getByLabel('Colours').selectOption('-1');
      await page.getByLabel('Axis 1 at').fill('1');
      await page.keyboard.press('Enter');
      await expect.poll(middle).toEqual([0, 0, 0, 255]);
      await page.close();
    },
  );

  it.each([
    ['leaks/imprint/checkpoint.pt', 'trap'],
    ['leaks/language/gradient.pt', 'read from this gradient'],
  ])('tells of %s what its tensors show, and opens them', async (file, title) => {
    const page = await open('high-contrast', join('..', file));
    await page.locator('#findings li').first().waitFor();
    expect(await page.locator('#findings summary').first().innerText()).toContain(title);
    await page.locator('#findings summary').first().press('Enter');
    await page.getByRole('button', { name: 'Show the tensor' }).first().press('Enter');
    await page.locator('.detail').waitFor();
    const chosen = page.locator('#table .row.selected');
    expect(await chosen.locator('.found').count()).toBe(1);
    expect(await chosen.locator('.found').isVisible()).toBe(true);
    expect(
      await page.evaluate<string>("getComputedStyle(document.querySelector('#table .row.selected')).outlineStyle"),
    ).toBe('solid');
    expect(await seriousFindings(page)).toEqual([]);
    await page.screenshot({ path: join(SCREENSHOTS, `inspector-finding-${title.split(' ')[0] ?? ''}.png`) });
    await page.close();
  });

  it('works by keyboard alone: tree, tensor, heat map, zoom, values, back', async () => {
    const page = await open('light', 'second.pt');
    await page.locator('#table').focus();
    const [first] = await rowNames(page);
    await page.keyboard.press('ArrowLeft');
    await expect.poll(async () => (await rowNames(page))[1]).not.toBe(`${first}.weight`);
    expect(await page.locator('#row-0').getAttribute('aria-expanded')).toBe('false');
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.locator('#heat-map').waitFor();
    expect(await page.getByRole('heading', { level: 2 }).innerText()).toBe('conv1.weight');
    await page.locator('#heat-map').focus();
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => page.locator('#readout').innerText()).toMatch(/^\[\d+, \d+\]: -?\d/);
    const whole = (await sent<FromInspector>(page)).length;
    await page.keyboard.press('+');
    await expect.poll(async () => (await sent<FromInspector>(page)).length).toBeGreaterThan(whole);
    expect((await sent<FromInspector>(page)).at(-1)).toMatchObject({ at: { request: { window: {} } } });
    for (const [name, what] of [
      ['Histogram', 'figure.histogram'],
      ['Values', 'pre.values'],
      ['Filters', 'canvas#filters'],
    ] as const) {
      await page.getByRole('radio', { name: 'Heat map' }).locator('..').getByRole('radio', { checked: true }).focus();
      await page.keyboard.press('ArrowRight');
      await page.locator(what).waitFor();
      expect(await page.getByRole('radio', { name }).getAttribute('aria-checked')).toBe('true');
    }
    await page.getByRole('button', { name: /Close the tensor/ }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(() => page.locator('.detail').count()).toBe(0);
    expect(
      await page.evaluate(
        () => (globalThis as unknown as { document: { activeElement: { id: string } } }).document.activeElement.id,
      ),
    ).toBe('table');
    await page.close();
  });

  it('draws the heat map by sign and size', async () => {
    const page = await open('dark', 'second.pt');
    await row(page, 'fc.bias').click();
    await page.locator('#heat-map').waitFor();
    await page.waitForTimeout(200);
    const pixels = await page.locator('#heat-map').evaluate((canvas) => {
      const own = canvas as unknown as {
        width: number;
        getContext(kind: string): { getImageData(...a: number[]): { data: number[] } };
      };
      return [...own.getContext('2d').getImageData(0, 0, own.width, 1).data];
    });
    expect(pixels).toHaveLength(4 * 10);
    const inspection = new Inspection(join(FIXTURES, 'second.pt'));
    const values = inspection.text(inspection.directory().names.indexOf('fc.bias'), 0).values.map(Number);
    inspection.close();
    values.forEach((value, at) => {
      const [red, , blue] = pixels.slice(4 * at, 4 * at + 3);
      expect(red! > blue!, `${value}`).toBe(value > 0);
    });
    await page.close();
  });

  it('draws a histogram of bars side by side, as high as their counts', async () => {
    const page = await open('dark', 'second.pt');
    await row(page, 'block.0.weight').click();
    await page.getByRole('radio', { name: 'Histogram' }).click();
    await expect.poll(() => page.locator('figure.histogram rect').count()).toBe(80);
    const boxes = await page.locator('figure.histogram rect').evaluateAll((bins) =>
      bins.map((bin) => {
        const { left, width, height, bottom } = (
          bin as unknown as { getBoundingClientRect(): { left: number; width: number; height: number; bottom: number } }
        ).getBoundingClientRect();
        return { left, width, height, bottom };
      }),
    );
    expect(boxes).toHaveLength(80);
    const inspection = new Inspection(join(FIXTURES, 'second.pt'));
    const { counts } = await inspection.histogram(inspection.directory().names.indexOf('block.0.weight'), pause);
    inspection.close();
    const highest = Math.max(...boxes.map(({ height }) => height));
    boxes.forEach(({ left, width, height, bottom }, at) => {
      expect(width).toBeCloseTo(boxes[0]!.width, 1);
      expect(bottom).toBeCloseTo(boxes[0]!.bottom, 1);
      expect(at === 0 || left > boxes[at - 1]!.left).toBe(true);
      expect(height / highest).toBeCloseTo(Math.log1p(counts[at]!) / Math.log1p(Math.max(...counts)), 2);
    });
    await page.close();
  });

  it('keeps the row in sight that the keyboard is on', async () => {
    const page = await open('dark');
    await page.locator('#table').focus();
    for (const key of ['End', 'Home', 'PageDown', 'ArrowUp']) {
      await page.keyboard.press(key);
      await expect
        .poll(async () => {
          const [table, active, head] = await Promise.all(
            ['#table', '#table .row.active', '#table .head'].map((selector) => page.locator(selector).boundingBox()),
          );
          return active!.y >= head!.y + head!.height - 1 && active!.y + active!.height <= table!.y + table!.height + 1;
        })
        .toBe(true);
    }
    await page.close();
  });

  it('compares two files row by row', async () => {
    const page = await open('dark');
    await page.getByRole('button', { name: 'Compare with...' }).click();
    await expect.poll(() => row(page, 'fc.bias').locator('.equal').count()).toBe(1);
    await expect.poll(() => row(page, 'conv1.weight').locator('.changed').innerText()).toBe('changed');
    expect(await row(page, 'odd.scalar').locator('.only-here').innerText()).toBe('only here');
    await row(page, 'conv1.weight').click();
    await expect.poll(() => page.getByRole('radio', { name: 'Difference' }).getAttribute('aria-checked')).toBe('true');
    await page.getByRole('button', { name: 'End comparison' }).click();
    await expect.poll(() => page.getByRole('columnheader', { name: 'Rel. Δ' }).count()).toBe(0);
    await page.close();
  });

  it('warns of what a file would run, and hands it to the audit', async () => {
    const page = await openView(browser, 'inspector', 'dark', { width: 900, height: 600 });
    await tell(page, {
      t: 'directory',
      about: {
        path: '/x/evil.pt',
        format: 'torch-zip',
        fileBytes: 10,
        tensors: 0,
        buffers: [],
        kind: { kind: 'unknown', reasons: ['Nothing known.'] },
        globals: [{ name: 'os.<img src=x onerror=1>', called: true, risk: 'dangerous' }],
        notes: [],
      },
    } satisfies ToInspector);
    expect(await page.locator('.danger summary').innerText()).toContain('do not load it');
    expect(await page.locator('img').count()).toBe(0);
    await page.getByRole('button', { name: 'Audit what this gradient gives away' }).click();
    await expect.poll(async () => (await sent<FromInspector>(page)).at(-1)).toEqual({ t: 'audit' });
    await page.close();
  });

  it.each([
    ['inspection/second.pt', 'Gradient', 'Audit what this gradient gives away'],
    ['inspection/round3.pt', 'Delta of weights', 'Audit what this gradient gives away'],
    // By its name alone, which may mislead: the audit looks at both files.
    ['kinds/lenet/checkpoint.pt', 'Checkpoint', 'Audit what this gradient gives away'],
    ['kinds/convnet/checkpoint.pt', 'Checkpoint', /^Audit a Gradient of This\.\.\./],
  ])('%s: offers the audit that fits it', async (file, tag, name) => {
    const page = await open('dark', join('..', file));
    await expect.poll(() => page.locator('h1 vscode-tag').textContent()).toBe(tag);
    await page.locator('.file .actions').getByRole('button', { name }).click();
    await expect.poll(async () => (await sent<FromInspector>(page)).at(-1)).toEqual({ t: 'audit' });
    expect(await page.locator('.no-audit').count()).toBe(0);
    if (typeof name !== 'string') {
      await page.screenshot({ path: join(SCREENSHOTS, 'inspector-checkpoint.png') });
    }
    await page.close();
  });

  it('leads to the last audit of its file', async () => {
    const page = await open('dark');
    expect(await page.locator('#audited').count()).toBe(0);
    const audit = { standing: 'Leaks', sentence: 'This gradient gives away its one sample.' };
    await tell(page, { t: 'audited', audit } satisfies ToInspector);
    await page.locator('#audited').waitFor();
    expect((await page.locator('#audited').innerText()).replace(/\s+/g, ' ')).toBe(
      'Last audit: Leaks. This gradient gives away its one sample.',
    );
    await page.locator('#audited').getByRole('button', { name: 'Leaks' }).focus();
    await page.keyboard.press('Enter');
    await expect.poll(async () => (await sent<FromInspector>(page)).at(-1)).toEqual({ t: 'show-audit' });
    await page.screenshot({ path: join(SCREENSHOTS, 'inspector-audited.png') });
    expect(await seriousFindings(page)).toEqual([]);
    await tell(page, { t: 'audited', audit: null } satisfies ToInspector);
    await expect.poll(() => page.locator('#audited').count()).toBe(0);
    await page.close();
  });

  it('offers no audit of an optimiser’s state, and says why', async () => {
    const page = await open('light', 'optimiser.pt', 900);
    await expect.poll(() => page.locator('h1 vscode-tag').textContent()).toBe('Optimiser state');
    expect(await page.locator('.no-audit').innerText()).toContain('not the moments and counters');
    expect(await page.getByRole('button', { name: /^Audit/ }).count()).toBe(0);
    expect(await page.getByRole('button', { name: 'Compare with...' }).count()).toBe(1);
    await page.screenshot({ path: join(SCREENSHOTS, 'inspector-optimiser.png') });
    expect(await seriousFindings(page)).toEqual([]);
    await page.close();
  });

  it('scrolls through 100,000 tensors with few of them on the page', async () => {
    const count = 100_000;
    const names = Array.from({ length: count }, (_, at) => `layer.${Math.floor(at / 100)}.weight_${at % 100}`);
    const page = await openView(browser, 'inspector', 'dark', { width: 1200, height: 700 });
    const about = {
      path: '/x/many.pt',
      format: 'npz',
      fileBytes: 1,
      tensors: count,
      buffers: [],
      globals: [],
      notes: [],
    };
    await tell(page, { t: 'directory', about: { ...about, kind: { kind: 'unknown', reasons: [] } } });
    await tell(page, {
      t: 'rows',
      from: 0,
      rows: { names, shapes: names.map(() => [4]), dtypes: names.map(() => 'float32'), bytes: names.map(() => 16) },
    });
    await page.getByRole('radio', { name: 'List' }).click();
    // The radio button may take the focus a moment after its click.
    await expect
      .poll(async () => {
        await page.locator('#table').press('End');
        return (await rowNames(page)).at(-1);
      })
      .toBe('layer.999.weight_99');
    expect(await page.locator('#table .body .row').count()).toBeLessThan(80);
    expect(await page.locator('#table').getAttribute('aria-rowcount')).toBe(String(count + 1));
    await page.keyboard.press('Home');
    await expect.poll(async () => (await rowNames(page))[0]).toBe('layer.0.weight_0');
    await page.close();
  });

  it('knows the model by its configuration, and its blocks', async () => {
    const page = await open('dark', join('..', 'texts', 'gpt2', 'checkpoint.safetensors'));
    expect(await page.locator('#model').innerText()).toBe(
      'GPT-2 by config.json: 2 blocks, 48 wide, 3 heads, 1,536 tokens',
    );
    expect(await row(page, 'transformer.h.1').locator('.name').innerText()).toBe('▾Block 1 transformer.h.1');
    await page.close();
    const other = await open('dark', 'second.pt');
    expect(await other.locator('#model').count()).toBe(0);
    await other.close();
  });

  it('starts a large transformer with its blocks closed and in their order', async () => {
    const page = await openView(browser, 'inspector', 'dark', { width: 1200, height: 700 });
    const count = 12;
    const parts = ['attn.c_attn.weight', 'attn.c_proj.weight', 'mlp.c_fc.weight', 'mlp.c_proj.weight', 'ln_1.weight'];
    const blocks = Array.from({ length: count }, (_, at) => `h.${at}`);
    // As the letters go: h.0, h.1, h.10.
    const own = [...blocks]
      .sort()
      .flatMap((path) => [...parts, 'ln_2.weight', 'a', 'b', 'c'].map((part) => `${path}.${part}`));
    const names = [...own, 'ln_f.weight', 'wpe.weight', 'wte.weight'];
    await tell(page, {
      t: 'directory',
      about: {
        path: '/x/model.safetensors',
        format: 'safetensors',
        fileBytes: 1,
        tensors: names.length,
        buffers: [],
        kind: { kind: 'checkpoint', reasons: [] },
        globals: [],
        notes: [],
        model: { sentence: 'GPT-2 by config.json: 12 blocks', blocks },
      },
    } satisfies ToInspector);
    await tell(page, {
      t: 'rows',
      from: 0,
      rows: { names, shapes: names.map(() => [4]), dtypes: names.map(() => 'float32'), bytes: names.map(() => 16) },
    } satisfies ToInspector);
    await expect
      .poll(() => rowNames(page))
      .toEqual(['h', ...blocks, 'ln_f', 'ln_f.weight', 'wpe', 'wpe.weight', 'wte', 'wte.weight']);
    await page.screenshot({ path: join(SCREENSHOTS, 'inspector-blocks.png') });
    await row(page, 'h.2').click();
    await expect.poll(() => rowNames(page)).toContain('h.2.attn.c_attn.weight');
    await page.close();
  });

  it.each(['light', 'dark', 'high-contrast'] as const)(
    'lists the rows that are not zero, as tokens: %s',
    async (theme) => {
      const page = await open(theme, join(LLAMA, 'gradient.safetensors'));
      await expect.poll(() => page.locator('#table .waiting').count()).toBe(0);
      await row(page, 'lm_head.weight').click();
      await page.locator('#heat-map').waitFor();
      // Its gradient is not zero anywhere.
      expect(await page.getByRole('radio', { name: 'Rows' }).count()).toBe(0);
      await row(page, 'model.embed_tokens.weight').click();
      await page.getByRole('radio', { name: 'Rows' }).click();
      const list = page.getByRole('region', { name: 'Rows that are not zero' });
      await list.waitFor();
      // The last token of a text is predicted, and predicts nothing.
      const { tokens } = JSON.parse(readFileSync(join(LLAMA, 'expected.json'), 'utf8')) as { tokens: number[][] };
      const ids = [...new Set(tokens.flatMap((own) => own.slice(0, -1)))].sort((one, other) => one - other);
      expect(ids).toContain(87);
      expect(await page.locator('.detail p[role="status"]').innerText()).toBe(
        `${ids.length} of 600 rows are not zero. Texts from vocab.json.`,
      );
      expect(await list.locator('tbody td:first-child').allInnerTexts()).toEqual(ids.map(String));
      expect(await list.locator('tbody td:nth-child(2)').allInnerTexts()).toEqual(
        ids.map((id) => (id === 87 ? '" \\u202eturned<b>"' : `" word${id}"`)),
      );
      await list.scrollIntoViewIfNeeded();
      await page.screenshot({ path: join(SCREENSHOTS, `inspector-rows-${theme}.png`) });
      expect(await seriousFindings(page)).toEqual([]);
      await page.getByRole('button', { name: /Close the tensor/ }).click();
      await expect.poll(async () => (await sent<FromInspector>(page)).at(-1)).toEqual({ t: 'look-away' });
      await page.close();
    },
  );

  it.each(['light', 'dark', 'high-contrast'] as const)('is accessible and looks right: %s', async (theme) => {
    const page = await open(theme);
    await page.getByRole('button', { name: 'Compare with...' }).click();
    await expect.poll(() => row(page, 'fc.bias').locator('.equal').count()).toBe(1);
    await row(page, 'block.0.weight').click();
    await page.locator('#heat-map').waitFor();
    await expect.poll(() => page.locator('#table .waiting').count()).toBe(0);
    await page.waitForTimeout(200);
    await page.screenshot({ path: join(SCREENSHOTS, `inspector-diff-${theme}.png`) });
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByRole('button', { name: 'End comparison' }).click();
    await row(page, 'conv1.weight').click();
    await page.getByRole('radio', { name: 'Filters' }).click();
    await page.locator('canvas#filters').waitFor();
    await page.waitForTimeout(200);
    await page.screenshot({ path: join(SCREENSHOTS, `inspector-filters-${theme}.png`) });
    await page.getByRole('radio', { name: 'Histogram' }).click();
    await page.locator('figure.histogram').waitFor();
    await page.screenshot({ path: join(SCREENSHOTS, `inspector-histogram-${theme}.png`) });
    expect(await seriousFindings(page)).toEqual([]);
    await page.close();
  });
});
