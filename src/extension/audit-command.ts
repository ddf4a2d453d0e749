import { basename, dirname } from 'node:path';
import * as vscode from 'vscode';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import type { AuditRequest } from '../protocol/audit-request.js';
import type { AuditOutcome, RankedCheckpoint } from '../protocol/runner-messages.js';
import { RunnerCrashedError } from '../runner/client.js';
import type { AuditStore } from './audit-store.js';
import { cancelSignal } from './cancel-signal.js';
import { COMMANDS, SETTINGS } from './ids.js';
import { reconstructionSettings } from './reconstruction-settings.js';
import type { ResultsPanels } from './results-panel.js';
import type { RunnerHost } from './runner-host.js';

/** "GradLeak: Audit Gradient File...": from a file to the results panel. */

export interface AuditServices {
  readonly runner: RunnerHost;
  readonly store: AuditStore;
  readonly panels: ResultsPanels;
  readonly memory: vscode.Memento;
  readonly log: vscode.LogOutputChannel;
}

const CANDIDATE_GLOB = '**/*.{pt,pth,bin,ckpt,safetensors,npz,safetensors.index.json}';
const IGNORED_GLOB = '**/{node_modules,.git,.venv,venv}/**';
const MOST_CANDIDATES = 200;

/** @param clicked the file of the Explorer's menu; asked for when the palette started the command */
export async function auditFile(services: AuditServices, clicked: vscode.Uri | undefined): Promise<void> {
  if (!(await isTrusted())) {
    return;
  }
  try {
    const gradients = clicked ?? (await askForGradient());
    if (!gradients) {
      return;
    }
    if (gradients.scheme !== 'file') {
      throw new UnusableInputError({
        code: 'unreadable-file',
        file: gradients.toString(),
        found: `a file of scheme "${gradients.scheme}"`,
        expected: 'a file on the machine that runs the extension',
        advice: 'Copy it into the workspace.',
      });
    }
    const checkpoint = await askForCheckpoint(services, gradients.fsPath);
    if (checkpoint !== undefined) {
      await runAndShow(services, checkpoint, gradients.fsPath);
    }
  } catch (error) {
    await reportFailure(services, error, () => auditFile(services, clicked));
  }
}

/** Says so where audits are not allowed. */
export async function isTrusted(): Promise<boolean> {
  if (vscode.workspace.isTrusted) {
    return true;
  }
  const manage = 'Manage Workspace Trust';
  const answer = await vscode.window.showWarningMessage(
    'GradLeak runs audits in trusted workspaces only. Inspecting tensors works here.',
    manage,
  );
  if (answer === manage) {
    await vscode.commands.executeCommand('workbench.trust.manage');
  }
  return false;
}

async function askForGradient(): Promise<vscode.Uri | undefined> {
  const files = await vscode.workspace.findFiles(CANDIDATE_GLOB, IGNORED_GLOB, MOST_CANDIDATES);
  // Names suggest which files hold gradients; the user decides.
  const looksLike = (uri: vscode.Uri): boolean => /grad|delta|update/i.test(basename(uri.fsPath));
  files.sort((one, other) => Number(looksLike(other)) - Number(looksLike(one)) || one.path.localeCompare(other.path));
  const browse = { label: '$(folder-opened) Browse...', uri: undefined };
  const items = files.map((uri) => ({
    label: vscode.workspace.asRelativePath(uri),
    ...(looksLike(uri) ? { description: 'gradient by its name' } : {}),
    uri,
  }));
  const picked = await vscode.window.showQuickPick([...items, browse], {
    title: 'Audit Gradient File: which gradient?',
    placeHolder: 'A captured gradient (.pt, .pth, .safetensors, .npz, ...)',
  });
  if (!picked) {
    return undefined;
  }
  return picked.uri ?? (await vscode.window.showOpenDialog({ title: 'Choose a captured gradient' }))?.[0];
}

function memoryKey(gradients: string): string {
  return `checkpoint:${dirname(gradients)}`;
}

async function askForCheckpoint(services: AuditServices, gradients: string): Promise<string | undefined> {
  const ranked = await rankCandidates(services, gradients);
  const remembered = services.memory.get<string>(memoryKey(gradients));
  ranked.sort((one, other) => score(other, gradients, remembered) - score(one, gradients, remembered));
  const browse = { label: '$(folder-opened) Browse...', path: undefined };
  const items = ranked.map(({ path, fit, problem }) => ({
    label: vscode.workspace.asRelativePath(path),
    description:
      problem ??
      (fit > 0 ? `fits ${Math.round(100 * fit)} %${path === remembered ? ', used last time' : ''}` : 'does not fit'),
    path,
  }));
  const picked = await vscode.window.showQuickPick([...items, browse], {
    title: `Audit ${basename(gradients)}: which checkpoint was it computed with?`,
    placeHolder: 'Best match first',
    matchOnDescription: true,
  });
  if (!picked) {
    return undefined;
  }
  const path = picked.path ?? (await vscode.window.showOpenDialog({ title: 'Choose the checkpoint' }))?.[0]?.fsPath;
  if (path !== undefined) {
    await services.memory.update(memoryKey(gradients), path);
  }
  return path;
}

