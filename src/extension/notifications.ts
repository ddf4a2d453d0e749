import * as vscode from 'vscode';
import { visibleInNotification } from '../words/visible.js';

/** The editor's notifications, for text that may hold what files say. Each answers the action that was chosen. */

export function showInformation(text: string, ...actions: string[]): Thenable<string | undefined> {
  return vscode.window.showInformationMessage(visibleInNotification(text), ...actions);
}

export function showWarning(text: string, ...actions: string[]): Thenable<string | undefined> {
  return vscode.window.showWarningMessage(visibleInNotification(text), ...actions);
}

export function showError(text: string, ...actions: string[]): Thenable<string | undefined> {
  return vscode.window.showErrorMessage(visibleInNotification(text), ...actions);
}

/** A question that waits for its answer. @param detail said below it */
export function askModal(text: string, detail: string, ...actions: string[]): Thenable<string | undefined> {
  return vscode.window.showWarningMessage(
    visibleInNotification(text),
    { modal: true, detail: visibleInNotification(detail) },
    ...actions,
  );
}

/**
 * Does some work under a notification that shows how far it is.
 *
 * @param title of the notification
 * @param work is handed how to report, and what tells that the user stops it
 */
export function withProgressNotification<T>(
  title: string,
  work: (
    report: (step: { message?: string; increment?: number }) => void,
    token: vscode.CancellationToken,
  ) => Thenable<T>,
): Thenable<T> {
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: visibleInNotification(title), cancellable: true },
    (progress, token) =>
      work(({ message, ...step }) => {
        progress.report({ ...step, ...(message === undefined ? {} : { message: visibleInNotification(message) }) });
      }, token),
  );
}

/** After which somebody who waits wants to know for what. */
const SLOW_MS = 1000;

/**
 * Does some work, under a notification that stops it once it takes long: one for each short work would keep the editor from
 * showing what is said after it.
 *
 * @param title of the notification
 * @param work is handed what tells that the user stops it
 */
export async function withLateNotification<T>(
  title: string,
  work: (token: vscode.CancellationToken) => Promise<T>,
): Promise<T> {
  const source = new vscode.CancellationTokenSource();
  const working = work(source.token);
  const timer = setTimeout(() => {
    void withProgressNotification(title, async (_report, token) => {
      token.onCancellationRequested(() => {
        source.cancel();
      });
      // What goes wrong is told by whoever asked for the work.
      await working.catch(() => undefined);
    });
  }, SLOW_MS);
  try {
    return await working;
  } finally {
    clearTimeout(timer);
    source.dispose();
  }
}
