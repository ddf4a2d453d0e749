import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { AuditServices } from '../../../src/extension/audit-command.js';
import { chooseTruth } from '../../../src/extension/truth-command.js';
import { UnusableInputError } from '../../../src/protocol/errors.js';

/** Which report is compared with what, and what is said when that does not work; the editor and the child are the test's. */

const editor = vi.hoisted(() => ({
  chosen: [] as (string | undefined)[],
  offered: [] as unknown[],
  said: [] as string[],
  answer: undefined as string | undefined,
}));
vi.mock('vscode', () => ({
  Uri: { file: (fsPath: string) => ({ fsPath }) },
  ProgressLocation: { Notification: 15 },
  workspace: { isTrusted: true },
  window: {
    showOpenDialog: (options: unknown) => {
      editor.offered.push(options);
      const path = editor.chosen.shift();
      return Promise.resolve(path === undefined ? undefined : [{ fsPath: path }]);
    },
    showInformationMessage: (text: string) => {
      editor.said.push(text);
      return Promise.resolve(undefined);
    },
    showErrorMessage: (text: string) => {
      editor.said.push(text);
      return Promise.resolve(editor.answer);
    },
    withProgress: (_options: unknown, work: (progress: object, token: object) => unknown) =>
      work({}, { isCancellationRequested: false, onCancellationRequested: () => undefined }),
  },
}));

const ID = '20260101000000-00000000';
const compared: unknown[] = [];
const refreshed: string[] = [];

/** @param active the audit whose panel is in front */
function services(active: string | undefined, fail?: Error): AuditServices {
  const compare = (params: unknown): Promise<void> => {
    compared.push(params);
    return fail && compared.length === 1 ? Promise.reject(fail) : Promise.resolve();
  };
  return {
    runner: { get: () => Promise.resolve({ compare }) },
    store: {
      read: (id: string) => (id === ID ? { inputs: { gradients: { path: '/work/run/gradient.pt' } } } : undefined),
      filePath: (id: string) => `/store/${id}`,
      changed: () => undefined,
    },
    panels: { active: () => active, refresh: (id: string) => refreshed.push(id) },
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  } as unknown as AuditServices;
}

beforeEach(() => {
  Object.assign(editor, { chosen: ['/work/truth.json'], offered: [], said: [], answer: undefined });
  compared.length = 0;
  refreshed.length = 0;
});

describe('choosing a truth', () => {
  it('compares the audit of the button, else of the panel in front, and shows it anew', async () => {
    await chooseTruth(services(undefined), ID);
    editor.chosen = ['/work/other.json'];
    await chooseTruth(services(ID), undefined);
    expect(compared).toEqual([
      { folder: `/store/${ID}`, truth: '/work/truth.json' },
      { folder: `/store/${ID}`, truth: '/work/other.json' },
    ]);
    expect(refreshed).toEqual([ID, ID]);
    expect(editor.offered[0]).toMatchObject({ defaultUri: { fsPath: '/work/run' } });
  });

  it('does nothing when the dialog is closed', async () => {
    editor.chosen = [undefined];
    await chooseTruth(services(ID), undefined);
    expect([compared, refreshed, editor.said]).toEqual([[], [], []]);
  });

  it('says what to do where no audit is open', async () => {
    await chooseTruth(services(undefined), undefined);
    expect(editor.offered).toEqual([]);
    expect(editor.said[0]).toContain('Open an audit first');
  });

  it('says why a truth does not fit, and offers to choose another', async () => {
    const error = new UnusableInputError({
      code: 'bad-arguments',
      file: '/work/truth.json',
      found: 'other sizes',
      expected: 'these',
      advice: 'Choose another.',
    });
    editor.answer = 'Choose Another...';
    editor.chosen = ['/work/truth.json', '/work/right.json'];
    await chooseTruth(services(ID, error), ID);
    expect(editor.said).toEqual([expect.stringContaining('other sizes')]);
    expect(compared.at(-1)).toEqual({ folder: `/store/${ID}`, truth: '/work/right.json' });
    expect(refreshed).toEqual([ID]);
  });
});
