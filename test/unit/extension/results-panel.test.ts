import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { AuditStore } from '../../../src/extension/audit-store.js';
import type { Log } from '../../../src/extension/log.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import { ResultsPanels } from '../../../src/extension/results-panel.js';
import type { Report } from '../../../src/protocol/report.js';

/** What the host does when the panel asks to save texts; the dialog and the disk are the test's. */

const host = vi.hoisted(() => ({
  /** Posts a message as the panel does. */
  post: (_message: unknown): unknown => undefined,
  chosen: undefined as { fsPath: string } | undefined,
  suggested: [] as unknown[],
  written: [] as [string, string][],
  posted: [] as unknown[],
  commands: [] as unknown[][],
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
    postMessage: (message: unknown) => {
      host.posted.push(message);
      return Promise.resolve(true);
    },
    onDidReceiveMessage: (listener: (message: unknown) => unknown): { dispose: () => void } => {
      host.post = listener;
      return { dispose: () => undefined };
    },
  };
  return {
    ViewColumn: { Active: -1 },
    Uri: { joinPath },
    commands: {
      executeCommand: (...command: unknown[]): Promise<void> => {
        host.commands.push(command);
        return Promise.resolve();
      },
    },
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

const ID = '20260101000000-00000000';

/** A panel on an audit that has this report when it is asked to save. */
function open(stored: Report | undefined): ResultsPanels {
  const store = { read: () => stored, images: () => [] } as unknown as AuditStore;
  const panels = new ResultsPanels({ fsPath: '/extension' } as never, store, log);
  panels.show(ID);
  return panels;
}

beforeEach(() => {
  Object.assign(host, {
    chosen: { fsPath: '/else/where.txt' },
    suggested: [],
    written: [],
    errors: [],
    posted: [],
    commands: [],
  });
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
    expect(host.errors[0]).toContain('could not save where.txt: the report is no longer there');
  });
});

describe('next steps', () => {
  const failure = {
    files: { checkpoint: '/work/checkpoint.pt', gradients: '/work/gradient.pt', given: {} },
    error: new UnusableInputError({
      code: 'shape-mismatch',
      file: '/work/gradient.pt',
      found: 'a gradient of shape [3]',
      expected: '[4], as in /work/checkpoint.pt',
      advice: 'Choose the checkpoint it was computed with.',
    }),
    steps: ['choose-checkpoint' as const],
  };

  it('of a failed audit are shown in its panel, with short paths, and known until it closes', () => {
    const panels = open(undefined);
    panels.fail(ID, failure);
    expect(host.posted).toEqual([
      {
        t: 'problem',
        sentence:
          'gradient.pt: found a gradient of shape [3]; expected [4], as in checkpoint.pt. Choose the checkpoint it was computed with.',
        next: ['choose-checkpoint'],
      },
    ]);
    expect(panels.failureOf(ID)).toBe(failure);
  });

  it('of an audit whose panel is closed open none', () => {
    const panels = open(undefined);
    panels.fail('20260101000000-11111111', failure);
    expect(host.posted).toEqual([]);
    expect(panels.failureOf('20260101000000-11111111')).toBeUndefined();
  });

  it('are taken for the audit that the panel shows, and only those that there are', async () => {
    open(report);
    await host.post({ t: 'step', step: 'choose-network' });
    await host.post({ t: 'step', step: 'format-disk' });
    expect(host.commands).toEqual([['gradleak.takeStep', ID, 'choose-network']]);
  });

  it('and sentences have short paths; where the files lie is said where the report does', async () => {
    const verdict = { sentence: '/work/gradient.pt is not assessed' };
    open({ ...report, verdict } as unknown as Report);
    await host.post({ t: 'ready' });
    expect(host.posted[0]).toMatchObject({
      report: {
        verdict: { sentence: 'gradient.pt is not assessed' },
        inputs: { gradients: { path: '/work/gradient.pt' } },
      },
    });
  });
});
