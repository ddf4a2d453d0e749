import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as vscode from 'vscode';
import { isCapture, pathsInFolder } from '../facts/inputs.js';
import { readCapture } from '../facts/capture.js';

/** Captures in the workspace, by the script that made them. */

export interface CaptureOfScript {
  readonly checkpoint: string;
  readonly gradients: string;
  /** Line of the call, from 1. */
  readonly line: number;
  /** Milliseconds since 1970. */
  readonly made: number;
}

const MOST_CAPTURES = 2000;
/** Until a capture is written whole, its network included. */
const SETTLE_MS = 1500;

export class Captures implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  /** Captures have come or gone. */
  readonly onDidChange = this.changed.event;
  private readonly watcher = vscode.workspace.createFileSystemWatcher('**/capture.json');
  /** What is written into a folder right after it was made goes unreported; the folder itself does not. */
  private readonly folders = vscode.workspace.createFileSystemWatcher('**/captures{,/*}', false, true, true);
  private settle: NodeJS.Timeout | undefined;
  private readonly subscriptions: readonly { dispose(): unknown }[];
  private known: Promise<Map<string, CaptureOfScript[]>> | undefined;

  constructor() {
    const forget = (): void => {
      this.known = undefined;
      this.changed.fire();
    };
    const forgetSoon = (): void => {
      clearTimeout(this.settle);
      this.settle = setTimeout(forget, SETTLE_MS);
    };
    this.subscriptions = [
      this.watcher,
      this.folders,
      this.changed,
      this.folders.onDidCreate(forgetSoon),
      vscode.window.onDidEndTerminalShellExecution(forgetSoon),
      vscode.tasks.onDidEndTask(forgetSoon),
      vscode.window.onDidChangeWindowState(({ focused }) => {
        if (focused) {
          forgetSoon();
        }
      }),
      this.watcher.onDidCreate(forget),
      this.watcher.onDidChange(forget),
      this.watcher.onDidDelete(forget),
    ];
  }

  /** The newest capture that a script made; undefined without any. */
  async lastOf(script: string): Promise<CaptureOfScript | undefined> {
    this.known ??= readAll();
    return (await this.known).get(script)?.reduce((last, own) => (own.made > last.made ? own : last));
  }

  dispose(): void {
    clearTimeout(this.settle);
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}

async function readAll(): Promise<Map<string, CaptureOfScript[]>> {
  const found = new Map<string, CaptureOfScript[]>();
  const notes = await vscode.workspace.findFiles('**/capture.json', '**/{node_modules,.git,.venv}/**', MOST_CAPTURES);
  for (const { fsPath } of notes) {
    try {
      const folder = dirname(fsPath);
      const script = readCapture(join(folder, 'gradient.pt'))?.script;
      if (script && isCapture(folder)) {
        const own = { ...pathsInFolder(folder), line: script.line, made: statSync(fsPath).mtimeMs };
        found.set(script.file, [...(found.get(script.file) ?? []), own]);
      }
    } catch {
      // Half written, or another program's file of that name.
    }
  }
  return found;
}
