import { type TemplateResult, html } from 'lit';
import type { NextStep } from '../../src/protocol/next-steps.js';
import type { CheckStatus, ConsistencyCheck, Report } from '../../src/protocol/report.js';
import { STANDING_WORDS, isOpen, standingOfReport } from '../../src/words/outcome-words.js';
import {
  METHODS_TITLE,
  durationInWords,
  headInWords,
  methodsInWords,
  updateInWords,
} from '../../src/words/report-words.js';
import { button } from '../ui/toolkit.js';
import { countsSection } from './counts-view.js';
import { type DefenceActions, type DefenceState, defenceSection } from './defence-view.js';
import { type Ways, filesLine } from './files-line.js';
import { findingsSection } from './findings-view.js';
import { galleryView } from './gallery-view.js';
import type { ChartView } from './landscape-chart.js';
import { leakSections } from './leak-view.js';
import { headOfPage, recordSection } from './record-view.js';
import type { PanelPicture, PictureChoice, ReconstructionActions } from './reconstruction-view.js';
import { stepsView } from './steps-view.js';
import { sampleEvidence, sampleSection } from './sample-view.js';
import type { TextActions } from './texts-view.js';

/** The whole results panel as a function of its state. */

export interface PanelActions extends Omit<ReconstructionActions, 'saveInput'>, TextActions, DefenceActions {
  /** Undefined where there is no file to save. */
  saveInput: (() => void) | undefined;
  saveJson: () => void;
  /** Undefined on a saved page. */
  savePage: (() => void) | undefined;
  /** Undefined in the editor, which prints nothing. */
  print: (() => void) | undefined;
  /** Undefined where no file can be chosen. */
  chooseTruth: (() => void) | undefined;
  /** Undefined where there is no file to save, as on a saved page. */
  saveFeatures: (() => void) | undefined;
  savePng: () => void;
  copySummary: () => void;
  showLog: (() => void) | undefined;
  /** Undefined on a saved page. */
  takeStep: ((step: NextStep) => void) | undefined;
  /** To what the audit is of; undefined on a saved page. */
  ways: Ways | undefined;
  setChart: (view: ChartView) => void;
  select: (sample: number) => void;
}

export interface ReportState {
  report: Report;
  chart: ChartView;
  pictures: readonly PanelPicture[];
  picture: PictureChoice;
  /** The sample of a batch that is shown in full. */
  selected: number;
  defence: DefenceState;
}

export function reportView(state: ReportState, actions: PanelActions): TemplateResult {
  const { report } = state;
  const shown = report.samples.flatMap((sample, index) =>
    !isGallery(report) || index === state.selected ? [{ sample, index }] : [],
  );
  return html`
    ${verdict(report, actions)}
    <div class="first-screen">
      <div class="found">
        ${isGallery(report) ? galleryView(state, actions.select) : ''}
        ${shown.map(({ sample, index }) => sampleSection(state, sample, index, actions))}
        ${leakSections(state, actions)} ${report.labelCounts ? countsSection(report, report.labelCounts) : ''}
      </div>
      ${findingsSection(report)}
    </div>
    ${defenceSection(state.defence, report.verdict.outcome === 'leaks', actions)} ${methodsSection(report)}
    <details class="evidence">
      <summary>Evidence: what this rests on, and what was checked</summary>
      ${shown.map(({ sample, index }) => sampleEvidence(state, sample, index, actions))} ${kindSection(report)}
      ${consistencySection(report.consistency)} ${recordSection(report)}
    </details>
  `;
}

function kindSection({ update, verdict: own }: Report): TemplateResult | string {
  return update
    ? html`<section aria-labelledby="kind">
        <h2 id="kind">What the file is</h2>
        <p>The file is ${updateInWords(update, own)}. ${update.reasons.join(' ')}</p>
      </section>`
    : '';
}

/** One sample needs no choosing. */
function isGallery({ samples }: Report): boolean {
  return samples.length > 1;
}

function verdict(report: Report, actions: PanelActions): TemplateResult {
  const { verdict: own } = report;
  const standing = standingOfReport(report);
  return html`
    <header class="verdict verdict-${standing}">
      <p class="verdict-tag">
        ${isOpen(standing) ? html`<span role="img" aria-label="Warning">⚠</span> ` : ''}${STANDING_WORDS[standing]}
      </p>
      <h1>${own.sentence}</h1>
      <p class="muted">
        ${filesLine(report, actions.ways)} · head: ${headInWords(report)} · ${durationInWords(report.timings.totalMs)}
      </p>
      ${headOfPage(report)}
      <div class="actions" role="toolbar" aria-label="Report">
        ${button({ label: 'Save report', title: 'Save report (JSON)', primary: true, onClick: actions.saveJson })}
        ${
          actions.savePage
            ? button({
                label: 'Save page',
                title: 'Save page (HTML in one file, to read, print or send)',
                onClick: actions.savePage,
              })
            : ''
        }
        ${
          actions.print
            ? button({
                label: 'Print',
                title: 'Print, or save as PDF: all that is folded is opened',
                onClick: actions.print,
              })
            : ''
        }
        ${
          actions.chooseTruth && (report.samples.length > 0 || report.labelCounts)
            ? button({
                label: 'Choose truth...',
                title: 'Choose truth... to compare with (JSON); nothing that was recovered changes',
                onClick: actions.chooseTruth,
              })
            : ''
        }
        ${
          report.samples.length > 0 && actions.saveFeatures
            ? button({ label: 'Save features', title: 'Save features (.npy)', onClick: actions.saveFeatures })
            : ''
        }
        ${button({ label: 'Copy summary', onClick: actions.copySummary })}
        ${actions.showLog ? button({ label: 'Show log', onClick: actions.showLog }) : ''}
      </div>
      ${stepsView(report.next ?? [], actions.takeStep)}
    </header>
  `;
}

/** Without it, "nothing found" would not say what was looked for. */
function methodsSection(report: Report): TemplateResult | string {
  const methods = methodsInWords(report);
  return methods.length === 0
    ? ''
    : html`
        <section aria-labelledby="methods">
          <h2 id="methods">${METHODS_TITLE}</h2>
          <table>
            <thead>
              <tr>
                <th scope="col">Method</th>
                <th scope="col">Outcome</th>
                <th scope="col">Detail</th>
              </tr>
            </thead>
            <tbody>
              ${methods.map(
                ({ title, outcome, detail, assumption }) =>
                  html`<tr>
                    <th scope="row">${title}</th>
                    <td class="outcome">${outcome}</td>
                    <td>
                      ${detail}${assumption === undefined ? '' : html` <span class="assumption muted">${assumption}</span>`}
                    </td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </section>
      `;
}

const MARKS: Record<CheckStatus, string> = { pass: '✓', warn: '!', fail: '✗' };
const MARK_WORDS: Record<CheckStatus, string> = { pass: 'passed', warn: 'warning', fail: 'failed' };

function consistencySection(checks: readonly ConsistencyCheck[]): TemplateResult {
  return html`
    <section aria-labelledby="consistency">
      <h2 id="consistency">Do the files belong together?</h2>
      <ul class="checks">
        ${checks.map(
          ({ status, detail }) =>
            html`<li class="check check-${status}">
              <span class="mark" role="img" aria-label=${MARK_WORDS[status]}>${MARKS[status]}</span
              ><span>${detail}</span>
            </li>`,
        )}
      </ul>
    </section>
  `;
}
