import { randomUUID } from 'node:crypto';
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, join } from 'node:path';
import * as vscode from 'vscode';
import { ATTACKS } from '../protocol/audit-request.js';
import { CancelledError, messageOf } from '../protocol/errors.js';
import type { ProjectPlan, ProjectProgress, ProjectReport } from '../protocol/project-report.js';
import { Pace } from '../project/pace.js';
import { readProject, runProject } from '../project/run-project.js';
import { settingsKey } from '../project/settings-key.js';
import { RunnerPool } from '../runner/pool.js';
import { counted } from '../words/count-words.js';
import { openOf, projectInWords } from '../words/outcome-words.js';
import { visibleInList } from '../words/visible.js';
import { isTrusted } from './audit-command.js';
import { auditSettings } from './launch-audit.js';
import type { AuditStore } from './audit-store.js';
import { cancelSignal } from './cancel-signal.js';
import { deleteFolders } from './delete-folders.js';
import { failureSentence, offerSteps } from './failures.js';
import { SETTINGS } from './ids.js';
import type { Log } from './log.js';
import { stepsFrom, takeStep } from './next-steps.js';
import { askModal, showError, showInformation, showWarning, withProgressNotification } from './notifications.js';
import { pickMany, pickOne } from './questions.js';
import type { RunnerHost } from './runner-host.js';
import { workspaceFolderPaths } from './workspace-folders.js';

/** "GradLeak: Audit Workspace": finds dumps, shows the plan, audits a few at a time, stops and goes on. */

/** What a work on the whole workspace is given. */
export interface WorkspaceWork {
  readonly pool: RunnerPool;
  readonly notify: (step: { message?: string; increment?: number }) => void;
  /** Shows how far it is, in the notification and wherever the workspace is shown. */
  readonly advance: (progress: ProjectProgress) => void;
  readonly token: vscode.CancellationToken;
}

export type ProjectSettings = ReturnType<typeof auditSettings>;

