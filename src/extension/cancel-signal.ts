import type * as vscode from 'vscode';
import type { CancelSignal } from '../runner/client.js';

/** VS Code's token as the runner's signal. */
export function cancelSignal(token: vscode.CancellationToken): CancelSignal {
  return {
    get cancelled() {
      return token.isCancellationRequested;
    },
    onCancel: (listener) => {
      token.onCancellationRequested(listener);
    },
  };
}
