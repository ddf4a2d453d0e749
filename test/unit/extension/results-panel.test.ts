import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { AuditStore } from '../../../src/extension/audit-store.js';
import type { Log } from '../../../src/extension/log.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';
import { ResultsPanels } from '../../../src/extension/results-panel.js';
import { RunningSweeps } from '../../../src/extension/running-sweeps.js';
import { RunningAudits } from '../../../src/extension/running-audits.js';
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
      executeCommand: (...given: unknown[]): Promise<void> => {
        host.commands.push(given);
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
function open(stored: Report | undefined): { panels: ResultsPanels; running: RunningAudits; sweeps: RunningSweeps } {
  const store = {
    read: () => stored,
    about: () => undefined,
    images: () => [],
    defence: () => undefined,
  } as unknown as AuditStore;
  const running = new RunningAudits();
  const sweeps = new RunningSweeps();
  const panels = new ResultsPanels({ fsPath: '/extension' } as never, store, running, sweeps, log);
  panels.show(ID);
  return { panels, running, sweeps };
}

beforeEach(() => {
  Object.assign(host, {
    chosen: { fsPath: '/else/where.txt' },
    suggested: [],
    written: [],
    errors: [],
    commands: [],
    posted: [],
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
    const { panels } = open(undefined);
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
    const { panels } = open(undefined);
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

describe('ways from a panel', () => {
  it('lead to the files, to the line that captured, and to another checkpoint, of this audit', async () => {
    open(report);
    await host.post({ t: 'inspect', file: 'gradient' });
    await host.post({ t: 'inspect', file: 'checkpoint' });
    await host.post({ t: 'script' });
    await host.post({ t: 'change-checkpoint' });
    expect(host.commands).toEqual([
      ['gradleak.inspectGradient', ID],
      ['gradleak.inspectCheckpoint', ID],
      ['gradleak.openCapturingLine', ID],
      ['gradleak.changeCheckpoint', ID],
    ]);
  });

  it('lead nowhere that the panel names', async () => {
    open(report);
    await host.post({ t: 'inspect', file: '/etc/passwd' });
    await host.post({ t: 'script', file: '/etc/passwd' });
    expect(host.commands).toEqual([]);
  });
});

describe('the panel of an audit that runs', () => {
  it('shows how far it is from the first moment on, and the report at its end', () => {
    const { running } = open(report);
    const types = (): unknown[] => host.posted.map((message) => (message as { t: string }).t);
    running.begin({ id: ID, gradients: '/work/gradient.pt', stop: () => undefined });
    running.advance(ID, { stage: 'read', message: 'Reading the head', fraction: 0.2 });
    expect(types()).toEqual(['run', 'run']);
    expect(host.posted[1]).toMatchObject({ auditId: ID, progress: { message: 'Reading the head' } });
    running.end(ID);
    expect(types()).toEqual(['run', 'run', 'show']);
  });

  it('is stopped by it', async () => {
    let stops = 0;
    open(report).running.begin({ id: ID, gradients: '/work/gradient.pt', stop: () => (stops += 1) });
    await host.post({ t: 'stop' });
    expect(stops).toBe(1);
  });
});
