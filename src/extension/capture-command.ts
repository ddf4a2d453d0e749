import * as vscode from 'vscode';

const NAME = 'gradleak_capture.py';

/** "GradLeak: Copy Capture Script...": puts gradleak_capture.py where the user says and opens it. */
export async function copyCaptureScript(extensionUri: vscode.Uri): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const target = await vscode.window.showSaveDialog({
    title: 'Copy the capture script to',
    filters: { Python: ['py'] },
    ...(folder ? { defaultUri: vscode.Uri.joinPath(folder, NAME) } : {}),
  });
  if (!target) {
    return;
  }
  // The dialog has already asked whether to replace a file.
  await vscode.workspace.fs.copy(vscode.Uri.joinPath(extensionUri, 'media', NAME), target, { overwrite: true });
  await vscode.window.showTextDocument(target);
}
