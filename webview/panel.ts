import { html, render } from 'lit';
import type {
  CapturingLine,
  FromPanel,
  PanelImage,
  PanelPage,
  PanelState,
  ToPanel,
} from '../src/protocol/panel-messages.js';
import type { NextStep } from '../src/protocol/next-steps.js';
import type { Report } from '../src/protocol/report.js';
import { connectHost } from './host.js';
import { type PanelActions, type ReportState, reportView } from './views/report-view.js';
import { chartAsPng } from './views/chart-png.js';
import { type DefenceActions, type DefenceState, NO_DEFENCES } from './views/defence-view.js';
import { decodeFloats } from './views/decode.js';
import { AMPLIFICATIONS, type PanelPicture, TO_SIZE } from './views/reconstruction-view.js';
import { stepsView } from './views/steps-view.js';
import { type RunState, advance, runView } from './views/run-view.js';
import { defenceAsCsv } from '../src/words/defence-words.js';
import { allTextsOf } from '../src/words/recovered-texts.js';
import { summaryOf } from '../src/words/report-words.js';

/** Entry of the results panel, in VS Code and on a saved page. */

const root = document.getElementById('root');
const host = connectHost<FromPanel, ToPanel, PanelState>(['show', 'run', 'problem', 'defence']);
let state: ReportState | undefined;
let run: RunState | undefined;
/** Of the audit that is shown, which may come in before it. */
let defence: DefenceState = NO_DEFENCES;
let script: CapturingLine | undefined;

function actionsFor(report: Report): PanelActions {
  return {
    saveJson: () => {
      if (host) {
        host.post({ t: 'save', what: 'json' });
      } else {
        download('report.json', `data:application/json,${encodeURIComponent(JSON.stringify(report, undefined, 1))}`);
      }
    },
    savePage:
      host &&
      (() => {
        host.post({ t: 'save', what: 'html' });
      }),
    print: host
      ? undefined
      : () => {
          print();
        },
    chooseTruth:
      host &&
      (() => {
        host.post({ t: 'truth' });
      }),
    saveFeatures:
      host &&
      (() => {
        host.post({ t: 'save', what: 'npy' });
      }),
    savePng: () => void savePng('svg.landscape', undefined),
    ...defenceActions,
    copySummary: () => {
      copy(summaryOf(report));
    },
    copyTexts: () => {
      copy(allTextsOf(report));
    },
    saveTexts: () => {
      if (host) {
        host.post({ t: 'save', what: 'txt' });
      } else {
        download('texts.txt', URL.createObjectURL(new Blob([allTextsOf(report)], { type: 'text/plain' })));
      }
    },
    showLog:
      host &&
      (() => {
        host.post({ t: 'log' });
      }),
    ways: host && {
      inspectGradient: () => {
        host.post({ t: 'inspect', file: 'gradient' });
      },
      inspectCheckpoint: () => {
        host.post({ t: 'inspect', file: 'checkpoint' });
      },
      changeCheckpoint: () => {
        host.post({ t: 'change-checkpoint' });
      },
      script,
      openScript: () => {
        host.post({ t: 'script' });
      },
    },
    saveInput:
      host &&
      (() => {
        host.post({ t: 'save', what: 'input-npy', sample: state?.selected ?? 0 });
      }),
    takeStep,
    savePicture,
    setPicture: (picture) => {
      if (state) {
        state = { ...state, picture };
        draw();
      }
    },
    select: (selected) => {
      if (state) {
        state = { ...state, selected };
        draw();
      }
    },
    setChart: (chart) => {
      if (state) {
        state = { ...state, chart };
        draw();
      }
    },
  };
}

const defenceActions: DefenceActions = {
  tryDefences:
    host &&
    ((effort) => {
      host.post({ t: 'defend', effort });
    }),
  stopDefences: () => {
    host?.post({ t: 'stop' });
  },
  saveDefenceTable: () => {
    if (host) {
      host.post({ t: 'save', what: 'csv' });
    } else if (defence.stored) {
      const table = new Blob([defenceAsCsv(defence.stored.report)], { type: 'text/csv' });
      download('defences.csv', URL.createObjectURL(table));
    }
  },
  saveDefenceChart: () => void savePng('svg.defence-chart', 'defences.png'),
  copyText: copy,
  look: (choice) => {
    setDefence({ ...defence, ...choice });
  },
};

