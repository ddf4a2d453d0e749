import type { FromPanel, PanelState, ToPanel } from '../src/protocol/panel-messages.js';

/** The door to the extension host; on a saved page there is none, and then saving is the browser's. */
export interface Host {
  post(message: FromPanel): void;
  remember(state: PanelState): void;
  onMessage(listener: (message: ToPanel) => void): void;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromPanel): void;
  setState(state: PanelState): void;
};

/** Undefined outside VS Code. */
export function connectHost(): Host | undefined {
  if (typeof acquireVsCodeApi !== 'function') {
    return undefined;
  }
  const api = acquireVsCodeApi();
  return {
    post: (message) => {
      api.postMessage(message);
    },
    remember: (state) => {
      api.setState(state);
    },
    onMessage: (listener) => {
      window.addEventListener('message', (event: MessageEvent<unknown>) => {
        // VS Code's own frame posts to this one; other origins have no business here.
        if (
          event.origin === window.origin ||
          event.origin.startsWith('vscode-webview://') ||
          event.source === window.parent
        ) {
          if (isToPanel(event.data)) {
            listener(event.data);
          }
        }
      });
    },
  };
}

function isToPanel(data: unknown): data is ToPanel {
  return (
    typeof data === 'object' &&
    data !== null &&
    't' in data &&
    (data.t === 'show' || data.t === 'problem' || data.t === 'run')
  );
}
