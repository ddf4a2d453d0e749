import * as vscode from 'vscode';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { DefenceEffort } from '../protocol/defence-report.js';
import { CancelledError } from '../protocol/errors.js';
import { isTrusted } from './audit-command.js';
import type { AuditStore } from './audit-store.js';
import { cancelSignal } from './cancel-signal.js';
import { failureSentence } from './failures.js';
import type { Log } from './log.js';
import { showError } from './notifications.js';
import type { ResultsPanels } from './results-panel.js';
import type { RunnerHost } from './runner-host.js';
import type { RunningSweeps } from './running-sweeps.js';

/** "GradLeak: What Would Stop This Leak...": tries defences on an audited update, in a child of its own, and shows them in its panel. */

export interface DefendServices {
  readonly runner: RunnerHost;
  readonly store: AuditStore;
  readonly panels: ResultsPanels;
  readonly sweeps: RunningSweeps;
  readonly log: Log;
}

/** @param audit as it was asked for; what it wrote stays as it is */
export async function tryDefences(
  services: DefendServices,
  id: string,
  audit: AuditRequest,
  effort: DefenceEffort,
): Promise<void> {
  const { runner, store, panels, sweeps, log } = services;
  if (!(await isTrusted())) {
    return;
  }
  panels.show(id);
  if (sweeps.get(id)) {
    return;
  }
  const source = new vscode.CancellationTokenSource();
  sweeps.begin(id, () => {
    source.cancel();
  });
  let problem: string | undefined;
  try {
    const child = await runner.another();
    try {
      const { status, sentence } = await child.defend(
        { id, request: { audit: { ...audit, force: true }, effort, out: store.filePath(id, '') } },
        (progress) => {
          sweeps.advance(id, progress);
        },
        cancelSignal(source.token),
      );
      log.info(`Defences of audit ${id}, ${status}: ${sentence}`);
    } finally {
      child.dispose();
    }
  } catch (error) {
    if (!(error instanceof CancelledError)) {
      log.error(error);
      problem = failureSentence(error);
      void showError(problem);
    }
  } finally {
    source.dispose();
    sweeps.end(id, problem);
  }
}

const EFFORTS: readonly (vscode.QuickPickItem & { readonly effort: DefenceEffort })[] = [
  { label: 'Quick', detail: 'About half a minute: halves between levels, without gradient matching', effort: 'quick' },
  { label: 'Thorough', detail: 'Minutes: every level of every defence', effort: 'thorough' },
];

export async function askForEffort(): Promise<DefenceEffort | undefined> {
  const title = 'What Would Stop This Leak';
  return (await vscode.window.showQuickPick(EFFORTS, { title, placeHolder: 'How long to try' }))?.effort;
}
