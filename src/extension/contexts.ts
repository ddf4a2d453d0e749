import * as vscode from 'vscode';
import type { AuditStore } from './audit-store.js';
import { CONTEXTS } from './ids.js';
import type { ProjectAudits } from './project-audit.js';
import type { QueueSubmissions } from './queue-submissions.js';
import type { RunningAudits } from './running-audits.js';

/**
 * Keeps the keys by which package.json hides commands that cannot run. They are unset until the extension is active, so a
 * command that may be able to run is hidden only by a key that says it is not.
 */
export function keepContexts(
  store: AuditStore,
  running: RunningAudits,
  project: ProjectAudits,
  submissions: QueueSubmissions,
): vscode.Disposable {
  const shown = new Map<string, boolean>();
  const set = (key: string, value: boolean): void => {
    if (shown.get(key) !== value) {
      shown.set(key, value);
      void vscode.commands.executeCommand('setContext', key, value);
    }
  };
  const update = (): void => {
    set(CONTEXTS.noAudits, store.latest() === undefined);
    set(CONTEXTS.noSummary, project.report() === undefined);
    set(CONTEXTS.isAuditingWorkspace, project.isRunning);
    set(CONTEXTS.noSubmission, submissions.known() === undefined);
  };
  const updateRunning = (): void => {
    set(CONTEXTS.isAuditing, running.list().length > 0);
  };
  update();
  updateRunning();
  return vscode.Disposable.from(
    store.onDidChange(update),
    running.onDidChange(updateRunning),
    project.onDidChange(update),
    project.onDidStartOrEnd(update),
  );
}
