import { existsSync } from 'node:fs';
import * as vscode from 'vscode';
import { messageOf } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import type { FromPanel, SaveRequest, StoredDefence, ToPanel } from '../protocol/panel-messages.js';
import type { Report } from '../protocol/report.js';
import { renderHtml } from '../project/render-html.js';
import { defenceAsCsv } from '../words/defence-words.js';
import { allTextsOf } from '../words/recovered-texts.js';
import { shortPath } from '../words/report-words.js';
import { visible } from '../words/visible.js';
import type { AuditStore } from './audit-store.js';
import { capturingLine } from './capturing-line.js';
import { failureSentence, withShortPaths } from './failures.js';
import { COMMANDS, RESULTS_VIEW } from './ids.js';
import type { Log } from './log.js';
import type { AuditFiles } from './next-steps.js';
import { showError } from './notifications.js';
import type { RunningAudits } from './running-audits.js';
import type { RunningSweeps, SweepEvent } from './running-sweeps.js';
import { FROM_PANEL, keptAuditId, onViewMessage } from './view-messages.js';
import { webviewOptions, webviewPage } from './webview-page.js';

/** An audit that ended without a report, with what its panel goes on by. */
export interface FailedAudit {
  readonly files: AuditFiles;
  readonly error: unknown;
  readonly steps: NextStep[];
}

/** The results panel: one webview per audit, restored after a reload by the audit's id. */
export class ResultsPanels implements vscode.WebviewPanelSerializer, vscode.Disposable {
  private readonly open = new Map<string, vscode.WebviewPanel>();
  private readonly subscriptions: readonly { dispose: () => void }[];

