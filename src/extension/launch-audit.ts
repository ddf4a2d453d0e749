import * as vscode from 'vscode';
import type { AuditProgress, AuditRequest } from '../protocol/audit-request.js';
import { CancelledError } from '../protocol/errors.js';
import type { AuditOutcome } from '../protocol/runner-messages.js';
import type { Executor } from '../runner/executor.js';
import type { AuditStore } from './audit-store.js';
import { cancelSignal } from './cancel-signal.js';
import { SETTINGS } from './ids.js';
import { reconstructionSettings } from './reconstruction-settings.js';
import type { RunningAudits } from './running-audits.js';

/** The one way from a checkpoint and a gradient to a stored report, for command, panel and language-model tool. */

/** Of an audit, all but its files. */
export type AuditSettings = Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out'>;

export interface Launch {
  readonly executor: Executor;
  readonly store: AuditStore;
  readonly running: RunningAudits;
  /** Undefined for a gradient alone. */
  readonly checkpoint: string | undefined;
  readonly gradients: string;
  /** The user's when undefined. */
  readonly settings?: AuditSettings | undefined;
  /** The audit's id in the store, made by `store.create()`. */
  readonly id: string;
  readonly folder: string;
  readonly token: vscode.CancellationToken;
  readonly progress?: (progress: AuditProgress) => void;
}

/** @throws CancelledError, UnusableInputError, RunnerCrashedError; the store then holds nothing, or what a stopped audit had written */
export async function launchAudit(launch: Launch): Promise<AuditOutcome> {
  const { executor, store, running, checkpoint, gradients, id, folder, token, progress } = launch;
  const request = {
    ...(launch.settings ?? auditSettings(vscode.Uri.file(gradients))),
    ...(checkpoint === undefined ? {} : { checkpoint }),
    gradients,
  };
  const source = new vscode.CancellationTokenSource();
  const stopped = token.onCancellationRequested(() => {
    source.cancel();
  });
  running.begin({
    id,
    gradients,
    stop: () => {
      source.cancel();
    },
  });
  try {
    store.keepRequest(id, request);
    return await executor.run({ id, request: { ...request, out: folder } }, cancelSignal(source.token), (own) => {
      running.advance(id, own);
      progress?.(own);
    });
  } catch (error) {
    // One that did not listen and was killed had written what it knew before the reconstruction.
    if (!(error instanceof CancelledError && store.read(id))) {
      store.remove(id);
    }
    throw error;
  } finally {
    stopped.dispose();
    source.dispose();
    running.end(id);
    store.changed();
  }
}

/** What the user's settings say of every audit. */
export function auditSettings(scope: vscode.Uri): AuditSettings {
  const settings = vscode.workspace.getConfiguration(undefined, scope);
  const head = settings.get<string>(SETTINGS.head, '').trim();
  const layout = settings.get<string>(SETTINGS.layout, 'auto');
  const batchSize = settings.get<number>(SETTINGS.batchSize, 0);
  return {
    method: settings.get<string>(SETTINGS.method, 'auto') === 'paper' ? 'paper' : 'auto',
    ...(head === '' ? {} : { head }),
    ...(layout === 'kxd' || layout === 'dxk' ? { layout } : {}),
    ...(Number.isInteger(batchSize) && batchSize > 0 ? { batchSize } : {}),
    batchTimeLimitSeconds: Math.max(1, settings.get<number>(SETTINGS.batchTimeLimit, 120)),
    reconstruction: reconstructionSettings(settings),
  };
}
