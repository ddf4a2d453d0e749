import { join } from 'node:path';
import * as vscode from 'vscode';
import { STANDING_WORDS, standingOf, whyOpen } from '../words/outcome-words.js';
import { visible } from '../words/visible.js';
import { COMMANDS } from './ids.js';
import type { ProjectAudits } from './project-audit.js';
import { type WorkspaceFile, workspaceFile } from './workspace-file.js';
import { workspaceFolderPaths } from './workspace-folders.js';

/** What captures give away, in the Problems view on the line of the script that made them. */
export class ProjectProblems implements vscode.CodeActionProvider, vscode.Disposable {
  private readonly collection = vscode.languages.createDiagnosticCollection('gradleak');
  private readonly subscriptions: readonly { dispose(): unknown }[];
  /** Audits by what their problem says: VS Code hands over copies of problems. */
  private readonly audits = new Map<string, AuditOfProblem[]>();

  constructor(private readonly project: ProjectAudits) {
    this.subscriptions = [
      this.collection,
      project.onDidChange(() => {
        this.update();
      }),
      vscode.languages.registerCodeActionsProvider({ scheme: 'file' }, this, {
        providedCodeActionKinds: [vscode.CodeActionKind.QuickFix],
      }),
    ];
    this.update();
  }

  /** The way from a problem to the panel of its audit. */
  provideCodeActions(
    { uri }: vscode.TextDocument,
    _range: vscode.Range,
    { diagnostics }: vscode.CodeActionContext,
  ): vscode.CodeAction[] {
    return diagnostics.flatMap((diagnostic) =>
      (this.audits.get(keyOf(uri, diagnostic)) ?? []).slice(0, MOST_ACTIONS).map(({ id, gradients }) => {
        const title = `Show the audit of ${visible(gradients)}`;
        const action = new vscode.CodeAction(title, vscode.CodeActionKind.QuickFix);
        action.command = { title, command: COMMANDS.showAudit, arguments: [id] };
        action.diagnostics = [diagnostic];
        return action;
      }),
    );
  }

  private update(): void {
    const report = this.project.report();
    const folders = workspaceFolderPaths();
    const places = new Map<string, WorkspaceFile>();
    this.audits.clear();
    const byFile = new Map<string, vscode.Diagnostic[]>();
    for (const entry of report?.entries ?? []) {
      const { script, result, gradients } = entry;
      const why = whyOpen(entry);
      if (!script || (!result?.severity && why === null)) {
        continue;
      }
      const place = places.get(script.file) ?? workspaceFile(script.file, folders);
      places.set(script.file, place);
      if ('why' in place) {
        continue;
      }
      const range = new vscode.Range(script.line - 1, 0, script.line - 1, Number.MAX_SAFE_INTEGER);
      const isBad = why !== null || result?.severity === 'critical' || result?.severity === 'high';
      const diagnostic = new vscode.Diagnostic(
        range,
        visible(why === null ? (result?.sentence ?? '') : `${STANDING_WORDS[standingOf(entry)]}: ${why}`),
        isBad ? vscode.DiagnosticSeverity.Warning : vscode.DiagnosticSeverity.Information,
      );
      diagnostic.source = 'GradLeak';
      diagnostic.code = result?.findings[0]?.id ?? standingOf(entry);
      const dump = vscode.Uri.file(join(report?.root ?? '', gradients));
      diagnostic.relatedInformation = [
        new vscode.DiagnosticRelatedInformation(new vscode.Location(dump, new vscode.Position(0, 0)), 'the gradient'),
      ];
      if (result) {
        const key = keyOf(vscode.Uri.file(place.file), diagnostic);
        this.audits.set(key, [...(this.audits.get(key) ?? []), { id: entry.id, gradients }]);
      }
      const own = byFile.get(place.file) ?? [];
      byFile.set(place.file, own);
      own.push(diagnostic);
    }
    this.collection.clear();
    for (const [file, diagnostics] of byFile) {
      this.collection.set(vscode.Uri.file(file), diagnostics);
    }
  }

  dispose(): void {
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}

interface AuditOfProblem {
  readonly id: string;
  readonly gradients: string;
}

/** Rounds of one run often say the same on the same line. */
const MOST_ACTIONS = 5;

function keyOf(uri: vscode.Uri, { message, range }: vscode.Diagnostic): string {
  return JSON.stringify([uri.toString(), range.start.line, message]);
}
