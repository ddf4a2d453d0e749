import { join } from 'node:path';
import * as vscode from 'vscode';
import { registerAuditActions } from './audit-actions.js';
import { auditFile, auditPair } from './audit-command.js';
import { AuditStore } from './audit-store.js';
import { AuditsTree } from './audits-tree.js';
import { Captures } from './captures.js';
import { copyCaptureScript } from './capture-command.js';
import { installCudaEngine, showEngines } from './engine-commands.js';
import { keepContexts } from './contexts.js';
import { pickAudit } from './history-command.js';
import { AUDITS_TREE, COMMANDS, PROJECT_TREE, RESULTS_VIEW, SUMMARY_VIEW } from './ids.js';
import { inspectFile } from './inspect-command.js';
import { registerInspector } from './inspector.js';
import { registerLanguageModelTool } from './language-model-tool.js';
import { visibleLog } from './log.js';
import { showInformation } from './notifications.js';
import { ProjectAudits, projectFolders } from './project-audit.js';
import { ProjectProblems } from './project-problems.js';
import { ProjectSummaryPanel } from './project-summary.js';
import { ProjectTree } from './project-tree.js';
import { PythonScripts } from './python-scripts.js';
import { QueueAccess } from './queue-access.js';
import { QueueLogins } from './queue-logins.js';
import { QueueSubmissions } from './queue-submissions.js';
import { ResultsPanels } from './results-panel.js';
import { RunnerHost } from './runner-host.js';
import { RunningAudits } from './running-audits.js';
import { registerScriptPrompts } from './script-prompts.js';
import { RunningSweeps } from './running-sweeps.js';
import { AuditStatus } from './status-bar.js';
import { SubmissionMemory } from './stored-submission.js';
import { registerTasks } from './tasks.js';
import { chooseTruth } from './truth-command.js';
import { visible } from '../words/visible.js';

