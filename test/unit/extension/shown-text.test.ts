import { describe, expect, it, vi } from 'vitest';
import type { AuditStore } from '../../../src/extension/audit-store.js';
import { AuditsTree } from '../../../src/extension/audits-tree.js';
import { ProjectTree } from '../../../src/extension/project-tree.js';
import { visibleLog } from '../../../src/extension/log.js';
import {
  askModal,
  showError,
  showInformation,
  showWarning,
  withProgressNotification,
} from '../../../src/extension/notifications.js';
import type { ProjectAudits } from '../../../src/extension/project-audit.js';
import type { RunningAudits } from '../../../src/extension/running-audits.js';
import { entryResult, projectEntry } from '../../project-entries.js';

/** What files say, where VS Code shows it. */

const shown = vi.hoisted(() => [] as string[]);
vi.mock('vscode', () => {
  const say = (text: string, options?: { detail?: string } | string): Promise<undefined> => {
    shown.push(text, typeof options === 'object' ? (options.detail ?? '') : '');
    return Promise.resolve(undefined);
  };
  class TreeItem {
    constructor(readonly label: string) {}
  }
  class Icon {
    constructor(readonly id: string) {}
  }
  class EventEmitter {
    readonly event = (): void => undefined;
  }
  return {
    TreeItem,
    TreeItemCollapsibleState: { Expanded: 2 },
    ThemeIcon: Icon,
    ThemeColor: Icon,
    EventEmitter,
    ProgressLocation: { Notification: 15 },
    window: {
      showInformationMessage: say,
      showWarningMessage: say,
      showErrorMessage: say,
      withProgress: (
        { title }: { title: string },
        work: (progress: { report: (step: { message: string }) => void }) => Promise<unknown>,
      ): Promise<unknown> => {
        shown.push(title);
        return work({ report: ({ message }) => void shown.push(message) });
      },
    },
  };
});

const HOSTILE = 'a\u001b[2J\u202e\r[Retry](command:quit).pt';
// eslint-disable-next-line no-control-regex -- control characters are what this is about
const ACTING = /[\u0000-\u0008\u000b-\u001f\u202e]/;

function taken(): string[] {
  return shown.splice(0).filter((text) => text !== '');
}

describe('text of files', () => {
  it('acts on nothing in a notification, and links to nothing', async () => {
    await showInformation(HOSTILE);
    await showWarning(HOSTILE);
    await showError(HOSTILE);
    await askModal(HOSTILE, HOSTILE);
    await withProgressNotification(HOSTILE, (report) => {
      report({ message: HOSTILE });
      return Promise.resolve();
    });
    const texts = taken();
    expect(texts).toHaveLength(7);
    for (const text of texts) {
      expect(text).not.toMatch(ACTING);
      expect(text).not.toContain('](');
      expect(text).toContain('Retry');
    }
  });

  it('acts on nothing in the log, and makes no entry of its own', () => {
    const lines: string[] = [];
    const write = (text: string | Error): void => void lines.push(String(text));
    const log = visibleLog({ info: write, warn: write, error: write });
    log.info(`${HOSTILE}\n2026-01-01 [info] all well`);
    log.warn(HOSTILE);
    log.error(new Error(HOSTILE));
    log.error(HOSTILE);
    expect(lines).toHaveLength(4);
    for (const line of lines) {
      expect(line).toContain('a\\u001b[2J\\u202e\\u000d');
      expect(line).not.toMatch(ACTING);
      expect(line).not.toMatch(/\n(?! {4})/);
    }
    expect(lines[2]).toMatch(/^Error: .*\n +at /);
  });

  it.each([
    ['that failed', { status: 'failed', problem: HOSTILE, result: null }],
    [
      'without a judgement',
      {
        status: 'done',
        problem: null,
        result: entryResult({ sentence: HOSTILE, severity: null, outcome: 'not-assessed' }),
      },
    ],
    ['that leaks', { status: 'done', problem: null, result: entryResult({ sentence: HOSTILE, severity: null }) }],
  ] as const)('acts on nothing in the tree, for a gradient %s', (_, own) => {
    const entry = projectEntry({ ...ENTRY, ...own });
    const project = { onDidChange: () => ({ dispose: () => undefined }), report: () => ({ entries: [entry] }) };
    const tree = new ProjectTree(project as unknown as ProjectAudits);
    const [run] = tree.getChildren();
    const [leaf] = tree.getChildren(run);
    const items = [tree.getTreeItem(run!), tree.getTreeItem(leaf!)];
    expect(items[0]?.label).toContain('\\u001b');
    for (const { label, description, tooltip } of items) {
      // An object would be drawn as Markdown.
      expect(typeof (tooltip ?? '')).toBe('string');
      const texts = [label, description, tooltip].filter((own) => typeof own === 'string');
      expect(texts.join('\n')).not.toMatch(ACTING);
    }
    expect(items[1]?.tooltip).toContain('\\u202e');
  });
});

describe('the list of audits', () => {
  it.each(['stored', 'running'])('acts on nothing in a row (%s)', (kind) => {
    const stored = {
      id: 'a',
      made: 0,
      gradients: HOSTILE,
      checkpoint: HOSTILE,
      standing: 'leaks',
      severity: 'high',
      sentence: HOSTILE,
      isStopped: true,
    };
    const progress = { stage: 'read', message: HOSTILE, fraction: 0.5 };
    const running = { id: 'a', gradients: HOSTILE, stop: () => undefined, progress };
    const store = { onDidChange: () => undefined, list: () => (kind === 'stored' ? [stored] : []) };
    const runs = { onDidChange: () => undefined, list: () => (kind === 'stored' ? [] : [running]) };
    const tree = new AuditsTree(store as unknown as AuditStore, runs as unknown as RunningAudits);
    const [row] = tree.getChildren();
    const { label, description, tooltip, contextValue } = tree.getTreeItem(row!);
    for (const text of [label, description, tooltip]) {
      expect(typeof text).toBe('string');
      expect(text).not.toMatch(ACTING);
    }
    expect(label).toContain('\\u001b');
    expect(contextValue).toBe(kind === 'stored' ? 'audit single report checkpoint' : 'running');
    expect(description).toMatch(kind === 'stored' ? /^Leaks on .+, high, stopped early$/ : /^50 %, /);
  });
});

const ENTRY = { gradients: `${HOSTILE}/${HOSTILE}`, checkpoint: HOSTILE, run: HOSTILE };
