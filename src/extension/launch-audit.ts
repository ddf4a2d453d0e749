import * as vscode from 'vscode';
import {
  type AuditProgress,
  type AuditRequest,
  LAYOUTS,
  type Layout,
  METHODS,
  type MatchingOverrides,
  type ReconstructionRequest,
} from '../protocol/audit-request.js';
import { CancelledError } from '../protocol/errors.js';
import type { StatedTraining } from '../protocol/stated-training.js';
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
  /** What was chosen for this audit, over the settings. */
  readonly given?: Given | undefined;
  /** The audit's id in the store, made by `store.create()`. */
  readonly id: string;
  readonly folder: string;
  readonly token: vscode.CancellationToken;
  readonly progress?: (progress: AuditProgress) => void;
}

/** @throws CancelledError, UnusableInputError, RunnerCrashedError; the store then holds nothing, or what a stopped audit had written */
export async function launchAudit(launch: Launch): Promise<AuditOutcome> {
  const { executor, store, running, checkpoint, gradients, given = {}, id, folder, token, progress } = launch;
  const request = {
    ...withGiven(launch.settings ?? auditSettings(vscode.Uri.file(gradients)), given),
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

/** What was chosen for one audit, over what the settings say. */
export interface Given {
  readonly head?: string;
  readonly layout?: Layout;
  readonly batchSize?: number;
  readonly training?: StatedTraining;
  readonly model?: string;
  readonly inputShape?: number[];
  readonly attack?: ReconstructionRequest['attack'];
  readonly labels?: MatchingOverrides['labels'];
}

function withGiven(
  settings: AuditSettings,
  { head, layout, batchSize, training, labels, ...reconstruction }: Given,
): AuditSettings {
  const own = settings.reconstruction;
  return {
    ...settings,
    ...(head === undefined ? {} : { head }),
    ...(layout === undefined ? {} : { layout }),
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(training === undefined ? {} : { training }),
    ...(own === undefined
      ? {}
      : {
          reconstruction: {
            ...own,
            ...reconstruction,
            ...(labels === undefined ? {} : { settings: { ...own.settings, labels } }),
          },
        }),
  };
}

/**
 * What the user's settings say of every audit.
 *
 * @throws UnusableInputError for settings that contradict each other
 */
export function auditSettings(scope: vscode.Uri): AuditSettings & { reconstruction: ReconstructionRequest } {
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
