import * as vscode from 'vscode';
import type { AuditStore } from './audit-store.js';
import type { ProjectAudits } from './project-audit.js';
import type { RunningAudits } from './running-audits.js';
import { statusOf } from './status-words.js';

/** Where audits stand, in the status bar; a click leads to what it speaks of. */
export class AuditStatus implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('gradleak.status', vscode.StatusBarAlignment.Left);
  private readonly subscriptions: readonly { dispose(): unknown }[];

  constructor(
    private readonly store: AuditStore,
    private readonly running: RunningAudits,
    private readonly project: ProjectAudits,
  ) {
    this.item.name = 'GradLeak Audits';
    const update = (): void => {
      this.update();
    };
    this.subscriptions = [
      this.item,
      store.onDidChange(update),
      running.onDidChange(update),
      project.onDidChange(update),
    ];
    update();
  }

  private update(): void {
    const [running, projectProgress] = [this.running.list(), this.project.progress];
    // Told with every message of one that runs, when what is stored does not matter.
    const isBusy = running.length > 0 || projectProgress !== null;
    const words = statusOf({
      running,
      projectProgress,
      last: isBusy ? undefined : this.store.latest(),
      project: isBusy ? undefined : this.project.report(),
    });
    if (!words) {
      this.item.hide();
      return;
    }
    this.item.text = words.text;
    this.item.tooltip = words.tooltip;
    this.item.command = { ...words.command, arguments: [...words.command.arguments] };
    this.item.accessibilityInformation = { label: words.tooltip };
    this.item.show();
  }

  dispose(): void {
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}
