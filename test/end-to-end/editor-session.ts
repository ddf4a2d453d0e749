import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { BrowserContext } from 'playwright-core';
import { VSIX } from './package-extension.js';
import { type VsCodeServer, startVsCode } from './vscode-server.js';
import { Workbench, openBrowser } from './workbench.js';

/** A workspace that is open in VS Code, with the packaged extension. */
export interface EditorSession {
  readonly server: VsCodeServer;
  readonly browser: BrowserContext;
  readonly workbench: Workbench;
  /** Ends VS Code and removes the folder. @param picture name of a last screenshot, none when absent */
  end(picture?: string): Promise<void>;
}

/**
 * @param folder of this session alone: the browser's profile is made in it, and it is removed at the end
 * @param command that the palette offers once the extension is there; absent where nobody waits for it
 */
export async function openEditor({
  folder,
  workspace,
  command,
  trust = true,
  size,
  timeout,
}: {
  readonly folder: string;
  readonly workspace: string;
  readonly command?: string;
  readonly trust?: boolean;
  readonly size?: { readonly width: number; readonly height: number };
  readonly timeout?: number;
}): Promise<EditorSession> {
  const server = await startVsCode({ workspace, vsix: VSIX, trust });
  const browser = await openBrowser(join(folder, 'profile'));
  const page = browser.pages()[0] ?? (await browser.newPage());
  if (size) {
    await page.setViewportSize(size);
  }
  await page.goto(server.url);
  const workbench = new Workbench(page);
  if (command !== undefined) {
    await workbench.waitForCommand(command, timeout);
  }
  return {
    server,
    browser,
    workbench,
    end: async (picture) => {
      if (picture !== undefined) {
        await workbench.screenshot(picture).catch(() => undefined);
      }
      await browser.close();
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
