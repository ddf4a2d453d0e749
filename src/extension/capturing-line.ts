import * as vscode from 'vscode';
import { readCapture } from '../facts/capture.js';
import type { CapturingLine } from '../protocol/panel-messages.js';
import { showError } from './notifications.js';
import { workspaceFile } from './workspace-file.js';
import { workspaceFolderPaths } from './workspace-folders.js';

/** The line of a script that captured a gradient, as the gradient's notes name it. */

/** Undefined without notes, and for notes that name none or cannot be read. */
export function capturingLine(gradients: string): CapturingLine | undefined {
  try {
    const script = readCapture(gradients)?.script;
    const place = script && workspaceFile(script.file, workspaceFolderPaths());
    return script && { ...script, why: place && 'why' in place ? place.why : null };
  } catch {
    // Another program's file of that name: audits say so, ways do without.
    return undefined;
  }
}

/** Opens a script inside the workspace, or says why not. @param line from 1 */
export async function openScript({ file, line }: { file: string; line: number }): Promise<void> {
  const script = workspaceFile(file, workspaceFolderPaths());
  if ('why' in script) {
    void showError(script.why);
    return;
  }
  const at = new vscode.Position(line - 1, 0);
  await vscode.window.showTextDocument(vscode.Uri.file(script.file), { selection: new vscode.Range(at, at) });
}
