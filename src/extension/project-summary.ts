import * as vscode from 'vscode';
import { previewOf, previewsForPage, reportForPreview } from '../project/previews.js';
import { renderProjectHtml } from '../project/render-html.js';
import { messageOf } from '../protocol/errors.js';
import type { ProjectEntry, ProjectReport } from '../protocol/project-report.js';
import type { EntryPreview, FromSummary, ToSummary } from '../protocol/summary-messages.js';
import { replaceFile } from '../audit/output-folder.js';
import { renderSarif } from '../project/sarif.js';
import type { AuditStore } from './audit-store.js';
import { COMMANDS, SUMMARY_VIEW } from './ids.js';
import type { Log } from './log.js';
import { showError, showInformation } from './notifications.js';
import type { ProjectAudits } from './project-audit.js';
import { FROM_SUMMARY, onViewMessage } from './view-messages.js';
import { webviewOptions, webviewPage } from './webview-page.js';
import { workspaceFile } from './workspace-file.js';
import { workspaceFolderPaths } from './workspace-folders.js';

/** The summary page of a project, one per window, and what can be saved of it. */
export class ProjectSummaryPanel implements vscode.WebviewPanelSerializer, vscode.Disposable {
  private panel: vscode.WebviewPanel | undefined;
  private readonly subscription: vscode.Disposable;

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly project: ProjectAudits,
    private readonly store: AuditStore,
    private readonly log: Log,
  ) {
    this.subscription = project.onDidChange(() => {
      this.update();
    });
  }

  show(): void {
    if (this.panel) {
      this.panel.reveal();
      return;
    }
    this.attach(vscode.window.createWebviewPanel(SUMMARY_VIEW, 'GradLeak: Workspace', vscode.ViewColumn.Active));
  }

  deserializeWebviewPanel(panel: vscode.WebviewPanel): Promise<void> {
    this.attach(panel);
    return Promise.resolve();
  }

  private attach(panel: vscode.WebviewPanel): void {
    this.panel = panel;
    panel.iconPath = vscode.Uri.joinPath(this.extensionUri, 'media', 'icon.svg');
    panel.webview.options = webviewOptions(this.extensionUri);
    onViewMessage(panel.webview, { validator: FROM_SUMMARY, view: 'summary', log: this.log }, (message) =>
      this.receive(message),
    );
    panel.onDidDispose(() => {
      this.panel = undefined;
    });
    panel.webview.html = webviewPage(panel.webview, this.extensionUri, 'summary', 'Loading the summary...');
  }

  private update(): void {
    if (!this.panel) {
      return;
    }
    const { webview } = this.panel;
    const post = (message: ToSummary): void => void webview.postMessage(message);
    const report = this.project.report();
    if (report) {
      post({ t: 'show', report, closedScripts: closedScripts(report) });
    }
    post({ t: 'progress', progress: this.project.progress });
  }

  private async receive(message: FromSummary): Promise<void> {
    const entryOf = (id: string): ProjectEntry | undefined =>
      this.project.report()?.entries.find((entry) => entry.id === id);
    switch (message.t) {
      case 'ready':
        this.update();
        break;
      case 'open':
        await vscode.commands.executeCommand(COMMANDS.showAudit, message.id);
        break;
      case 'previews':
        await this.sendPreviews(message.ids);
        break;
      case 'script': {
        const script = entryOf(message.id)?.script;
        if (script) {
          await openScript(script);
        }
        break;
      }
      case 'save':
        await this.save(message.what);
        break;
      case 'run':
        await this.project.run(this.project.report()?.status !== 'cancelled');
        break;
      case 'stop':
        this.project.stop();
        break;
    }
  }

  /** Each comes as it is read: the first are on screen while others are still on disk. */
  private async sendPreviews(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      const message: ToSummary = { t: 'previews', previews: [this.previewOf(id)] };
      await this.panel?.webview.postMessage(message);
    }
  }

  private previewOf(id: string): EntryPreview {
    const report = this.store.read(id);
    return report
      ? previewOf(id, report, this.store.images(id, reportForPreview(report)))
      : { id, pictures: [], texts: [] };
  }

  /** Asks where; the dialog asks before it replaces a file. */
  async save(what: 'json' | 'html' | 'sarif'): Promise<void> {
    const report = this.project.report();
    if (!report) {
      void showInformation('The workspace has not been audited yet.');
      return;
    }
    const target = await vscode.window.showSaveDialog({
      defaultUri: vscode.Uri.joinPath(vscode.Uri.file(report.root), `gradleak.${what}`),
      filters: { [what.toUpperCase()]: [what] },
    });
    if (!target) {
      return;
    }
    const content = {
      json: () => `${JSON.stringify(report, undefined, 1)}\n`,
      html: () =>
        renderProjectHtml(
          report,
          previewsForPage(report, (id) => this.previewOf(id)),
        ),
      sarif: () => renderSarif(report),
    };
    try {
      if (target.scheme === 'file') {
        replaceFile(target.fsPath, content[what]());
      } else {
        // In a remote window, a file of the user's own machine.
        await vscode.workspace.fs.writeFile(target, Buffer.from(content[what]()));
      }
    } catch (error) {
      void showError(`GradLeak could not save ${target.fsPath}: ${messageOf(error)}`);
    }
  }

  dispose(): void {
    this.subscription.dispose();
    this.panel?.dispose();
  }
}

async function openScript({ file, line }: { file: string; line: number }): Promise<void> {
  const script = workspaceFile(file, workspaceFolderPaths());
  if ('why' in script) {
    void showError(script.why);
    return;
  }
  const at = new vscode.Position(line - 1, 0);
  await vscode.window.showTextDocument(vscode.Uri.file(script.file), { selection: new vscode.Range(at, at) });
}

/** Scripts that are named and not opened, each once. */
function closedScripts({ entries }: ProjectReport): { file: string; why: string }[] {
  const folders = workspaceFolderPaths();
  const files = new Set(entries.flatMap(({ script }) => (script ? [script.file] : [])));
  return [...files].flatMap((file) => {
    const script = workspaceFile(file, folders);
    return 'why' in script ? [{ file, why: script.why }] : [];
  });
}