export class ProjectAudits implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  /** Report or progress of the shown project has changed. */
  readonly onDidChange = this.changed.event;
  private readonly startedOrEnded = new vscode.EventEmitter<void>();
  readonly onDidStartOrEnd = this.startedOrEnded.event;
  progress: ProjectProgress | null = null;
  private root: string | undefined;
  private known: ProjectReport | undefined;
  private isRead = false;
  private running: vscode.CancellationTokenSource | undefined;

  constructor(
    private readonly storage: string,
    private readonly runner: RunnerHost,
    private readonly store: AuditStore,
    private readonly log: Log,
  ) {
    this.root = workspaceFolderPaths()[0];
  }

  /** The report of the workspace's folder that was audited last; read once per change, as summary, tree and problems all ask. */
  report(): ProjectReport | undefined {
    if (!this.isRead) {
      this.known = this.root === undefined ? undefined : readProject(projectFolder(this.storage, this.root));
      this.isRead = true;
    }
    return this.known;
  }

  get isRunning(): boolean {
    return this.running !== undefined;
  }

  /** Told to whoever shows the workspace. */
  hasChanged(): void {
    this.isRead = false;
    this.changed.fire();
  }

  /** @param askFirst show the plan and let the user choose; not when going on with what was stopped */
  async run(askFirst: boolean): Promise<void> {
    if (this.running) {
      void showInformation('The workspace is being audited already.');
      return;
    }
    if (!(await isTrusted())) {
      return;
    }
    const folder = await chooseFolder('Audit Workspace: which folder?');
    if (!folder) {
      return;
    }
    try {
      await this.alone(folder.uri.fsPath, folder.name, async ({ pool, notify, advance, token }) => {
        notify({ message: 'Looking for dumps' });
        const settings = projectSettings(folder.uri);
        const plan = await this.plan(pool, folder, { settings, root: folder.uri.fsPath }, token);
        const chosen = askFirst ? await choosePlan(plan) : plan;
        if (chosen && !token.isCancellationRequested) {
          await this.audit(pool, folder, chosen, token, advance);
        }
      });
    } catch (error) {
      if (!(error instanceof CancelledError)) {
        this.log.error(error);
        void this.sayFailed(error, askFirst);
      }
    }
  }

  /**
   * Does what the report of a workspace comes from, wherever that is done, under a notification that shows how far it is:
   * one such work at a time, which `stop` stops.
   *
   * @param root of the workspace's folder, whose report is shown from now on
   * @throws Error while another such work runs, and what the work throws
   */
  async alone<T>(root: string, title: string, work: (own: WorkspaceWork) => Promise<T>): Promise<T> {
    if (this.running) {
      throw new Error('another audit of this workspace runs; stop it, or wait until it ends');
    }
    this.root = root;
    this.isRead = false;
    const source = new vscode.CancellationTokenSource();
    this.running = source;
    this.startedOrEnded.fire();
    const pool = new RunnerPool(() => this.runner.another());
    try {
      return await withProgressNotification(`GradLeak: ${title}`, (notify, token) => {
        token.onCancellationRequested(() => {
          source.cancel();
        });
        return work({ pool, notify, token: source.token, advance: this.advancing(notify) });
      });
    } finally {
      this.running = undefined;
      this.startedOrEnded.fire();
      this.progress = null;
      pool.dispose();
      source.dispose();
      this.store.changed();
      this.hasChanged();
    }
  }

  /** Shows how far a workspace is wherever that is shown. */
  private advancing(notify: WorkspaceWork['notify']): WorkspaceWork['advance'] {
    let shown = 0;
    const pace = new Pace();
    return (own) => {
      this.progress = own;
      const share = (100 * own.done) / Math.max(own.of, 1);
      notify({ message: `${own.done} of ${own.of}: ${own.message}`, increment: share - shown });
      shown = share;
      pace.act(() => {
        this.hasChanged();
      });
    };
  }

  /** Where the report and the results of a workspace's folder are kept. */
  folderOf(root: string): string {
    return projectFolder(this.storage, root);
  }

  /** When the report of a workspace's folder was finished; undefined where there is none. */
  finishedOf(root: string): string | undefined {
    return readProject(this.folderOf(root))?.finished;
  }

  private async sayFailed(error: unknown, askFirst: boolean): Promise<void> {
    const context = { error, again: () => this.run(askFirst) };
    await offerSteps(showError, failureSentence(error), stepsFrom(context), (step) => takeStep(step, context));
  }

  /**
   * Finds a folder's dumps.
   *
   * @param key what the keys of results are made with: the settings, and the root where results belong to this machine
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async plan(
    pool: RunnerPool,
    folder: vscode.WorkspaceFolder,
    key: { readonly settings: ProjectSettings; readonly root: string | undefined },
    token: vscode.CancellationToken,
  ): Promise<ProjectPlan & { readonly settingsKey: string }> {
    const settings = await settingsKey(key.settings, key.root, () => {
      if (token.isCancellationRequested) {
        throw new CancelledError();
      }
      return Promise.resolve();
    });
    const exclude = vscode.workspace.getConfiguration('files', folder.uri).get<Record<string, unknown>>('exclude', {});
    const plan = await pool.plan(
      {
        root: folder.uri.fsPath,
        exclude: Object.entries(exclude).flatMap(([glob, isOn]) => (isOn === true ? [glob, `${glob}/**`] : [])),
        includeIgnored: vscode.workspace.getConfiguration(undefined, folder.uri).get(SETTINGS.includeIgnored, false),
        settings,
      },
      cancelSignal(token),
    );
    return { ...plan, settingsKey: settings };
  }

  private async audit(
    pool: RunnerPool,
    folder: vscode.WorkspaceFolder,
    plan: ProjectPlan,
    token: vscode.CancellationToken,
    advance: WorkspaceWork['advance'],
  ): Promise<void> {
    const out = projectFolder(this.storage, folder.uri.fsPath);
    mkdirSync(out, { recursive: true });
    const given = vscode.workspace.getConfiguration(undefined, folder.uri).get<number>(SETTINGS.concurrency, 0);
    const signal = cancelSignal(token);
    const report = await runProject({
      plan,
      out,
      // The editor's own storage, which holds nothing of anybody else's.
      settings: { ...projectSettings(folder.uri), force: true },
      concurrency: given > 0 ? given : Math.max(1, Math.min(4, Math.floor(cpus().length / 2))),
      auditOne: async (request) => {
        if ((await pool.run({ id: randomUUID(), request }, signal)).cancelled) {
          throw new CancelledError();
        }
      },
      progress: advance,
      cancelled: () => token.isCancellationRequested,
    });
    this.log.info(
      `Project ${folder.uri.fsPath}: ${report.summary.done} of ${report.summary.dumps} audited, ${report.status}`,
    );
    if (report.status === 'complete' && openOf(report.summary) > 0) {
      void showWarning(`GradLeak: ${projectInWords(report.summary)}`);
    }
  }

  stop(): void {
    this.running?.cancel();
  }

  /** Deletes the shown project's report and the reports of its gradients. */
  async delete(): Promise<void> {
    const report = this.report();
    if (this.running || !report || this.root === undefined) {
      void showInformation(
        this.running ? 'The workspace is being audited; stop that first.' : 'The workspace has not been audited yet.',
      );
      return;
    }
    const answer = 'Delete';
    const question = `Delete the audit of ${basename(this.root)}, with ${counted(report.entries.length, 'gradient')}?`;
    const detail = 'The reports and what was recovered are deleted; the gradients and checkpoints stay.';
    if ((await askModal(question, detail, answer)) !== answer) {
      return;
    }
    try {
      await deleteFolders([projectFolder(this.storage, this.root)], () => undefined);
    } catch (error) {
      this.log.error(error);
      void showError(`The audit of the workspace could not be deleted: ${messageOf(error)}`);
    }
    this.store.changed();
    this.hasChanged();
  }

  dispose(): void {
    this.running?.cancel();
    this.changed.dispose();
    this.startedOrEnded.dispose();
  }
}

