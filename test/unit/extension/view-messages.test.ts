import { describe, expect, it } from 'vitest';
import {
  FROM_INSPECTOR,
  FROM_PANEL,
  FROM_SUMMARY,
  keptAuditId,
  onViewMessage,
} from '../../../src/extension/view-messages.js';
import type { Validator } from '../../../src/formats/json-file.js';
import type { SliceRequest } from '../../../src/protocol/inspection.js';
import type { FromInspector } from '../../../src/protocol/inspector-messages.js';
import type { FromPanel } from '../../../src/protocol/panel-messages.js';
import type { FromSummary } from '../../../src/protocol/summary-messages.js';

/** A view whose page posts these messages: what was acted on, and what the log says. */
async function posted<T>(
  validator: Validator<T>,
  messages: readonly unknown[],
  act: (message: T) => void | Promise<void> = () => undefined,
): Promise<{ done: T[]; log: string[] }> {
  const done: T[] = [];
  const log: string[] = [];
  let post: (message: unknown) => unknown = () => undefined;
  const say = (text: unknown): void => void log.push(String(text));
  const webview = {
    onDidReceiveMessage: (listener: (message: unknown) => unknown): { dispose(): void } => {
      post = listener;
      return { dispose: () => undefined };
    },
  };
  onViewMessage(webview, { validator, view: 'view', log: { info: say, warn: say, error: say } }, (message) => {
    done.push(message);
    return act(message);
  });
  for (const message of messages) {
    await post(message);
  }
  return { done, log };
}

const PANEL: FromPanel[] = [
  { t: 'ready' },
  { t: 'save', what: 'json' },
  { t: 'save', what: 'npy' },
  { t: 'save', what: 'png', png: 'AAAA' },
  { t: 'save', what: 'png', png: 'AAAA', name: 'reconstruction.png' },
  { t: 'save', what: 'input-npy', sample: 3 },
  { t: 'save', what: 'txt' },
  { t: 'copy', text: 'x' },
  { t: 'stop' },
  { t: 'log' },
  { t: 'inspect', file: 'gradient' },
  { t: 'inspect', file: 'checkpoint' },
  { t: 'script' },
  { t: 'change-checkpoint' },
];
const SLICE: SliceRequest = { rowAxis: 0, columnAxis: -1, at: [0, 2], of: 'here' };
const INSPECTOR: FromInspector[] = [
  { t: 'ready' },
  { t: 'need', rows: [], differences: false },
  { t: 'need', rows: [0, 99_999], differences: true },
  { t: 'look', id: 1, at: { what: 'slice', row: 0, request: SLICE } },
  {
    t: 'look',
    id: 1,
    at: { what: 'slice', row: 0, request: { ...SLICE, window: { top: 0, bottom: 1.5, left: 0, right: 2 } } },
  },
  { t: 'look', id: 2, at: { what: 'histogram', row: 1 } },
  { t: 'look', id: 3, at: { what: 'text', row: 1, start: 512 } },
  { t: 'look', id: 4, at: { what: 'filters', row: 1, input: 0 } },
  { t: 'look', id: 5, at: { what: 'rows', row: 1 } },
  { t: 'look-away' },
  { t: 'audit' },
  { t: 'show-audit' },
  { t: 'compare' },
  { t: 'compare-nothing' },
  { t: 'copy', text: '' },
];
const SUMMARY: FromSummary[] = [
  { t: 'ready' },
  { t: 'open', id: 'a' },
  { t: 'script', id: 'a' },
  { t: 'save', what: 'json' },
  { t: 'save', what: 'html' },
  { t: 'save', what: 'sarif' },
  { t: 'run' },
  { t: 'stop' },
];

/** What no view posts. */
const NEVER: unknown[] = [
  undefined,
  null,
  'ready',
  7,
  [],
  {},
  ['ready'],
  { t: 'other' },
  { t: ['ready'] },
  { T: 'ready' },
];

