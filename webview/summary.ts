import { html, render } from 'lit';
import type { ProjectProgress, ProjectReport } from '../src/protocol/project-report.js';
import type { FromSummary, ToSummary } from '../src/protocol/summary-messages.js';
import { connectHost } from './host.js';
import { type EntryColumn, type SummaryState, summaryView } from './views/summary-view.js';

/** Entry of the summary of a project, in VS Code and on a saved page. */

interface Kept {
  filter: string;
}

const root = document.getElementById('root');
const host = connectHost<FromSummary, ToSummary, Kept>(['show', 'progress', 'problem']);
let state: SummaryState | undefined;
let progress: ProjectProgress | null = null;
let filter = host?.recall()?.filter ?? '';

function show(report: ProjectReport, closedScripts: readonly { file: string; why: string }[]): void {
  state = {
    report,
    progress,
    filter,
    sort: state?.sort ?? { by: 'severity', descending: true },
    isLive: host !== undefined,
    closedScripts: new Map(closedScripts.map(({ file, why }) => [file, why])),
  };
  draw();
}

function draw(): void {
  if (!root) {
    return;
  }
  root.querySelector(':scope > [role="status"]')?.remove();
  if (!state) {
    render(
      html`<h1>Audit of the workspace</h1>
        <p role="status">${progress ? `${progress.done} of ${progress.of}: ${progress.message}` : 'No audit yet.'}</p>`,
      root,
    );
    return;
  }
  render(
    summaryView(
      { ...state, progress, filter },
      {
        post: (message) => {
          host?.post(message);
        },
        setFilter: (own) => {
          filter = own;
          host?.remember({ filter });
          draw();
        },
        sortBy: (by: EntryColumn) => {
          if (state) {
            const isSame = state.sort.by === by;
            state = { ...state, sort: { by, descending: isSame ? !state.sort.descending : by !== 'gradients' } };
            draw();
          }
        },
      },
    ),
    root,
  );
}

const embedded = document.getElementById('gradleak-report')?.textContent;
if (embedded) {
  show(JSON.parse(embedded) as ProjectReport, []);
} else if (host) {
  host.onMessage((message) => {
    switch (message.t) {
      case 'show':
        show(message.report, message.closedScripts);
        break;
      case 'progress':
        progress = message.progress;
        draw();
        break;
      case 'problem':
        if (root) {
          root.querySelector(':scope > [role="status"]')?.remove();
          render(html`<p class="problem" role="alert">${message.sentence}</p>`, root);
        }
        break;
    }
  });
  host.post({ t: 'ready' });
}
