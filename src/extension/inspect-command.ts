import * as vscode from 'vscode';
import { INSPECTOR_VIEWS } from './ids.js';

/** "GradLeak: Inspect Tensors": opens a file in the inspector, whatever its name says. */
export async function inspectFile(clicked: vscode.Uri | undefined): Promise<void> {
  const file = clicked ?? (await vscode.window.showOpenDialog({ title: 'Choose a tensor file' }))?.[0];
  if (file) {
    await vscode.commands.executeCommand('vscode.openWith', file, INSPECTOR_VIEWS[1]);
  }
}
