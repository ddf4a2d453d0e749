import { basename } from 'node:path';
import * as vscode from 'vscode';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { DefenceEffort } from '../protocol/defence-report.js';
import type { DefendProgress } from '../protocol/defend-request.js';
import { CancelledError } from '../protocol/errors.js';
import { isTrusted } from './audit-command.js';
import type { AuditStore } from './audit-store.js';
import { cancelSignal } from './cancel-signal.js';
import { failureSentence } from './failures.js';
import type { Log } from './log.js';
import { showError, withProgressNotification } from './notifications.js';
import { pickOne } from './questions.js';
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
  const { panels, sweeps, log } = services;
  if (!(await isTrusted())) {
    return;
  }
  panels.show(id);
  if (sweeps.get(id)) {
    return;
  }
  const source = new vscode.CancellationTokenSource();
  // At once: a second request may come before the notification is there.
  sweeps.begin(id, () => {
    source.cancel();
  });
  await withProgressNotification(`GradLeak: defences of ${basename(audit.gradients)}`, async (report, token) => {
    let problem: string | undefined;
    const stopped = token.onCancellationRequested(() => {
      source.cancel();
    });
    try {
      let told = 0;
      const sentence = await sweep(services, id, audit, effort, source.token, ({ message, fraction }) => {
        report({ message, increment: 100 * (fraction - told) });
        told = fraction;
        sweeps.advance(id, { message, fraction });
      });
      log.info(`Defences of audit ${id}: ${sentence}`);
    } catch (error) {
      if (!(error instanceof CancelledError)) {
        log.error(error);
        problem = failureSentence(error);
        void showError(problem);
      }
    } finally {
      stopped.dispose();
      source.dispose();
      sweeps.end(id, problem);
    }
  });
}

/** In a child of its own, so that audits go on beside it. */
async function sweep(
  { runner, store }: DefendServices,
  id: string,
  audit: AuditRequest,
  effort: DefenceEffort,
  token: vscode.CancellationToken,
  progress: (progress: DefendProgress) => void,
): Promise<string> {
  const child = await runner.another();
  try {
    const request = { audit: { ...audit, force: true }, effort, out: store.filePath(id, '') };
    return (await child.defend({ id, request }, progress, cancelSignal(token))).sentence;
  } finally {
    child.dispose();
  }
}

const EFFORTS: readonly (vscode.QuickPickItem & { readonly effort: DefenceEffort })[] = [
  { label: 'Quick', detail: 'About half a minute: halves between levels, without gradient matching', effort: 'quick' },
  { label: 'Thorough', detail: 'Minutes: every level of every defence', effort: 'thorough' },
];

export async function askForEffort(): Promise<DefenceEffort | undefined> {
  const title = 'What Would Stop This Leak';
  return (await pickOne(EFFORTS, { title, placeHolder: 'How long to try' }))?.effort;
}
