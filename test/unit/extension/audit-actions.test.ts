import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { upgradeReport } from '../../../src/audit/upgrade-report.js';
import { type AuditActionServices, registerAuditActions } from '../../../src/extension/audit-actions.js';
import { AuditStore } from '../../../src/extension/audit-store.js';
import { AuditsTree } from '../../../src/extension/audits-tree.js';
import { RunningSweeps } from '../../../src/extension/running-sweeps.js';
import { RunningAudits } from '../../../src/extension/running-audits.js';
import type { Job } from '../../../src/runner/executor.js';
import type { Report } from '../../../src/protocol/report.js';
import { projectEntry } from '../../project-entries.js';

/** What the commands of the lists do; dialogs, trash and panels are the test's, the store is real. */

const host = vi.hoisted(() => ({
  commands: new Map<string, (...given: unknown[]) => unknown>(),
  executed: [] as unknown[][],
  /** What the user answers to each question, in turn. */
  answers: [] as (string | undefined)[],
  asked: [] as string[],
  hasTrash: true,
  deleted: [] as { path: string; useTrash: boolean | undefined }[],
  /** Which of the offered the user picks, in turn. */
  picks: [] as ((items: readonly { label: string }[]) => unknown)[],
}));
vi.mock('vscode', () => {
  class Item {
    constructor(readonly label: string) {}
  }
  class EventEmitter {
    readonly event = (): void => undefined;
    fire(): void {
      // Nobody listens.
    }
    dispose(): void {
      // Nothing is held.
    }
  }
  const say = (text: string): Promise<string | undefined> => {
    host.asked.push(text);
    return Promise.resolve(host.answers.shift());
  };
  return {
    TreeItem: Item,
    ThemeIcon: Item,
    ThemeColor: Item,
    EventEmitter,
    ViewColumn: { One: 1, Two: 2 },
    Disposable: { from: () => undefined },
    Uri: { file: (fsPath: string) => ({ fsPath }) },
    commands: {
      registerCommand: (name: string, act: (...given: unknown[]) => unknown) => void host.commands.set(name, act),
      executeCommand: (...given: unknown[]): Promise<void> => {
        host.executed.push(given);
        return given[0] === 'revealFileInOS' ? Promise.reject(new Error('command not found')) : Promise.resolve();
      },
    },
    ProgressLocation: { Notification: 15 },
    CancellationTokenSource: class {
      readonly token = {
        isCancellationRequested: false,
        onCancellationRequested: () => ({ dispose: () => undefined }),
      };
      dispose(): void {
        // Nothing is held.
      }
    },
    window: {
      withProgress: (_: unknown, work: (progress: object, token: object) => Promise<unknown>) =>
        work({ report: () => undefined }, { onCancellationRequested: () => ({ dispose: () => undefined }) }),
      showWarningMessage: say,
      showInformationMessage: say,
      showErrorMessage: say,
      showQuickPick: (items: readonly { label: string }[]) => Promise.resolve(host.picks.shift()?.(items)),
    },
    workspace: {
      isTrusted: true,
      getConfiguration: () => ({ get: (_name: string, fallback: unknown) => fallback }),
      workspaceFolders: [],
      asRelativePath: (path: string) => path,
      getWorkspaceFolder: ({ fsPath }: { fsPath: string }) => (fsPath.startsWith('/work/') ? {} : undefined),
      fs: {
        delete: ({ fsPath }: { fsPath: string }, { useTrash }: { useTrash?: boolean }): Promise<void> => {
          if (useTrash === true && !host.hasTrash) {
            return Promise.reject(new Error('no trash'));
          }
          host.deleted.push({ path: fsPath, useTrash });
          rmSync(fsPath, { recursive: true });
          return Promise.resolve();
        },
      },
    },
  };
});