describe('messages of a view', () => {
  it('of their type are acted on, every one that there is', async () => {
    expect(await posted(FROM_PANEL, PANEL)).toEqual({ done: PANEL, log: [] });
    expect(await posted(FROM_INSPECTOR, INSPECTOR)).toEqual({ done: INSPECTOR, log: [] });
    expect(await posted(FROM_SUMMARY, SUMMARY)).toEqual({ done: SUMMARY, log: [] });
  });

  it.each([
    [
      'panel',
      FROM_PANEL as Validator<unknown>,
      [
        { t: 'save' },
        { t: 'save', what: 'exe' },
        { t: 'save', what: 'png', png: 'AAAA', name: '../../.bashrc' },
        { t: 'save', what: 'input-npy', sample: '0/../../x' },
        { t: 'save', what: 'input-npy', sample: -1 },
        { t: 'save', what: 'txt', path: '/etc/passwd' },
        { t: 'save', what: 'txt', text: 'x' },
        { t: 'copy', text: { toString: 'x' } },
        { t: 'inspect' },
        { t: 'inspect', file: '/etc/passwd' },
        { t: 'script', file: '//server/share/x.py' },
        { t: 'change-checkpoint', id: 'a' },
        { t: 'ready', more: 1 },
      ],
    ],
    [
      'inspector',
      FROM_INSPECTOR as Validator<unknown>,
      [
        { t: 'need', rows: [-1], differences: false },
        { t: 'show-audit', id: 'a' },
        { t: 'need', rows: [0.5], differences: false },
        { t: 'need', rows: 'all', differences: false },
        { t: 'look', id: 1, at: { what: 'close', row: 1 } },
        { t: 'look', id: 1, at: { what: 'text', row: 1 } },
        { t: 'look', id: 1, at: { what: 'compare', path: '//server/share/x.pt' } },
        { t: 'look', id: 1, at: { what: 'slice', row: 0, request: { ...SLICE, rowAxis: -2 } } },
        { t: 'look', id: 1, at: { what: 'slice', row: 0, request: { ...SLICE, of: '__proto__' } } },
      ],
    ],
    [
      'summary',
      FROM_SUMMARY as Validator<unknown>,
      [
        { t: 'open' },
        { t: 'open', id: ['a'] },
        { t: 'script', id: 'a', file: '//server/share/x.py' },
        { t: 'save', what: 'constructor' },
      ],
    ],
  ])('of another are dropped with one line each (%s)', async (_, validator, messages) => {
    const all = [...NEVER, ...messages];
    const { done, log } = await posted(validator, all);
    expect(done).toEqual([]);
    expect(log).toHaveLength(all.length);
    for (const line of log) {
      expect(line).toMatch(/^A message of the view was dropped: found .+\.$/);
    }
  });

  it('are told by what is wrong with them', async () => {
    const { log } = await posted(FROM_INSPECTOR, [{ t: 'look', id: 1, at: { what: 'text', row: 1 } }]);
    expect(log).toEqual(['A message of the view was dropped: found "at" with no "start".']);
  });

  it('whose action fails leave a line, and the next is acted on', async () => {
    const failing = await posted(FROM_SUMMARY, SUMMARY.slice(0, 2), ({ t }) =>
      t === 'ready' ? Promise.reject(new Error('the disk is full')) : undefined,
    );
    expect(failing.done).toHaveLength(2);
    expect(failing.log).toEqual(['Error: the disk is full']);
  });
});

describe('what a panel kept', () => {
  it('is an audit, or nothing', () => {
    expect(keptAuditId({ auditId: '20260101000000-00000000' })).toBe('20260101000000-00000000');
    for (const state of [undefined, null, 'x', {}, { auditId: 7 }, { auditId: ['20260101000000-00000000'] }]) {
      expect(keptAuditId(state)).toBe('');
    }
  });
});
