/** The door to the extension host; on a saved page there is none, and then saving is the browser's. */
export interface Host<From, To, State> {
  post(message: From): void;
  /** Kept across a window reload. */
  remember(state: State): void;
  recall(): State | undefined;
  onMessage(listener: (message: To) => void): void;
}

declare function acquireVsCodeApi(): {
  postMessage(message: unknown): void;
  setState(state: unknown): void;
  getState(): unknown;
};

/**
 * @param kinds the messages of the host that this view understands, by their `t`
 * @returns undefined outside VS Code
 */
export function connectHost<From, To extends { t: string }, State>(
  kinds: readonly To['t'][],
): Host<From, To, State> | undefined {
  if (typeof acquireVsCodeApi !== 'function') {
    return undefined;
  }
  const api = acquireVsCodeApi();
  const isOurs = (data: unknown): data is To =>
    typeof data === 'object' && data !== null && 't' in data && kinds.some((kind) => kind === data.t);
  return {
    post: (message) => {
      api.postMessage(message);
    },
    remember: (state) => {
      api.setState(state);
    },
    // Written by remember() above and by nothing else.
    recall: () => api.getState() as State | undefined,
    onMessage: (listener) => {
      window.addEventListener('message', (event: MessageEvent<unknown>) => {
        // VS Code's own frame posts to this one; other origins have no business here.
        const isHost =
          event.origin === window.origin ||
          event.origin.startsWith('vscode-webview://') ||
          event.source === window.parent;
        if (isHost && isOurs(event.data)) {
          listener(event.data);
        }
      });
    },
  };
}
