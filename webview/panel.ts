import { html, render } from 'lit';
import type { Report } from '../src/protocol/report.js';
import { connectHost } from './host.js';
import { type PanelActions, type ReportState, reportView } from './views/report-view.js';
import { chartAsPng } from './views/landscape-chart.js';
import { summaryOf } from './words.js';

/** Entry of the results panel, in VS Code and on a saved page. */

const root = document.getElementById('root');
const host = connectHost();
let state: ReportState | undefined;

function actionsFor(report: Report): PanelActions {
  return {
    saveJson: () => {
      if (host) {
        host.post({ t: 'save', what: 'json' });
      } else {
        download('report.json', `data:application/json,${encodeURIComponent(JSON.stringify(report, undefined, 1))}`);
      }
    },
    saveFeatures:
      host &&
      (() => {
        host.post({ t: 'save', what: 'npy' });
      }),
    savePng: () => void savePng(),
    copySummary: () => {
      if (host) {
        host.post({ t: 'copy', text: summaryOf(report) });
      } else {
        void navigator.clipboard.writeText(summaryOf(report));
      }
    },
    showLog:
      host &&
      (() => {
        host.post({ t: 'log' });
      }),
    setChart: (chart) => {
      state = { report, chart };
      draw();
    },
  };
}

async function savePng(): Promise<void> {
  const chart = document.querySelector<SVGElement>('svg.chart');
  if (!chart) {
    return;
  }
  const png = await chartAsPng(chart);
  if (host) {
    host.post({ t: 'save', what: 'png', png });
  } else {
    download('landscape.png', `data:image/png;base64,${png}`);
  }
}

function download(name: string, href: string): void {
  const link = document.createElement('a');
  link.download = name;
  link.href = href;
  link.click();
}

/** lit renders beside what it did not put there itself. */
function clearPlaceholder(element: HTMLElement): void {
  element.querySelector('[role="status"]')?.remove();
}

function draw(): void {
  if (root && state) {
    clearPlaceholder(root);
    render(reportView(state, actionsFor(state.report)), root);
  }
}

function show(report: Report): void {
  state = { report, chart: { curve: 'residual', range: undefined } };
  draw();
}

const embedded = document.getElementById('gradleak-report')?.textContent;
if (embedded) {
  show(JSON.parse(embedded) as Report);
} else if (host) {
  host.onMessage((message) => {
    switch (message.t) {
      case 'show':
        host.remember({ auditId: message.auditId });
        show(message.report);
        break;
      case 'problem':
        if (root) {
          clearPlaceholder(root);
          render(html`<p class="problem" role="alert">${message.sentence}</p>`, root);
        }
        break;
    }
  });
  host.post({ t: 'ready' });
}
