import * as vscode from 'vscode';
import type { ProjectEntry } from '../protocol/project-report.js';
import { COMMANDS } from './ids.js';
import type { ProjectAudits } from './project-audit.js';

/** The results of a project as a tree: runs, and in each its rounds with their severity. */

type Node = { run: string; entries: ProjectEntry[] } | ProjectEntry;

export class ProjectTree implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly subscription: vscode.Disposable;

  constructor(private readonly project: ProjectAudits) {
    this.subscription = project.onDidChange(() => {
      this.changed.fire(undefined);
    });
  }

  getChildren(node?: Node): Node[] {
    if (node) {
      return 'entries' in node ? node.entries : [];
    }
    const runs = new Map<string, ProjectEntry[]>();
    for (const entry of this.project.report()?.entries ?? []) {
      runs.set(entry.run, [...(runs.get(entry.run) ?? []), entry]);
    }
    // A run of one is its entry.
    return [...runs].map(([run, entries]) => {
      const [only] = entries;
      entries.sort((one, other) => (one.round ?? 0) - (other.round ?? 0));
      return only && entries.length === 1 ? only : { run, entries };
    });
  }

  getTreeItem(node: Node): vscode.TreeItem {
    return 'entries' in node ? runItem(node) : entryItem(node);
  }

  dispose(): void {
    this.subscription.dispose();
    this.changed.dispose();
  }
}

function runItem({ run, entries }: { run: string; entries: ProjectEntry[] }): vscode.TreeItem {
  const item = new vscode.TreeItem(run, vscode.TreeItemCollapsibleState.Expanded);
  const leaking = entries.filter(({ result }) => result?.outcome === 'leaks').length;
  const worse = entries.filter(({ change }) => change === 'worse').length;
  item.description = `${leaking} of ${entries.length} leak${worse > 0 ? `, ${worse} worse` : ''}`;
  item.iconPath = new vscode.ThemeIcon('history');
  return item;
}

function entryItem(entry: ProjectEntry): vscode.TreeItem {
  const { result, status, problem, change, round, gradients } = entry;
  const item = new vscode.TreeItem(round === null ? gradients : `${gradients} (round ${round})`);
  item.iconPath = iconOf(entry);
  if (result) {
    const inputs = result.exactInputs > 0 ? `, ${result.exactInputs} inputs` : '';
    item.description = `${result.severity ?? 'nothing'}: ${result.labels} of ${result.samples} labels${inputs}${change === 'same' ? '' : ` (${change})`}`;
    item.tooltip = result.sentence;
    item.command = { title: 'Show Audit', command: COMMANDS.showAudit, arguments: [entry.id] };
  } else {
    item.description = status === 'failed' ? `not audited: ${problem ?? ''}` : 'waiting';
    item.tooltip = problem ?? '';
  }
  return item;
}

function iconOf({ result, status }: ProjectEntry): vscode.ThemeIcon {
  if (!result) {
    return new vscode.ThemeIcon(status === 'failed' ? 'circle-slash' : 'clock');
  }
  switch (result.severity) {
    case 'critical':
    case 'high':
      return new vscode.ThemeIcon('error', new vscode.ThemeColor('list.errorForeground'));
    case 'medium':
    case 'low':
      return new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'));
    case null:
      return new vscode.ThemeIcon('pass');
  }
}