/** Registers everything; nothing heavier happens before a command is used. */
export function activate(context: vscode.ExtensionContext): void {
  const channel = vscode.window.createOutputChannel('GradLeak', { log: true });
  const log = visibleLog(channel);
  const storage = (context.storageUri ?? context.globalStorageUri).fsPath;
  const projects = join(storage, 'projects');
  const runner = new RunnerHost(join(context.extensionPath, 'dist', 'runner.js'), log);
  // Apart from audits, so that looking at a file never waits for one.
  const reader = new RunnerHost(join(context.extensionPath, 'dist', 'runner.js'), log);
  const running = new RunningAudits();
  const sweeps = new RunningSweeps();
  const store = new AuditStore(
    join(storage, 'audits'),
    () => projectFolders(projects),
    (id) => running.get(id) !== undefined || sweeps.get(id) !== undefined,
  );
  const panels = new ResultsPanels(context.extensionUri, store, running, sweeps, log);
  const project = new ProjectAudits(projects, runner, store, log);
  const summary = new ProjectSummaryPanel(context.extensionUri, project, store, log);
  // Apart from audits, which know no queue.
  const queueHost = new RunnerHost(join(context.extensionPath, 'dist', 'queue-runner.js'), log);
  const logins = new QueueLogins(context.secrets);
  const submissions = new QueueSubmissions(
    join(storage, 'queue'),
    queueHost,
    project,
    new QueueAccess(logins),
    new SubmissionMemory(context.workspaceState, () => {
      project.hasChanged();
    }),
    log,
    () => {
      summary.show();
    },
  );
  const audits = new AuditsTree(store, running);
  const auditsView = vscode.window.createTreeView(AUDITS_TREE, { treeDataProvider: audits, canSelectMany: true });
  const tree = new ProjectTree(project);
  const projectView = vscode.window.createTreeView(PROJECT_TREE, { treeDataProvider: tree, canSelectMany: true });
  const scripts = new PythonScripts();
  const captures = new Captures();
  const services = { runner, store, running, panels, memory: context.workspaceState, log };
  context.subscriptions.push(
    channel,
    submissions,
    runner,
    reader,
    queueHost,
    panels,
    audits,
    auditsView,
    new AuditStatus(store, running, project),
    registerAuditActions({ ...services, sweeps, project, selection: () => auditsView.selection }),
    registerInspector(context, { runner: reader, store, log }),
    project,
    summary,
    tree,
    new ProjectProblems(project),
    keepContexts(store, running, project, submissions),
    scripts,
    captures,
    registerScriptPrompts({ scripts, captures, store, extensionUri: context.extensionUri }),
    registerTasks(context.extensionPath, runner),
    registerLanguageModelTool(services),
    projectView,
    project.onDidChange(() => {
      const { progress } = project;
      projectView.message = progress ? visible(`${progress.done} of ${progress.of}: ${progress.message}`) : '';
    }),
    vscode.window.registerWebviewPanelSerializer(RESULTS_VIEW, panels),
    vscode.window.registerWebviewPanelSerializer(SUMMARY_VIEW, summary),
    vscode.commands.registerCommand(COMMANDS.auditWorkspace, async () => {
      const running = project.run(true);
      const first = project.onDidChange(() => {
        first.dispose();
        summary.show();
      });
      await running;
      first.dispose();
    }),
    vscode.commands.registerCommand(COMMANDS.stopWorkspaceAudit, () => {
      project.stop();
    }),
    vscode.commands.registerCommand(COMMANDS.submitWorkspace, () => submissions.submit()),
    vscode.commands.registerCommand(COMMANDS.showQueue, () => submissions.show()),
    vscode.commands.registerCommand(COMMANDS.retryQueue, () => submissions.retry()),
    vscode.commands.registerCommand(COMMANDS.cancelQueue, () => submissions.cancel()),
    vscode.commands.registerCommand(COMMANDS.forgetQueueLogins, async () => {
      const addresses = await logins.forget();
      void showInformation(
        addresses.length === 0
          ? 'No user and no password of a queue is stored.'
          : `User and password are forgotten of ${addresses.join(', ')}.`,
      );
    }),
    vscode.commands.registerCommand(COMMANDS.showSummary, () => {
      summary.show();
    }),
    vscode.commands.registerCommand(COMMANDS.deleteWorkspaceAudit, () => project.delete()),
    vscode.commands.registerCommand(COMMANDS.saveSarif, () => summary.save('sarif')),
    vscode.commands.registerCommand(COMMANDS.showAudit, (id: string) => {
      panels.show(id);
    }),
    vscode.commands.registerCommand(COMMANDS.auditPair, (checkpoint: string, gradients: string) =>
      auditPair(services, { checkpoint, gradients }),
    ),
    vscode.commands.registerCommand(COMMANDS.auditExample, () => {
      const example = (name: string): string => join(context.extensionPath, 'media', 'example', name);
      return auditPair(services, { checkpoint: example('checkpoint.pt'), gradients: example('gradient.pt') });
    }),
    vscode.commands.registerCommand(COMMANDS.auditFile, (uri?: vscode.Uri) => auditFile(services, uri)),
    vscode.commands.registerCommand(COMMANDS.inspectFile, (uri?: vscode.Uri) => inspectFile(uri)),
    vscode.commands.registerCommand(COMMANDS.openLastAudit, () => {
      const latest = store.latest();
      if (latest === undefined) {
        void showInformation('No audit is stored for this workspace yet.');
      } else {
        panels.show(latest.id);
      }
    }),
    vscode.commands.registerCommand(COMMANDS.openAudit, async () => {
      const audit = await pickAudit(store, 'Open Audit');
      if (audit) {
        panels.show(audit.id);
      }
    }),
    vscode.commands.registerCommand(COMMANDS.chooseTruth, (id?: string) => chooseTruth(services, id)),
    vscode.commands.registerCommand(COMMANDS.showEngines, () => showEngines(runner, log)),
    vscode.commands.registerCommand(COMMANDS.installCudaEngine, () => installCudaEngine(context.globalStorageUri, log)),
    vscode.commands.registerCommand(COMMANDS.copyCaptureScript, () => copyCaptureScript(context.extensionUri)),
    vscode.commands.registerCommand(COMMANDS.showLog, () => {
      channel.show();
    }),
  );
  submissions.resume();
}
