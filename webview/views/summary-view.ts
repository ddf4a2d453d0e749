import { type TemplateResult, html, nothing } from 'lit';
import { guard } from 'lit/directives/guard.js';
import type { ProjectProgress, ProjectReport, ProjectSummary, SkippedFile } from '../../src/protocol/project-report.js';
import type { LabelKindName } from '../../src/protocol/report.js';
import { counted } from '../../src/words/count-words.js';
import { openOf, projectInWords, samplesInWords } from '../../src/words/outcome-words.js';
import { CARE, whenInWords } from '../../src/words/record-words.js';
import { baseName } from '../../src/words/report-words.js';
import { decibels } from '../../src/words/truth-words.js';
import type { RowWindow } from '../ui/row-window.js';
import { button } from '../ui/toolkit.js';
import { type EntriesActions, type EntriesState, entriesTable } from './entries-table.js';
import { type RecoveredGallery, recoveredGallery } from './recovered-gallery.js';
import { roundsChart } from './rounds-chart.js';

/** A whole project on one page: totals, what was recovered, what leaks where, over rounds, and a row per dump. */

export interface SummaryState extends EntriesState {
  readonly report: ProjectReport;
  readonly progress: ProjectProgress | null;
  readonly gallery: RecoveredGallery;
}

/** Which rows are on screen: of the table, and of the gallery's tiles. */
export interface SummaryWindows {
  readonly entries: RowWindow;
  readonly gallery: RowWindow;
}

const MOST_LAYERS = 10;
const MOST_SKIPPED = 200;

export interface SummaryActions extends EntriesActions {
  /** The audit of a tile in the editor, its row on a saved page. */
  readonly openTile: (id: string) => void;
  /** On a saved page. */
  readonly print: () => void;
}

export function summaryView(state: SummaryState, windows: SummaryWindows, actions: SummaryActions): TemplateResult {
  const { report, gallery } = state;
  const { summary } = report;
  return html`
    <header class="verdict ${verdictClass(summary)}">
      <p class="verdict-tag">${baseName(report.root)}</p>
      <h1>${projectInWords(summary)}</h1>
      ${summary.done > 0 ? html`<p>${samplesInWords(summary)}.</p>` : nothing}
      <p class="muted">
        ${whenInWords(report)} · gradleak
        ${report.tool.version}${report.status === 'cancelled' ? ' · stopped before its end' : ''}
      </p>
      ${summary.leaking + summary.estimated > 0 ? html`<p class="page-only">${CARE}</p>` : nothing}
      ${state.isLive ? toolbar(state, actions) : printing(actions)}
    </header>
    ${tiles(summary)}
    ${gallery.entries.length > 0 ? recoveredGallery(gallery, windows.gallery, actions.openTile) : nothing}
    ${guard([summary], () => charts(summary))} ${entriesTable(state, windows.entries, actions)}
    ${guard([report.skipped], () => (report.skipped.length > 0 ? skippedFiles(report.skipped) : nothing))}
  `;
}

function charts(summary: ProjectSummary): TemplateResult {
  return html`<div class="columns">
      ${bars(
        'Recovered labels by kind',
        summary.byKind.map(({ kind, samples }) => ({ name: KINDS[kind], value: samples, of: summary.labels })),
        'samples',
      )}
      ${bars(
        'Leaking parts of the network',
        summary.byLayer
          .slice(0, MOST_LAYERS)
          .map(({ layer, dumps }) => ({ name: layer, value: dumps, of: summary.done })),
        'dumps',
      )}
    </div>
    ${summary.overRounds.some(({ rounds }) => rounds.length > 1) ? roundsChart(summary.overRounds) : nothing}`;
}

function skippedFiles(skipped: readonly SkippedFile[]): TemplateResult {
  const more = skipped.length - MOST_SKIPPED;
  return html`<details class="skipped">
    <summary>${counted(skipped.length, 'file that was', 'files that were')} not audited</summary>
    <ul>
      ${skipped.slice(0, MOST_SKIPPED).map(({ path, reason }) => html`<li><code>${path}</code>: ${reason}</li>`)}
      ${more > 0 ? html`<li class="muted">and ${more} more, which the saved report (JSON) lists</li>` : nothing}
    </ul>
  </details>`;
}

