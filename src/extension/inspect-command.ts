import * as vscode from 'vscode';
import { messageOf } from '../protocol/errors.js';
import { renderListing } from '../cli/render-text.js';
import { openTensorFile } from '../formats/open.js';

/**
 * "GradLeak: List Tensors in File": a read-only text of what a file holds. Only its directory is read and
 * nothing in it is run, so this works in untrusted workspaces and needs no child process.
 */

const SCHEME = 'gradleak-tensors';

export function registerInspect(): vscode.Disposable {
  return vscode.workspace.registerTextDocumentContentProvider(SCHEME, {
    provideTextDocumentContent(uri) {
      try {
        const file = openTensorFile(uri.query);
        try {
          return renderListing(file);
        } finally {
          file.close();
        }
      } catch (error) {
        return `${messageOf(error)}\n`;
      }
    },
  });
}

export async function inspectFile(clicked: vscode.Uri | undefined): Promise<void> {
  const file = clicked ?? (await vscode.window.showOpenDialog({ title: 'Choose a tensor file' }))?.[0];
  if (!file) {
    return;
  }
  const uri = vscode.Uri.from({ scheme: SCHEME, path: `${file.path}.txt`, query: file.fsPath });
  await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: true });
}
