import { join } from 'node:path';
import * as vscode from 'vscode';
import { auditFile } from './audit-command.js';
import { AuditStore } from './audit-store.js';
import { copyCaptureScript } from './capture-command.js';
import { installCudaEngine, showEngines } from './engine-commands.js';
import { openAudit } from './history-command.js';
import { COMMANDS, RESULTS_VIEW } from './ids.js';
import { inspectFile } from './inspect-command.js';
import { registerInspector } from './inspector.js';
import { ResultsPanels } from './results-panel.js';
import { RunnerHost } from './runner-host.js';

/** Registers everything; nothing heavier happens before a command is used. */
export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('GradLeak', { log: true });
  const storage = (context.storageUri ?? context.globalStorageUri).fsPath;
  const store = new AuditStore(join(storage, 'audits'));
  const runner = new RunnerHost(join(context.extensionPath, 'dist', 'runner.js'), log);
  // Apart from audits, so that looking at a file never waits for one.
  const reader = new RunnerHost(join(context.extensionPath, 'dist', 'runner.js'), log);
  const panels = new ResultsPanels(context.extensionUri, store, log);
  const services = { runner, store, panels, memory: context.workspaceState, log };
  context.subscriptions.push(
    log,
    runner,
    reader,
    registerInspector(context, reader, log),
    vscode.window.registerWebviewPanelSerializer(RESULTS_VIEW, panels),
    vscode.commands.registerCommand(COMMANDS.auditFile, (uri?: vscode.Uri) => auditFile(services, uri)),
    vscode.commands.registerCommand(COMMANDS.inspectFile, (uri?: vscode.Uri) => inspectFile(uri)),
    vscode.commands.registerCommand(COMMANDS.openLastAudit, () => {
      const latest = store.latest();
      if (latest === undefined) {
        void vscode.window.showInformationMessage('No audit is stored for this workspace yet.');
      } else {
        panels.show(latest);
      }
    }),
    vscode.commands.registerCommand(COMMANDS.openAudit, () => openAudit(store, panels)),
    vscode.commands.registerCommand(COMMANDS.showEngines, () => showEngines(runner, log)),
    vscode.commands.registerCommand(COMMANDS.installCudaEngine, () => installCudaEngine(context.globalStorageUri, log)),
    vscode.commands.registerCommand(COMMANDS.copyCaptureScript, () => copyCaptureScript(context.extensionUri)),
    vscode.commands.registerCommand(COMMANDS.showLog, () => {
      log.show();
    }),
  );
}