/** Fit decides; among equals the last choice, then the nearest folder. */
function score({ path, fit }: RankedCheckpoint, gradients: string, remembered: string | undefined): number {
  return fit + (path === remembered ? 0.05 : 0) + (dirname(path) === dirname(gradients) ? 0.02 : 0);
}

async function rankCandidates(services: AuditServices, gradients: string): Promise<RankedCheckpoint[]> {
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Window, title: 'GradLeak: looking for checkpoints' },
    async () => {
      const files = await vscode.workspace.findFiles(CANDIDATE_GLOB, IGNORED_GLOB, MOST_CANDIDATES);
      const candidates = files.map((uri) => uri.fsPath).filter((path) => path !== gradients);
      const runner = await services.runner.get();
      return runner.rank({ gradients, candidates });
    },
  );
}

/** Audits a gradient against a checkpoint that is known. */
export async function auditPair(services: AuditServices, checkpoint: string, gradients: string): Promise<void> {
  if (await isTrusted()) {
    await runAndShow(services, checkpoint, gradients);
  }
}

async function runAndShow(services: AuditServices, checkpoint: string, gradients: string): Promise<void> {
  const { id, folder } = services.store.create();
  const source = new vscode.CancellationTokenSource();
  services.panels.begin(id, () => {
    source.cancel();
  });
  try {
    const request = { ...auditSettings(vscode.Uri.file(gradients)), checkpoint, gradients, out: folder };
    const outcome = await runWithProgress(services, id, request, source);
    services.store.changed();
    services.log.info(`Audit ${id} of ${gradients} against ${checkpoint} is done: ${folder}`);
    if (outcome.cancelled) {
      sayCancelled(services);
    }
    services.panels.end(id);
    services.panels.show(id);
    if (outcome.mismatch !== null) {
      void vscode.window.showWarningMessage(outcome.mismatch);
    }
  } catch (error) {
    if (error instanceof CancelledError && services.store.read(id)) {
      // It did not listen and was killed, but had written what it knew before the reconstruction.
      services.panels.end(id);
      services.panels.show(id);
      sayCancelled(services);
      return;
    }
    services.store.remove(id);
    services.panels.end(id);
    await reportFailure(services, error, () => runAndShow(services, checkpoint, gradients));
  }
}

/** What the user's settings say of every audit. */
export function auditSettings(scope: vscode.Uri): Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'> {
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

function runWithProgress(
  services: AuditServices,
  id: string,
  request: AuditRequest & { out: string },
  source: vscode.CancellationTokenSource,
): Thenable<AuditOutcome> {
  return vscode.window.withProgress(
    {
      location: vscode.ProgressLocation.Notification,
      title: `GradLeak: ${basename(request.gradients)}`,
      cancellable: true,
    },
    async (progress, token) => {
      // The notification and the panel's button stop the same audit.
      token.onCancellationRequested(() => {
        source.cancel();
      });
      const runner = await services.runner.get();
      let shown = 0;
      return runner.audit(
        { id, request },
        (own) => {
          const { message, fraction } = own;
          services.panels.advance(id, own);
          // VS Code wants what was added, not where it stands.
          progress.report({ message, increment: Math.max(0, fraction - shown) * 100 });
          shown = Math.max(shown, fraction);
        },
        cancelSignal(source.token),
      );
    },
  );
}

function sayCancelled(services: AuditServices): void {
  services.log.info('Audit cancelled.');
  void vscode.window.setStatusBarMessage('GradLeak: audit cancelled', 5000);
}

async function reportFailure(services: AuditServices, error: unknown, again: () => Promise<void>): Promise<void> {
  if (error instanceof CancelledError) {
    sayCancelled(services);
    return;
  }
  services.log.error(error instanceof Error ? error : String(error));
  const retry = 'Retry';
  const showLog = 'Show Log';
  const message =
    error instanceof UnusableInputError || error instanceof RunnerCrashedError
      ? error.message
      : `GradLeak failed: ${messageOf(error).split('\n')[0] ?? ''}`;
  const actions = error instanceof UnusableInputError ? [showLog] : [retry, showLog];
  const answer = await vscode.window.showErrorMessage(message, ...actions);
  if (answer === retry) {
    await again();
  } else if (answer === showLog) {
    await vscode.commands.executeCommand(COMMANDS.showLog);
  }
}
