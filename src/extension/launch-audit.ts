import * as vscode from 'vscode';
import { type AuditProgress, type AuditRequest, LAYOUTS, METHODS } from '../protocol/audit-request.js';
import type { AuditOutcome } from '../protocol/runner-messages.js';
import type { Executor } from '../runner/executor.js';
import type { AuditStore } from './audit-store.js';
import { cancelSignal } from './cancel-signal.js';
import { SETTINGS } from './ids.js';
import { reconstructionSettings } from './reconstruction-settings.js';

/** The one way from a checkpoint and a gradient to a stored report, for command, panel and language-model tool. */

export interface Launch {
  readonly executor: Executor;
  readonly store: AuditStore;
  /** Undefined for a gradient alone. */
  readonly checkpoint: string | undefined;
  readonly gradients: string;
  /** The audit's id in the store, made by `store.create()`. */
  readonly id: string;
  readonly folder: string;
  readonly token: vscode.CancellationToken;
  readonly progress?: (progress: AuditProgress) => void;
}

/** @throws CancelledError, UnusableInputError, RunnerCrashedError; the store then holds what the audit had written, if anything */
export async function launchAudit(launch: Launch): Promise<AuditOutcome> {
  const { executor, store, checkpoint, gradients, id, folder, token, progress } = launch;
  const request = {
    ...auditSettings(vscode.Uri.file(gradients)),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    gradients,
    out: folder,
  };
  const outcome = await executor.run({ id, request }, cancelSignal(token), progress);
  store.changed();
  return outcome;
}

/** What the user's settings say of every audit. */
export function auditSettings(scope: vscode.Uri): Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'> {
  const settings = vscode.workspace.getConfiguration(undefined, scope);
  const head = settings.get<string>(SETTINGS.head, '').trim();
  const layout = LAYOUTS.find((own) => own === settings.get<string>(SETTINGS.layout));
  const method = METHODS.find((own) => own === settings.get<string>(SETTINGS.method));
  const batchSize = settings.get<number>(SETTINGS.batchSize, 0);
  return {
    method: method ?? 'auto',
    ...(head === '' ? {} : { head }),
    ...(layout === undefined ? {} : { layout }),
    ...(Number.isInteger(batchSize) && batchSize > 0 ? { batchSize } : {}),
    batchTimeLimitSeconds: Math.max(1, settings.get<number>(SETTINGS.batchTimeLimit, 120)),
    reconstruction: reconstructionSettings(settings),
  };
}
