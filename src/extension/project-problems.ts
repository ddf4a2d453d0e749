import { join } from 'node:path';
import * as vscode from 'vscode';
import { STANDING_WORDS, standingOf, whyOpen } from '../words/outcome-words.js';
import { visible } from '../words/visible.js';
import type { ProjectAudits } from './project-audit.js';
import { type WorkspaceFile, workspaceFile } from './workspace-file.js';
import { workspaceFolderPaths } from './workspace-folders.js';

/** What captures give away, in the Problems view on the line of the script that made them. */
export class ProjectProblems implements vscode.Disposable {
  private readonly collection = vscode.languages.createDiagnosticCollection('gradleak');
  private readonly subscription: vscode.Disposable;

  constructor(private readonly project: ProjectAudits) {
    this.subscription = project.onDidChange(() => {
      this.update();
    });
    this.update();
  }

  private update(): void {
    const report = this.project.report();
    const folders = workspaceFolderPaths();
    const places = new Map<string, WorkspaceFile>();
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
    this.subscription.dispose();
    this.collection.dispose();
  }
}
