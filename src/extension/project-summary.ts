import * as vscode from 'vscode';
import { renderProjectHtml } from '../cli/render-html.js';
import { messageOf } from '../protocol/errors.js';
import type { FromSummary, ToSummary } from '../protocol/summary-messages.js';
import { replaceFile } from '../audit/output-folder.js';
import { renderSarif } from '../project/sarif.js';
import { COMMANDS, SUMMARY_VIEW } from './ids.js';
import type { ProjectAudits } from './project-audit.js';
import { webviewOptions, webviewPage } from './webview-page.js';

/** The summary page of a project, one per window, and what can be saved of it. */
export class ProjectSummaryPanel implements vscode.WebviewPanelSerializer, vscode.Disposable {
  private panel: vscode.WebviewPanel | undefined;
  private readonly subscription: vscode.Disposable;

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly project: ProjectAudits,
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
    panel.webview.onDidReceiveMessage((message: FromSummary) => {
      void this.receive(message);
    });
    panel.onDidDispose(() => {
      this.panel = undefined;
    });
    panel.webview.html = webviewPage(panel.webview, this.extensionUri, 'summary', 'Loading the summary...');
  }

  private update(): void {
    const post = (message: ToSummary): void => void this.panel?.webview.postMessage(message);
    const report = this.project.report();
    if (report) {
      post({ t: 'show', report });
    }
    post({ t: 'progress', progress: this.project.progress });
  }

  private async receive(message: FromSummary): Promise<void> {
    const entryOf = (id: string): NonNullable<ReturnType<ProjectAudits['report']>>['entries'][number] | undefined =>
      this.project.report()?.entries.find((entry) => entry.id === id);
    switch (message.t) {
      case 'ready':
        this.update();
        break;
      case 'open':
        await vscode.commands.executeCommand(COMMANDS.showAudit, message.id);
        break;
      case 'script': {
        const script = entryOf(message.id)?.script;
        if (script) {
          const line = new vscode.Position(script.line - 1, 0);
          await vscode.window.showTextDocument(vscode.Uri.file(script.file), {
            selection: new vscode.Range(line, line),
          });
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

  /** Asks where; the dialog asks before it replaces a file. */
  async save(what: 'json' | 'html' | 'sarif'): Promise<void> {
    const report = this.project.report();
    if (!report) {
      void vscode.window.showInformationMessage('The workspace has not been audited yet.');
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
      html: () => renderProjectHtml(report),
      sarif: () => renderSarif(report),
    };
    try {
      replaceFile(target.fsPath, content[what]());
    } catch (error) {
      void vscode.window.showErrorMessage(`GradLeak could not save ${target.fsPath}: ${messageOf(error)}`);
    }
  }

  dispose(): void {
    this.subscription.dispose();
    this.panel?.dispose();
  }
}
