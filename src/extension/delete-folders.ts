import * as vscode from 'vscode';
import { askModal } from './notifications.js';

/**
 * Moves folders to the trash; where there is none it asks, once, whether to delete them for good.
 *
 * @param deleted called for each that is gone
 */
export async function deleteFolders(folders: readonly string[], deleted: (folder: string) => void): Promise<void> {
  let isForGood = false;
  for (const folder of folders) {
    const uri = vscode.Uri.file(folder);
    if (!isForGood && !(await toTrash(uri))) {
      const answer = 'Delete Permanently';
      if ((await askModal('There is no trash here. Delete for good?', 'This cannot be undone.', answer)) !== answer) {
        return;
      }
      isForGood = true;
    }
    if (isForGood) {
      await vscode.workspace.fs.delete(uri, { recursive: true });
    }
    deleted(folder);
  }
}

/** @returns false where the machine has no trash, as on most servers, or it does not take the folder */
async function toTrash(uri: vscode.Uri): Promise<boolean> {
  try {
    await vscode.workspace.fs.delete(uri, { recursive: true, useTrash: true });
    return true;
  } catch {
    return false;
  }
}
