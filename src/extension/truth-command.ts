import { basename, dirname } from 'node:path';
import * as vscode from 'vscode';
import { CancelledError } from '../protocol/errors.js';
import { type AuditServices, isTrusted } from './audit-command.js';
import { cancelSignal } from './cancel-signal.js';
import { failureSentence } from './failures.js';
import { showError, showInformation, withProgressNotification } from './notifications.js';

/** "GradLeak: Choose Truth...": compares what an audit recovered with what the gradient really is of. */

/** @param given the audit of the panel whose button was pressed; the panel in front where the palette started the command */
export async function chooseTruth(services: AuditServices, given: string | undefined): Promise<void> {
  const { store, panels } = services;
  const id = given ?? panels.active();
  const report = id === undefined ? undefined : store.read(id);
  if (id === undefined || !report) {
    void showInformation('Open an audit first: "GradLeak: Open Audit..." lists them.');
    return;
  }
  if (!(await isTrusted())) {
    return;
  }
  const [truth] =
    (await vscode.window.showOpenDialog({
      title: 'Choose the truth: what the gradient really is of',
      openLabel: 'Compare',
      defaultUri: vscode.Uri.file(dirname(report.inputs.gradients.path)),
      filters: { 'Truth (JSON)': ['json'] },
    })) ?? [];
  if (truth) {
    await compare(services, id, truth.fsPath);
  }
}

async function compare(services: AuditServices, id: string, truth: string): Promise<void> {
  const { runner, store, panels, log } = services;
  try {
    await withProgressNotification(`GradLeak: comparing with ${basename(truth)}`, async (_report, token) => {
      await (await runner.get()).compare({ folder: store.filePath(id, ''), truth }, cancelSignal(token));
    });
    log.info(`Audit ${id} was compared with ${truth}.`);
    store.changed();
    panels.refresh(id);
  } catch (error) {
    if (error instanceof CancelledError) {
      return;
    }
    log.error(error);
    const another = 'Choose Another...';
    if ((await showError(failureSentence(error), another)) === another) {
      await chooseTruth(services, id);
    }
  }
}