const folder = mkdtempSync(join(tmpdir(), 'gradleak-actions-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const REPORT = upgradeReport(
  JSON.parse(
    readFileSync(join(import.meta.dirname, '..', '..', 'fixtures', 'reports', 'version-1-language.json'), 'utf8'),
  ),
)!;

let store: AuditStore;
/** Audits that the child was asked for, and how it does them. */
let jobs: Job[];
let perform: (job: Job) => void;
let shown: unknown[][];
let closed: string[];
let failed: unknown[][];
let tree: AuditsTree;
let count = 0;

beforeEach(() => {
  Object.assign(host, { executed: [], answers: [], asked: [], hasTrash: true, deleted: [], picks: [] });
  store = new AuditStore(join(folder, String(count++)), () => []);
  jobs = [];
  perform = ({ request }) => {
    writeFileSync(join(request.out, 'report.json'), JSON.stringify(REPORT));
  };
  shown = [];
  closed = [];
  failed = [];
  tree = new AuditsTree(store, new RunningAudits());
  registerAuditActions({
    store,
    runner: {
      run: (job: Job): Promise<object> => {
        jobs.push(job);
        perform(job);
        return Promise.resolve({ folder: job.request.out, mismatch: null, notAssessed: null, cancelled: false });
      },
    },
    panels: {
      show: (...given: unknown[]) => void shown.push(given),
      close: (id: string) => void closed.push(id),
      fail: (...given: unknown[]) => void failed.push(given),
      failureOf: () => undefined,
      active: () => undefined,
    },
    running: new RunningAudits(),
    sweeps: new RunningSweeps(),
    project: { report: () => ({ root: '/work', entries: [] }) },
    selection: () => tree.getChildren(),
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  } as unknown as AuditActionServices);
});

function audit(gradients: string, day: number): string {
  const id = `202601${String(day).padStart(2, '0')}000000-00000000`;
  mkdirSync(store.ownFolder(id)!, { recursive: true });
  const { inputs } = REPORT;
  const report: Report = { ...REPORT, inputs: { ...inputs, gradients: { ...inputs.gradients, path: gradients } } };
  writeFileSync(store.filePath(id, 'report.json'), JSON.stringify(report));
  return id;
}

async function run(command: string, ...given: unknown[]): Promise<void> {
  await host.commands.get(`gradleak.${command}`)!(...given);
}

describe('deleting audits', () => {
  it('asks first, and deletes nothing without the answer', async () => {
    const id = audit('/work/a/gradient.pt', 1);
    await run('deleteAudit', tree.getChildren()[0]);
    expect(host.asked).toEqual(['Delete the audit of a/gradient.pt?']);
    expect(host.deleted).toEqual([]);
    expect(store.list().map((own) => own.id)).toEqual([id]);
    expect(closed).toEqual([]);
  });

  it('moves all that are chosen to the trash, and closes their panels', async () => {
    const [one, other] = [audit('/work/a/gradient.pt', 1), audit('/work/b/gradient.pt', 2)];
    host.answers = ['Delete'];
    await run('deleteAudit', 'selection');
    expect(host.asked).toEqual(['Delete 2 audits?']);
    expect(host.deleted.map(({ useTrash }) => useTrash)).toEqual([true, true]);
    expect(store.list()).toEqual([]);
    expect(closed.sort()).toEqual([one, other]);
  });

  it('asks once more where there is no trash, once for all', async () => {
    audit('/work/a/gradient.pt', 1);
    audit('/work/b/gradient.pt', 2);
    host.hasTrash = false;
    host.answers = ['Delete', undefined];
    await run('deleteAudit', 'selection');
    expect(store.list()).toHaveLength(2);
    host.answers = ['Delete', 'Delete Permanently'];
    await run('deleteAudit', 'selection');
    expect(host.asked.slice(2)).toEqual(['Delete 2 audits?', 'There is no trash here. Delete for good?']);
    expect(store.list()).toEqual([]);
  });

  it('touches nothing of a workspace’s audits, nor what a row from elsewhere names', async () => {
    host.answers = ['Delete', 'Delete'];
    await run('deleteAudit', projectEntry({ id: 'a'.repeat(20) }));
    await run('deleteAudit', { id: '../..', gradients: 'x', made: 1 });
    expect(host.asked).toEqual([]);
    expect(existsSync(folder)).toBe(true);
  });
});

describe('running an audit again', () => {
  const asked = {
    checkpoint: '/work/a/old.pt',
    gradients: '/work/a/gradient.pt',
    method: 'paper',
    batchSize: 3,
  } as const;

  it('asks for what it was asked for, in a folder of its own, and keeps that for the next time', async () => {
    const id = audit('/work/a/gradient.pt', 1);
    store.keepRequest(id, asked);
    await run('rerunAudit', tree.getChildren()[0]);
    const [job] = jobs;
    const { out, ...request } = job!.request;
    expect(request).toEqual({ ...asked, checkpoint: REPORT.inputs.checkpoint!.path });
    expect(out).not.toBe(store.ownFolder(id));
    expect(store.request(job!.id)).toEqual(request);
    expect(store.list().map((own) => own.id)).toContain(job!.id);
    expect(shown).toEqual([[job!.id]]);
  });

  it('changes what the user changes', async () => {
    const id = audit('/work/a/gradient.pt', 1);
    store.keepRequest(id, asked);
    const choose = (label: string) => (items: readonly { label: string }[]) =>
      items.find((own) => own.label.includes(label));
    host.picks = [choose('Method'), choose('closed form'), choose('Run')];
    await run('rerunAuditWith', tree.getChildren()[0]);
    expect(jobs.map(({ request }) => request)).toMatchObject([{ method: 'auto', batchSize: 3 }]);
    // Closing the list runs nothing.
    await run('rerunAuditWith', tree.getChildren()[0]);
    expect(jobs).toHaveLength(1);
  });

  it('makes a single audit of a workspace’s, with the truth and the network that its plan found', async () => {
    const entry = projectEntry({
      gradients: 'a/gradient.pt',
      checkpoint: 'a/w.pt',
      truth: 'a/truth.json',
      network: 'n.onnx',
    });
    await run('rerunAudit', entry);
    expect(jobs.map(({ request }) => request)).toMatchObject([
      {
        gradients: join('/work', 'a', 'gradient.pt'),
        checkpoint: join('/work', 'a', 'w.pt'),
        truth: join('/work', 'a', 'truth.json'),
        reconstruction: { model: join('/work', 'n.onnx'), attack: 'auto' },
      },
    ]);
    expect(store.ownFolder(jobs[0]!.id)).toBe(jobs[0]!.request.out);
  });

  it('by a step that its panel offers keeps how it was asked for', async () => {
    const id = audit('/work/a/gradient.pt', 1);
    const reconstruction = { attack: 'auto', preset: 'soft-label', engine: 'auto', timeLimitSeconds: 60 } as const;
    store.keepRequest(id, { ...asked, reconstruction });
    await run('takeStep', id, 'labels-only');
    expect(jobs).toHaveLength(1);
    const { batchSize, method } = asked;
    expect(jobs[0]!.request).toMatchObject({
      batchSize,
      method,
      reconstruction: { ...reconstruction, attack: 'none' },
    });
  });

  it('leaves nothing of an audit that fails', async () => {
    store.keepRequest(audit('/work/a/gradient.pt', 1), asked);
    perform = () => {
      throw new Error('the child is gone');
    };
    await run('rerunAudit', tree.getChildren()[0]);
    expect(host.asked).toEqual(['GradLeak failed: the child is gone']);
    expect(failed).toMatchObject([[jobs[0]!.id, { steps: ['retry', 'open-log'] }]]);
    expect(existsSync(jobs[0]!.request.out)).toBe(false);
    expect(store.list()).toHaveLength(1);
  });
});

describe('comparing audits', () => {
  it('shows two chosen ones side by side', async () => {
    const [one, other] = [audit('/work/a/gradient.pt', 1), audit('/work/b/gradient.pt', 2)];
    const rows = tree.getChildren();
    await run('compareAudits', rows[0], rows);
    expect(shown).toEqual([
      [other, 1],
      [one, 2],
    ]);
    expect(host.asked).toEqual([
      'Both give away the same: 4 leaks. The reports do not say whether they are of the same gradient: a difference may come from other samples as well as from a defence.',
    ]);
  });

  it('asks for the other of one, which is not offered itself', async () => {
    const [one, other] = [audit('/work/a/gradient.pt', 1), audit('/work/b/gradient.pt', 2)];
    host.picks = [(items) => (items.length === 1 ? items[0] : undefined)];
    await run('compareAudits', tree.getChildren()[1]);
    expect(shown).toEqual([
      [one, 1],
      [other, 2],
    ]);
  });
});

describe('ways from an audit', () => {
  it('lead to its files in the inspector, by row and by id', async () => {
    const id = audit('/work/a/gradient.pt', 1);
    await run('inspectGradient', tree.getChildren()[0]);
    await run('inspectCheckpoint', id);
    const { path } = REPORT.inputs.checkpoint!;
    expect(host.executed.map(([command, uri]) => [command, uri])).toEqual([
      ['vscode.openWith', { fsPath: '/work/a/gradient.pt' }],
      ['vscode.openWith', { fsPath: path }],
    ]);
  });

  it('lead from a workspace’s audit, whose paths are relative to the root', async () => {
    await run('inspectGradient', projectEntry({ gradients: 'a/gradient.pt' }));
    expect(host.executed).toEqual([
      ['vscode.openWith', { fsPath: join('/work', 'a', 'gradient.pt') }, expect.anything()],
    ]);
  });

  it('reveal a gradient, and say where it is when no window can show it', async () => {
    audit('/work/a/gradient.pt', 1);
    await run('revealGradient', tree.getChildren()[0]);
    expect(host.executed).toEqual([['revealInExplorer', { fsPath: '/work/a/gradient.pt' }]]);
    audit('/else/b/gradient.pt', 2);
    await run('revealGradient', tree.getChildren()[0]);
    expect(host.asked).toEqual(['The gradient is outside this workspace: /else/b/gradient.pt']);
  });

  it('lead nowhere for an audit that is gone', async () => {
    await run('inspectGradient', '20260101000000-00000000');
    expect(host.executed).toEqual([]);
  });
});