function setDefence(own: DefenceState): void {
  defence = own;
  if (state) {
    state = { ...state, defence };
    draw();
  }
}

const takeStep =
  host &&
  ((step: NextStep): void => {
    host.post({ t: 'step', step });
  });

function copy(text: string): void {
  if (host) {
    host.post({ t: 'copy', text });
  } else {
    void navigator.clipboard.writeText(text);
  }
}

async function savePng(selector: string, name: 'defences.png' | undefined): Promise<void> {
  const chart = document.querySelector<SVGSVGElement>(selector);
  if (!chart) {
    return;
  }
  const png = await chartAsPng(chart);
  if (host) {
    host.post({ t: 'save', what: 'png', png, ...(name ? { name } : {}) });
  } else {
    download(name ?? 'landscape.png', `data:image/png;base64,${png}`);
  }
}

/** As it is drawn: one pixel per entry. */
function savePicture(id: string): void {
  const canvas = document.getElementById(id);
  if (!(canvas instanceof HTMLCanvasElement)) {
    return;
  }
  const url = canvas.toDataURL('image/png');
  if (host) {
    host.post({ t: 'save', what: 'png', png: url.slice(url.indexOf(',') + 1), name: 'reconstruction.png' });
  } else {
    download('reconstruction.png', url);
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
  element.querySelector(':scope > [role="status"]')?.remove();
}

function draw(): void {
  if (root && state) {
    clearPlaceholder(root);
    render(reportView(state, actionsFor(state.report)), root);
  } else if (root && run) {
    clearPlaceholder(root);
    render(
      runView(run, () => {
        host?.post({ t: 'stop' });
      }),
      root,
    );
  }
}

/** The largest factor that keeps a difference to the truth within the picture's contrast. */
function visibleAmplification({ values, truth }: PanelPicture): number {
  if (!truth) {
    return 1;
  }
  const squares = values.reduce((sum, value, at) => sum + (value - (truth[at] ?? NaN)) ** 2, 0);
  const deviation = Math.sqrt(squares / values.length);
  return AMPLIFICATIONS.findLast((factor) => factor * deviation < 0.3) ?? 1;
}

function show(report: Report, images: readonly PanelImage[]): void {
  const pictures = images.map((image) => ({
    sample: image.sample,
    file: image.file,
    shape: image.shape,
    values: decodeFloats(image.values),
    truth: image.truth === null ? undefined : decodeFloats(image.truth),
    normalisation: image.normalisation ?? undefined,
  }));
  const first = pictures.find(({ sample }) => sample !== null);
  run = undefined;
  state = {
    report,
    pictures,
    chart: { curve: 'residual', range: undefined },
    selected: 0,
    defence,
    picture: {
      normalisation: first?.normalisation ? 'capture' : 'auto',
      channel: -1,
      zoom: TO_SIZE,
      amplify: first ? visibleAmplification(first) : 1,
    },
  };
  draw();
}

// What is closed on screen belongs on paper.
addEventListener('beforeprint', () => {
  document.querySelectorAll('details').forEach((own) => {
    own.open = true;
  });
});

const embedded = document.getElementById('gradleak-report')?.textContent;
if (embedded) {
  const { report, images, defence: stored } = JSON.parse(embedded) as PanelPage;
  defence = { ...NO_DEFENCES, stored };
  show(report, images);
} else if (host) {
  host.onMessage((message) => {
    switch (message.t) {
      case 'show':
        host.remember({ auditId: message.auditId });
        script = message.script;
        show(message.report, message.images);
        break;
      case 'run':
        host.remember({ auditId: message.auditId });
        state = undefined;
        run = advance(run, message.progress);
        draw();
        break;
      case 'defence': {
        const { progress, stored = defence.stored, problem } = message;
        setDefence({ ...defence, progress, stored, problem });
        break;
      }
      case 'problem':
        if (root) {
          clearPlaceholder(root);
          const { sentence, next } = message;
          state = undefined;
          run = undefined;
          render(
            html`<p class="problem" role="alert">${sentence}</p>
              ${stepsView(next, takeStep)}`,
            root,
          );
        }
        break;
    }
  });
  host.post({ t: 'ready' });
}
