import { basename, dirname } from 'node:path';
import * as vscode from 'vscode';
import type { ProjectEntry } from '../protocol/project-report.js';
import { counted } from '../words/count-words.js';
import { STANDING_WORDS, isOpen, standingOf, whyOpen } from '../words/outcome-words.js';
import { visible } from '../words/visible.js';
import { contextOf } from './audit-rows.js';
import { COMMANDS } from './ids.js';
import type { ProjectAudits } from './project-audit.js';
import { standingIcon } from './standing-icon.js';

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
    const own = groups.get(name);
    if (own) {
      own.push(entry);
    } else {
      groups.set(name, [entry]);
    }
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
  const item = new vscode.TreeItem(visible(run), vscode.TreeItemCollapsibleState.Expanded);
  const leaking = entries.filter((entry) => standingOf(entry) === 'leaks').length;
  const open = entries.filter((entry) => isOpen(standingOf(entry))).length;
  const worse = entries.filter(({ change }) => change === 'worse').length;
  item.description = `${leaking} of ${entries.length} leak${open > 0 ? `, ${open} not assessed` : ''}${worse > 0 ? `, ${worse} worse` : ''}`;
  item.iconPath =
    leaking === 0 && open > 0
      ? new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'))
      : new vscode.ThemeIcon('history');
  return item;
}

function entryItem(entry: ProjectEntry): vscode.TreeItem {
  const { result, problem, change, script } = entry;
  const word = STANDING_WORDS[standingOf(entry)];
  const why = whyOpen(entry);
  const item = new vscode.TreeItem(visible(basename(nameOf(entry))));
  item.id = entry.id;
  item.iconPath = standingIcon(standingOf(entry), result?.severity ?? null);
  item.contextValue = contextOf({
    isSingle: false,
    hasReport: result !== null,
    hasCheckpoint: true,
    hasScript: script !== null,
  });
  if (result) {
    const inputs = result.exactInputs > 0 ? `, ${counted(result.exactInputs, 'input')}` : '';
    const worst = result.severity === null ? '' : `, ${result.severity}`;
    item.description =
      why === null
        ? `${word}${worst}: ${result.labels} of ${counted(result.samples, 'label')}${inputs}${change === 'same' ? '' : ` (${change})`}`
        : visible(`${word}${worst}: ${why}`);
    item.tooltip = visible(`${entry.gradients}\n${word}: ${result.sentence}`);
    item.command = { title: 'Show Audit', command: COMMANDS.showAudit, arguments: [entry.id] };
  } else {
    item.description = visible(why === null ? word : `${word}: ${why}`);
    item.tooltip = visible(problem ?? '');
  }
  return item;
}
