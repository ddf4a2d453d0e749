import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type BrowserContext, type Frame, type Locator, type Page, chromium } from 'playwright-core';
import { expect } from 'vitest';

/** VS Code's workbench as a person uses it. */

export const SCREENSHOTS = join(import.meta.dirname, '..', '..', 'out', 'screenshots');

export async function openBrowser(profile: string): Promise<BrowserContext> {
  const executablePath = process.env.GRADLEAK_CHROMIUM;
  if (executablePath === undefined) {
    throw new Error('GRADLEAK_CHROMIUM is not set; run the tests with "npm test".');
  }
  return chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 1360, height: 900 },
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

export class Workbench {
  constructor(readonly page: Page) {}

  private get input(): Locator {
    return this.page.locator('.quick-input-widget input.input');
  }

  private rows(text: string | RegExp): Locator {
    return this.page.locator('.quick-input-list .monaco-list-row', { hasText: text });
  }

  /** Until then commands are unknown to the palette. */
  async waitForCommand(title: string, timeout = 90_000): Promise<void> {
    const end = Date.now() + timeout;
    for (;;) {
      await this.openPalette(title);
      const found = await this.rows(title)
        .first()
        .waitFor({ timeout: 3000 })
        .then(
          () => true,
          () => false,
        );
      await this.page.keyboard.press('Escape');
      if (found) {
        return;
      }
      if (Date.now() > end) {
        throw new Error(`The palette never offered "${title}".`);
      }
    }
  }

  /** Whether the palette offers a command; once another of the extension's is there, all are. */
  async isOffered(title: string): Promise<boolean> {
    await this.openPalette(title);
    await this.input.waitFor({ state: 'visible' });
    await this.page.waitForTimeout(1500);
    const count = await this.rows(title).count();
    await this.page.keyboard.press('Escape');
    return count > 0;
  }

  async chooseFromMenu(row: Locator, entry: string): Promise<void> {
    await row.click({ button: 'right' });
    const item = this.page.locator('.monaco-menu .action-label', { hasText: entry }).first();
    await item.hover();
    // A menu takes no click until it is sure that the one that opened it is over.
    await this.page.waitForTimeout(500);
    await item.click();
  }

  private async openPalette(title: string): Promise<void> {
    // The workbench takes keys only once it has started, and a webview may hold the focus before.
    for (let attempt = 0; ; attempt++) {
      await this.page.keyboard.press('F1');
      const visible = await this.input.waitFor({ state: 'visible', timeout: 3000 }).then(
        () => true,
        () => false,
      );
      // A panel that opens meanwhile takes the focus and closes the palette: then it is opened again.
      const open =
        visible &&
        (await this.input.fill(`>${title}`, { timeout: 3000 }).then(
          () => true,
          () => false,
        ));
      if (open) {
        break;
      }
      if (attempt > 20) {
        throw new Error('The command palette does not open.');
      }
      await this.page.locator('.monaco-workbench').waitFor({ timeout: 30_000 });
    }
  }

  async runCommand(title: string): Promise<void> {
    // A panel that opens meanwhile takes the focus and closes the palette: then it is opened again.
    for (let attempt = 0; ; attempt++) {
      await this.openPalette(title);
      try {
        await this.rows(title).first().click({ timeout: 5000 });
        return;
      } catch (error) {
        if (attempt === 3) {
          throw error;
        }
      }
    }
  }

  /** Waits for a pick list with this title and chooses the entry. */
  async pick(title: string | RegExp, entry: string | RegExp): Promise<string> {
    await this.page.locator('.quick-input-title', { hasText: title }).waitFor({ timeout: 30_000 });
    const row = this.rows(entry).first();
    await row.waitFor({ timeout: 30_000 });
    const first = (await this.page.locator('.quick-input-list .monaco-list-row').first().textContent()) ?? '';
    await row.click();
    return first;
  }

  /** The webview document that holds a selector with this text. */
  async webview(selector: string, text: string | RegExp, timeout = 60_000): Promise<Frame> {
    const end = Date.now() + timeout;
    const matches = (content: string): boolean =>
      typeof text === 'string' ? content.includes(text) : text.test(content);
    while (Date.now() < end) {
      for (const frame of this.page.frames()) {
        const content = await frame
          .locator(selector)
          .first()
          .textContent({ timeout: 200 })
          .catch(() => null);
        if (content !== null && matches(content)) {
          return frame;
        }
      }
      await this.page.waitForTimeout(150);
    }
    throw new Error(`No webview shows ${selector} with ${String(text)}.`);
  }

  /** Pixels of a picture in any webview, as it was loaded; 0 where it is not. */
  async widthOfPicture(alt: string): Promise<number> {
    const width = `document.querySelector('img[alt*="${alt}"]')?.naturalWidth ?? 0`;
    const widths = await Promise.all(this.page.frames().map((frame) => frame.evaluate(width).catch(() => 0)));
    return Math.max(...widths.map(Number));
  }

  /** Types a path into VS Code's own file dialog (`files.simpleDialog.enable`), which opens with this in its input. */
  async answerFileDialog(suggested: string, path: string): Promise<void> {
    // The dialog suggests a path once it is there; the palette that started it is gone by then.
    await expect.poll(() => this.input.inputValue(), { timeout: 20_000 }).toContain(suggested);
    await this.input.fill(path);
    await this.page.waitForTimeout(800);
    await this.page
      .locator('.quick-input-widget')
      .getByRole('button', { name: /^(OK|Compare)$/ })
      .click();
  }

  async useTheme(name: string): Promise<void> {
    await this.runCommand('Preferences: Color Theme');
    // Newer versions have more themes than the list shows at once.
    await this.rows(/./).first().waitFor({ timeout: 20_000 });
    await this.input.fill(name);
    await this.rows(name).first().waitFor({ timeout: 20_000 });
    await this.page.waitForTimeout(500);
    await this.page.keyboard.press('Enter');
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator('.notification-toast', { hasText: text });
  }

  async screenshot(name: string): Promise<void> {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });
  }

  async closeEditors(): Promise<void> {
    await this.runCommand('View: Close All Editors');
  }
}
