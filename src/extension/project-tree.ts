import { basename, dirname } from 'node:path';
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
    return groupsOf(this.project.report()?.entries ?? []);
  }

  getTreeItem(node: Node): vscode.TreeItem {
    return 'entries' in node ? runItem(node) : entryItem(node);
  }

  dispose(): void {
    this.subscription.dispose();
    this.changed.dispose();
  }
}

/** Rounds under their run; dumps without rounds under the folder they are in. */
function groupsOf(entries: readonly ProjectEntry[]): Node[] {
  const sizes = new Map<string, number>();
  for (const { run } of entries) {
    sizes.set(run, (sizes.get(run) ?? 0) + 1);
  }
  const groups = new Map<string, ProjectEntry[]>();
  for (const entry of entries) {
    const isSeries = entry.round !== null && (sizes.get(entry.run) ?? 0) > 1;
    const name = isSeries ? entry.run : dirname(nameOf(entry));
    groups.set(name, [...(groups.get(name) ?? []), entry]);
  }
  return [...groups].map(([run, own]) => ({
    run: run === '.' ? 'Workspace' : run,
    entries: own.sort(
      (one, other) => (one.round ?? 0) - (other.round ?? 0) || (one.gradients < other.gradients ? -1 : 1),
    ),
  }));
}

/** Without the file name that every capture has. */
function nameOf({ gradients }: ProjectEntry): string {
  return gradients.replace(/\/(gradients?|grads?)\.[^/]*$/, '');
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
  const { result, status, problem, change } = entry;
  const item = new vscode.TreeItem(basename(nameOf(entry)));
  item.id = entry.id;
  item.iconPath = iconOf(entry);
  if (result) {
    const inputs = result.exactInputs > 0 ? `, ${result.exactInputs} inputs` : '';
    item.description = `${result.severity ?? 'nothing'}: ${result.labels} of ${result.samples} labels${inputs}${change === 'same' ? '' : ` (${change})`}`;
    item.tooltip = `${entry.gradients}\n${result.sentence}`;
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
