import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { AuditStore } from '../../../src/extension/audit-store.js';
import type { Log } from '../../../src/extension/log.js';
import { ResultsPanels } from '../../../src/extension/results-panel.js';
import type { Report } from '../../../src/protocol/report.js';

/** What the host does when the panel asks to save texts; the dialog and the disk are the test's. */

const host = vi.hoisted(() => ({
  /** Posts a message as the panel does. */
  post: (_message: unknown): unknown => undefined,
  chosen: undefined as { fsPath: string } | undefined,
  suggested: [] as unknown[],
  written: [] as [string, string][],
  errors: [] as string[],
}));
vi.mock('vscode', () => {
  const joinPath = (base: { fsPath: string }, ...names: string[]): { fsPath: string } => ({
    fsPath: [base.fsPath, ...names].join('/'),
  });
  const webview = {
    options: {},
    html: '',
    cspSource: '',
    asWebviewUri: (uri: { fsPath: string }) => uri.fsPath,
    postMessage: () => Promise.resolve(true),
    onDidReceiveMessage: (listener: (message: unknown) => unknown): { dispose: () => void } => {
      host.post = listener;
      return { dispose: () => undefined };
    },
  };
  return {
    ViewColumn: { Active: -1 },
    Uri: { joinPath },
    workspace: {
      workspaceFolders: [{ uri: { fsPath: '/work' } }],
      fs: {
        writeFile: (target: { fsPath: string }, bytes: Uint8Array): Promise<void> => {
          host.written.push([target.fsPath, Buffer.from(bytes).toString()]);
          return Promise.resolve();
        },
      },
    },
    window: {
      createWebviewPanel: () => ({ webview, title: '', onDidDispose: () => undefined }),
      showSaveDialog: (options: unknown): Promise<{ fsPath: string } | undefined> => {
        host.suggested.push(options);
        return Promise.resolve(host.chosen);
      },
      showErrorMessage: (text: string): Promise<undefined> => {
        host.errors.push(text);
        return Promise.resolve(undefined);
      },
    },
  };
});

const report = {
  inputs: { gradients: { path: '/work/gradient.pt' } },
  leaks: [
    {
      details: [
        {
          type: 'texts',
          source: 'tokenizer.json',
          texts: [
            {
              title: 'Text 1',
              tokens: [
                { id: 1, text: 'héllo' },
                { id: 2, text: ' you', isUncertain: true },
              ],
            },
          ],
        },
      ],
    },
  ],
} as unknown as Report;
const log: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** A panel on an audit that has this report when it is asked to save. */
function open(stored: Report | undefined): void {
  const store = { read: () => stored } as unknown as AuditStore;
  new ResultsPanels({ fsPath: '/extension' } as never, store, log).show('20260101000000-00000000');
}

beforeEach(() => {
  Object.assign(host, { chosen: { fsPath: '/else/where.txt' }, suggested: [], written: [], errors: [] });
});

describe('saving texts', () => {
  it('writes what the report holds to where the user says, whatever the panel sends along', async () => {
    open(report);
    await host.post({ t: 'save', what: 'txt' });
    expect(host.suggested).toEqual([{ defaultUri: { fsPath: '/work/texts.txt' }, filters: { TXT: ['txt'] } }]);
    expect(host.written).toEqual([['/else/where.txt', 'Text 1 (1 of 2 tokens uncertain)\nhéllo you\n']]);
    await host.post({ t: 'save', what: 'txt', path: '/etc/passwd' });
    expect(host.suggested).toHaveLength(1);
  });

  it('writes nothing when the dialog is closed', async () => {
    host.chosen = undefined;
    open(report);
    await host.post({ t: 'save', what: 'txt' });
    expect([host.written, host.errors]).toEqual([[], []]);
  });

  it('says that a report is gone', async () => {
    open(undefined);
    await host.post({ t: 'save', what: 'txt' });
    expect(host.written).toEqual([]);
    expect(host.errors[0]).toContain('could not save /else/where.txt: Error: the report is no longer there');
  });
});