const KINDS: Record<LabelKindName, string> = {
  hard: 'hard',
  smoothed: 'smoothed',
  mixup: 'mixed',
  'mixup-smoothed': 'mixed and smoothed',
  other: 'other',
  undetermined: 'undetermined',
};

function verdictClass(summary: ProjectSummary): string {
  if (summary.leaking > 0) {
    return 'verdict-leaks';
  }
  return openOf(summary) + summary.estimated > 0 ? 'verdict-open' : 'verdict-none';
}

function toolbar({ progress, report }: SummaryState, { post }: EntriesActions): TemplateResult {
  const save = (what: 'json' | 'html' | 'sarif') => () => {
    post({ t: 'save', what });
  };
  return html`<div class="actions" role="toolbar" aria-label="Project">
      ${
        progress
          ? button({
              label: 'Stop',
              title: 'Stop and keep what is done',
              primary: true,
              onClick: () => {
                post({ t: 'stop' });
              },
            })
          : button({
              label: report.status === 'cancelled' ? 'Resume' : 'Audit again',
              primary: true,
              onClick: () => {
                post({ t: 'run' });
              },
            })
      }
      ${button({ label: 'Save SARIF', onClick: save('sarif') })}
      ${button({ label: 'Save page', title: 'Save page (HTML)', onClick: save('html') })}
      ${button({ label: 'Save report', title: 'Save report (JSON)', onClick: save('json') })}
    </div>
    ${progress ? html`<p role="status">${progress.done} of ${progress.of}: ${progress.message}</p>` : nothing}`;
}

function printing({ print }: SummaryActions): TemplateResult {
  return html`<div class="actions" role="toolbar" aria-label="Project">
    ${button({ label: 'Print', title: 'Print, or save as PDF: rows are opened', onClick: print })}
  </div>`;
}

function tiles({ truth, ...summary }: ProjectSummary): TemplateResult {
  const tile = (value: string, label: string, look = ''): TemplateResult =>
    html`<div class="tile ${look}">
      <dt>${label}</dt>
      <dd>${value}</dd>
    </div>`;
  const some = (value: number, label: string, look = ''): TemplateResult | typeof nothing =>
    value > 0 ? tile(String(value), label, look) : nothing;
  return html`<dl class="tiles">
    ${tile(`${summary.leaking} of ${summary.dumps}`, 'gradients leak')}
    ${some(summary.estimated, 'with label counts estimated')} ${some(summary.nothing, 'with nothing found')}
    ${some(summary.notAssessed, 'not assessed', 'tile-open')}
    ${some(summary.mismatched, 'of another checkpoint', 'tile-open')}
    ${some(summary.failed, 'could not be audited', 'tile-open')}
    ${tile(`${summary.labels} of ${summary.samples}`, 'samples with known labels')}
    ${tile(String(summary.exactInputs), 'inputs recovered exactly')}
    ${some(summary.closeInputs, 'inputs recovered closely')}
    ${truth ? tile(`${truth.labelsRight} of ${truth.of}`, 'labels right, against the truth') : nothing}
    ${truth && truth.medianPsnr !== null ? tile(decibels(truth.medianPsnr), 'median PSNR, against the truth') : nothing}
  </dl>`;
}

function bars(
  title: string,
  rows: readonly { name: string; value: number; of: number }[],
  unit: string,
): TemplateResult {
  return html`<section aria-label=${title}>
    <h2>${title}</h2>
    ${rows.length === 0 ? html`<p class="muted">None.</p>` : nothing}
    <ul class="shares">
      ${rows.map(
        ({ name, value, of }) =>
          html`<li>
            <span class="share-name">${name}</span>
            <svg class="share-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
              <rect class="share-all" width="100" height="10"></rect>
              <rect class="share-own" width=${of > 0 ? Math.min((100 * value) / of, 100) : 0} height="10"></rect>
            </svg>
            <span class="number">${value} of ${of} ${unit}</span>
          </li>`,
      )}
    </ul>
  </section>`;
}
