import * as vscode from 'vscode';
import { STANDING_WORDS } from '../words/outcome-words.js';
import { shortPath } from '../words/report-words.js';
import { visible } from '../words/visible.js';
import { contextOf, isRunning } from './audit-rows.js';
import type { AuditStore, StoredAudit } from './audit-store.js';
import { capturingLine } from './capturing-line.js';
import { COMMANDS } from './ids.js';
import type { RunningAudit, RunningAudits } from './running-audits.js';
import { standingIcon } from './standing-icon.js';

/** Single audits as a list: those that run, then what is stored, newest first. */
export class AuditsTree implements vscode.TreeDataProvider<RunningAudit | StoredAudit>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<RunningAudit | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly subscriptions: readonly { dispose(): unknown }[];

  constructor(
    private readonly store: AuditStore,
    private readonly running: RunningAudits,
  ) {
    const again = (): void => {
      this.changed.fire(undefined);
    };
    this.subscriptions = [
      this.changed,
      store.onDidChange(again),
      running.onDidChange(({ id, what }) => {
        // The rest of the list stays as it is while one goes on.
        this.changed.fire(what === 'advanced' ? running.get(id) : undefined);
      }),
    ];
  }

  getChildren(node?: RunningAudit | StoredAudit): (RunningAudit | StoredAudit)[] {
    if (node) {
      return [];
    }
    const running = this.running.list();
    // One that runs may have written what it knows so far.
    return [...running, ...this.store.list().filter(({ id }) => !running.some((own) => own.id === id))];
  }

  getTreeItem(node: RunningAudit | StoredAudit): vscode.TreeItem {
    const item = new vscode.TreeItem(visible(shortPath(node.gradients)));
    item.id = node.id;
    item.command = { title: 'Show Audit', command: COMMANDS.showAudit, arguments: [node.id] };
    return isRunning(node) ? asRunning(item, node) : asStored(item, node);
  }

  dispose(): void {
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}

function asRunning(item: vscode.TreeItem, { gradients, progress }: RunningAudit): vscode.TreeItem {
  item.description = visible(`${Math.round(100 * progress.fraction)} %, ${progress.message}`);
  item.tooltip = visible(`${gradients}\n${progress.message}`);
  item.iconPath = new vscode.ThemeIcon('loading~spin');
  item.contextValue = 'running';
  return item;
}

function asStored(item: vscode.TreeItem, audit: StoredAudit): vscode.TreeItem {
  const { gradients, checkpoint, standing, severity, sentence, isStopped, made } = audit;
  const word = STANDING_WORDS[standing];
  item.description = `${word} ${whenOf(made)}${severity === null ? '' : `, ${severity}`}${isStopped ? ', stopped early' : ''}`;
  item.tooltip = visible(
    [
      gradients,
      checkpoint === undefined ? 'without a checkpoint' : `against ${checkpoint}`,
      `${word}: ${sentence}`,
      new Date(made).toLocaleString(),
    ].join('\n'),
  );
  item.iconPath = standingIcon(standing, severity);
  item.contextValue = contextOf({
    isSingle: true,
    hasReport: true,
    hasCheckpoint: checkpoint !== undefined,
    hasScript: capturingLine(gradients)?.why === null,
  });
  return item;
}

/** As short as tells audits of one gradient apart. */
function whenOf(made: number): string {
  const date = new Date(made);
  return date.toDateString() === new Date().toDateString()
    ? `at ${date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}`
    : `on ${date.toLocaleDateString()}`;
}