/** Where the audits of a workspace folder are kept. */
function projectFolder(storage: string, root: string): string {
  return join(storage, createHash('sha256').update(root).digest('hex').slice(0, 16));
}

/** Folders of all projects of this window. */
export function projectFolders(storage: string): string[] {
  return workspaceFolderPaths().map((root) => projectFolder(storage, root));
}

/** @param title of the list, where the window has several */
export async function chooseFolder(title: string): Promise<vscode.WorkspaceFolder | undefined> {
  const all = vscode.workspace.workspaceFolders ?? [];
  // A virtual folder, such as one on GitHub, has no files on disk.
  const folders = all.filter(({ uri }) => uri.scheme === 'file');
  const [only] = folders;
  if (!only) {
    void showInformation(
      all.length === 0
        ? 'Open the folder of a training project first.'
        : 'This folder is virtual, and GradLeak reads files on disk. Clone it, or open it on the machine that has it.',
    );
    return undefined;
  }
  if (folders.length === 1) {
    return only;
  }
  const chosen = await pickOne(
    folders.map((folder) => ({ label: visibleInList(folder.name), folder })),
    { title },
  );
  return chosen?.folder;
}

/** Gradient matching takes minutes a dump, so projects are audited in closed form unless the user says otherwise. */
export function projectSettings(scope: vscode.Uri): ProjectSettings {
  const settings = auditSettings(scope);
  const attack = vscode.workspace.getConfiguration(undefined, scope).get<string>(SETTINGS.projectAttack, 'chain');
  return {
    ...settings,
    reconstruction: { ...settings.reconstruction, attack: ATTACKS.find((own) => own === attack) ?? 'chain' },
  };
}

/**
 * The plan to look at; all of it is chosen to begin with.
 *
 * @param verb what is done with it
 * @param consequence a sentence on what comes of it
 */
export async function choosePlan<T extends ProjectPlan>(
  plan: T,
  verb = 'Audit',
  consequence = '',
): Promise<T | undefined> {
  if (plan.entries.length === 0) {
    const [first] = plan.skipped;
    void showInformation(
      `No captured gradient with a checkpoint that fits it was found.${first ? ` ${first.path}: ${first.reason}` : ''}`,
    );
    return undefined;
  }
  const items = plan.entries.map((entry) => ({
    label: visibleInList(entry.gradients),
    description: `against ${visibleInList(entry.checkpoint)}, fits ${Math.round(100 * entry.fit)} %`,
    picked: true,
    entry,
  }));
  const chosen = await pickMany(items, {
    title: `${verb} ${counted(plan.entries.length, 'gradient')}${plan.skipped.length > 0 ? `, ${counted(plan.skipped.length, 'file')} left out` : ''}`,
    placeHolder: consequence === '' ? 'Enter starts' : `Enter starts. ${consequence}`,
    matchOnDescription: true,
  });
  return chosen && chosen.length > 0 ? { ...plan, entries: chosen.map(({ entry }) => entry) } : undefined;
}
