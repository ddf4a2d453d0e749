import * as vscode from 'vscode';

/**
 * The editor's lists and input boxes. They stay when the focus goes elsewhere: most open after work or by a click in
 * a panel, and a panel that takes the focus a moment late would close what was just asked. Escape closes them.
 */
const STAYS = { ignoreFocusOut: true };

/** @returns undefined when the user wants none of them */
export function pickOne<T extends vscode.QuickPickItem>(
  items: readonly T[],
  options: vscode.QuickPickOptions,
): Thenable<T | undefined> {
  return vscode.window.showQuickPick(items, { ...options, ...STAYS });
}

/** @returns undefined when the user goes away from the list */
export function pickMany<T extends vscode.QuickPickItem>(
  items: readonly T[],
  options: vscode.QuickPickOptions,
): Thenable<T[] | undefined> {
  return vscode.window.showQuickPick(items, { ...options, ...STAYS, canPickMany: true });
}

/** @returns undefined when the user goes away from the box */
export function askForText(options: vscode.InputBoxOptions): Thenable<string | undefined> {
  return vscode.window.showInputBox({ ...options, ...STAYS });
}