  /** Audits that ended without a report, as long as the window is open. */
  private readonly failed = new Map<string, FailedAudit>();

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly store: AuditStore,
    private readonly running: RunningAudits,
    private readonly sweeps: RunningSweeps,
    private readonly log: Log,
  ) {
    this.subscriptions = [
      running.onDidChange(({ id }) => {
        this.refresh(id);
      }),
      sweeps.onDidChange((event) => {
        this.tellSweep(event);
      }),
    ];
  }

  private tellSweep(event: SweepEvent): void {
    const panel = this.open.get(event.id);
    const stored = panel && event.what !== 'advanced' ? this.store.defence(event.id) : undefined;
    void panel?.webview.postMessage(
      this.defenceOf(event.id, stored, event.what === 'failed' ? event.problem : undefined),
    );
  }

  private defenceOf(auditId: string, stored: StoredDefence | undefined, problem?: string): ToPanel {
    return {
      t: 'defence',
      auditId,
      progress: this.sweeps.get(auditId)?.progress ?? null,
      ...(stored ? { stored: { ...stored, report: withShortPaths(stored.report) } } : {}),
      ...(problem === undefined ? {} : { problem }),
    };
  }

  /** What is known of the audit has changed. */
  refresh(auditId: string): void {
    const panel = this.open.get(auditId);
    if (panel) {
      void panel.webview.postMessage(this.contentOf(auditId));
      panel.title = this.titleOf(auditId);
    }
  }

  /** The audit has ended without a report: a panel that is open says why, and what can be done. */
  fail(auditId: string, failure: FailedAudit): void {
    const panel = this.open.get(auditId);
    if (panel) {
      this.failed.set(auditId, failure);
      void panel.webview.postMessage(this.contentOf(auditId));
    }
  }

  failureOf(auditId: string): FailedAudit | undefined {
    return this.failed.get(auditId);
  }

  /** Shows an audit, in its panel when it is already open. @param column where, the active one when absent */
  show(auditId: string, column?: vscode.ViewColumn): void {
    const existing = this.open.get(auditId);
    if (existing) {
      existing.reveal(column);
      return;
    }
    const panel = vscode.window.createWebviewPanel(RESULTS_VIEW, 'GradLeak', column ?? vscode.ViewColumn.Active);
    this.attach(panel, auditId);
  }

  /** The audit of the panel that the user looks at. */
  active(): string | undefined {
    return [...this.open].find(([, panel]) => panel.active)?.[0];
  }

  /** Closes an audit's panel. */
  close(auditId: string): void {
    this.open.get(auditId)?.dispose();
  }

  deserializeWebviewPanel(panel: vscode.WebviewPanel, state: unknown): Promise<void> {
    this.attach(panel, keptAuditId(state));
    return Promise.resolve();
  }

  private attach(panel: vscode.WebviewPanel, auditId: string): void {
    panel.title = this.titleOf(auditId);
    panel.iconPath = vscode.Uri.joinPath(this.extensionUri, 'media', 'icon.svg');
    // A restored panel comes without its options.
    panel.webview.options = webviewOptions(this.extensionUri);
    onViewMessage(panel.webview, { validator: FROM_PANEL, view: 'results panel', log: this.log }, (message) =>
      this.receive(panel, auditId, message),
    );
    panel.onDidDispose(() => {
      this.open.delete(auditId);
      this.failed.delete(auditId);
    });
    this.open.set(auditId, panel);
    panel.webview.html = webviewPage(panel.webview, this.extensionUri, 'panel', 'Loading the report...');
  }

  private async receive(panel: vscode.WebviewPanel, auditId: string, message: FromPanel): Promise<void> {
    switch (message.t) {
      case 'ready':
        await panel.webview.postMessage(this.contentOf(auditId));
        await panel.webview.postMessage(this.defenceOf(auditId, this.store.defence(auditId)));
        break;
      case 'stop':
        (this.running.get(auditId) ?? this.sweeps.get(auditId))?.stop();
        break;
      case 'defend':
        await vscode.commands.executeCommand(COMMANDS.defendAudit, auditId, message.effort);
        break;
      case 'save':
        await this.save(auditId, message);
        break;
      case 'truth':
        await vscode.commands.executeCommand(COMMANDS.chooseTruth, auditId);
        break;
      case 'copy':
        await vscode.env.clipboard.writeText(message.text);
        break;
      case 'log':
        await vscode.commands.executeCommand(COMMANDS.showLog);
        break;
      case 'step':
        await vscode.commands.executeCommand(COMMANDS.takeStep, auditId, message.step);
        break;
      case 'inspect':
        await vscode.commands.executeCommand(
          message.file === 'gradient' ? COMMANDS.inspectGradient : COMMANDS.inspectCheckpoint,
          auditId,
        );
        break;
      case 'script':
        await vscode.commands.executeCommand(COMMANDS.openCapturingLine, auditId);
        break;
      case 'change-checkpoint':
        await vscode.commands.executeCommand(COMMANDS.changeCheckpoint, auditId);
        break;
    }
  }

  private contentOf(auditId: string): ToPanel {
    const progress = this.running.get(auditId)?.progress;
    if (progress) {
      return { t: 'run', auditId, progress };
    }
    const failure = this.failed.get(auditId);
    if (failure) {
      return { t: 'problem', sentence: failureSentence(failure.error), next: failure.steps };
    }
    const report = this.store.read(auditId);
    const problem = 'This audit is no longer stored. Run it again with "GradLeak: Audit Gradient File...".';
    if (!report) {
      return { t: 'problem', sentence: problem, next: [] };
    }
    const script = capturingLine(report.inputs.gradients.path);
    // Where the files lie is a fact of the report; elsewhere it is in the way.
    const shown = { ...withShortPaths(report), inputs: report.inputs };
    return {
      t: 'show',
      auditId,
      report: shown,
      images: this.store.images(auditId, report),
      ...(script ? { script } : {}),
    };
  }

  private titleOf(auditId: string): string {
    const gradient = this.gradientOf(auditId);
    return gradient === undefined ? 'GradLeak' : `GradLeak: ${visible(shortPath(gradient))}`;
  }

  private gradientOf(auditId: string): string | undefined {
    return this.running.get(auditId)?.gradients ?? this.store.about(auditId)?.gradients;
  }

  private textsOf(auditId: string): string {
    return allTextsOf(this.storedReport(auditId));
  }

  private tableOf(auditId: string): string {
    const defence = this.store.defence(auditId);
    if (!defence) {
      throw new Error('what was tried is no longer there');
    }
    return defenceAsCsv(defence.report);
  }

  private pageOf(auditId: string): string {
    const report = this.storedReport(auditId);
    const bundles = vscode.Uri.joinPath(this.extensionUri, 'dist', 'webview').fsPath;
    return renderHtml(report, this.store.images(auditId, report), { defence: this.store.defence(auditId), bundles });
  }

  private storedReport(auditId: string): Report {
    const report = this.store.read(auditId);
    if (!report) {
      throw new Error('the report is no longer there');
    }
    return report;
  }

  /** Asks where, and says what could not be saved. */
  async save(auditId: string, { what, png, name, sample }: SaveRequest): Promise<void> {
    const names = {
      json: 'report.json',
      npy: 'features.npy',
      png: name ?? 'landscape.png',
      txt: 'texts.txt',
      csv: 'defences.csv',
      html: 'report.html',
      'input-npy': `reconstruction-${sample ?? 0}.npy`,
    };
    const ending = what === 'input-npy' ? 'npy' : what;
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const target = await vscode.window.showSaveDialog({
      ...(folder ? { defaultUri: vscode.Uri.joinPath(folder, names[what]) } : {}),
      filters: { [ending.toUpperCase()]: [ending] },
    });
    if (!target) {
      return;
    }
    try {
      if (what === 'png') {
        await vscode.workspace.fs.writeFile(target, Buffer.from(png ?? '', 'base64'));
      } else if (what === 'txt') {
        await vscode.workspace.fs.writeFile(target, Buffer.from(this.textsOf(auditId)));
      } else if (what === 'csv') {
        await vscode.workspace.fs.writeFile(target, Buffer.from(this.tableOf(auditId)));
      } else if (what === 'html') {
        await vscode.workspace.fs.writeFile(target, Buffer.from(this.pageOf(auditId)));
      } else {
        const source = this.store.filePath(auditId, names[what]);
        if (!existsSync(source)) {
          throw new Error(`${source} is no longer there`);
        }
        // The dialog has already asked whether to replace a file.
        await vscode.workspace.fs.copy(vscode.Uri.file(source), target, { overwrite: true });
      }
    } catch (error) {
      this.log.error(error);
      void showError(withShortPaths(`GradLeak could not save ${target.fsPath}: ${messageOf(error)}`));
    }
  }

  dispose(): void {
    this.subscriptions.forEach((own) => {
      own.dispose();
    });
  }
}
