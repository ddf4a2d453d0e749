import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import { type TemplateResult, html, nothing, svg } from 'lit';
import type {
  ProjectEntry,
  ProjectProgress,
  ProjectReport,
  ProjectSummary,
} from '../../src/protocol/project-report.js';
import { SEVERITIES, type LabelKindName } from '../../src/protocol/report.js';
import type { FromSummary } from '../../src/protocol/summary-messages.js';
import { button, tag } from '../ui/toolkit.js';
import { scriptLink } from './script-link.js';
import {
  STANDING_WORDS,
  isOpen,
  openOf,
  projectInWords,
  samplesInWords,
  standingOf,
  whyOpen,
} from '../../src/words/outcome-words.js';
import { baseName } from '../../src/words/report-words.js';

/** A whole project on one page: totals, what leaks where, over rounds, and a row per dump. */

export type EntryColumn = 'gradients' | 'severity' | 'labels' | 'inputs' | 'change';

export interface SummaryState {
  report: ProjectReport;
  progress: ProjectProgress | null;
  filter: string;
  sort: { by: EntryColumn; descending: boolean };
  /** False on a saved page, where nothing can be run or opened. */
  isLive: boolean;
  /** Why a script is not opened, by its path. */
  closedScripts: ReadonlyMap<string, string>;
}

export interface SummaryActions {
  post: (message: FromSummary) => void;
  setFilter: (filter: string) => void;
  sortBy: (by: EntryColumn) => void;
}

export function summaryView(state: SummaryState, actions: SummaryActions): TemplateResult {
  const { report } = state;
  const { summary } = report;
  return html`
    <header class="verdict ${verdictClass(summary)}">
      <p class="verdict-tag">${baseName(report.root)}</p>
      <h1>${projectInWords(summary)}</h1>
      ${summary.done > 0 ? html`<p>${samplesInWords(summary)}.</p>` : nothing}
      <p class="muted">
        ${report.finished.slice(0, 16).replace('T', ' ')} UTC · gradleak
        ${report.tool.version}${report.status === 'cancelled' ? ' · stopped before its end' : ''}
      </p>
      ${state.isLive ? toolbar(state, actions) : nothing}
    </header>
    ${tiles(summary)}
    <div class="columns">
      ${bars(
        'Recovered labels by kind',
        summary.byKind.map(({ kind, samples }) => ({ name: KINDS[kind], value: samples, of: summary.labels })),
        'samples',
      )}
      ${bars(
        'Leaking parts of the network',
        summary.byLayer.slice(0, 10).map(({ layer, dumps }) => ({ name: layer, value: dumps, of: summary.done })),
        'dumps',
      )}
    </div>
    ${summary.overRounds.some(({ rounds }) => rounds.length > 1) ? roundsChart(summary.overRounds) : nothing}
    ${entriesSection(state, actions)}
    ${
      report.skipped.length > 0
        ? html`<details class="skipped">
            <summary>${report.skipped.length} files that were not audited</summary>
            <ul>
              ${report.skipped.map(({ path, reason }) => html`<li><code>${path}</code>: ${reason}</li>`)}
            </ul>
          </details>`
        : nothing
    }
  `;
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

function toolbar({ progress, report }: SummaryState, { post }: SummaryActions): TemplateResult {
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
    ${tile(String(summary.exactInputs), 'inputs computed exactly')}
    ${truth ? tile(`${truth.labelsRight} of ${truth.of}`, 'labels right, against the truth') : nothing}
    ${truth && truth.medianPsnr !== null ? tile(`${truth.medianPsnr.toFixed(1)} dB`, 'median PSNR, against the truth') : nothing}
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

const WIDTH = 640;
const HEIGHT = 150;
const LEFT = 44;
const DASHES = ['', '6 3', '2 3', '8 3 2 3'];

/** Share of gradients that leak over rounds: one line per run, told apart by dashes and by its name. */
function roundsChart(runs: ProjectSummary['overRounds']): TemplateResult {
  const shown = runs.filter(({ rounds }) => rounds.length > 1).slice(0, 8);
  const numbers = shown.flatMap(({ rounds }) => rounds.map(({ round }) => round));
  const x = scaleLinear([Math.min(...numbers), Math.max(...numbers)], [LEFT, WIDTH - 110]);
  const y = scaleLinear([0, 1], [HEIGHT, 8]);
  const path = line<{ round: number; leakRate: number }>(
    ({ round }) => x(round),
    ({ leakRate }) => y(leakRate),
  );
  return html`<section aria-labelledby="rounds">
    <h2 id="rounds">Share of gradients that leak, over rounds</h2>
    <svg
      class="chart rounds"
      viewBox="0 0 ${WIDTH} ${HEIGHT + 28}"
      role="img"
      aria-label=${shown.map(({ run, rounds }) => `${run}: ${rounds.map(({ round, leaking, gradients }) => `round ${round} ${leaking} of ${gradients}`).join(', ')}`).join('; ')}
    >
      ${[0, 0.5, 1].map(
        (share) => svg`<g><line class="grid" x1=${LEFT} x2=${WIDTH - 110} y1=${y(share)} y2=${y(share)}></line>
          <text x=${LEFT - 6} y=${y(share) + 4} text-anchor="end">${100 * share} %</text></g>`,
      )}
      ${shown.map(({ run, rounds }, at) => {
        const last = rounds.at(-1);
        return svg`<g><path class="run" d=${path(rounds) ?? ''} stroke-dasharray=${DASHES[at % DASHES.length] ?? ''}></path>
          ${rounds.map((own) => svg`<circle class="run-dot" cx=${x(own.round)} cy=${y(own.leakRate)} r="2.5"><title>${run}, round ${own.round}: ${own.leaking} of ${own.gradients} gradients leak</title></circle>`)}
          ${last ? svg`<text x=${x(last.round) + 6} y=${y(last.leakRate) + 4 + 12 * at}>${run.split('/').at(-1) ?? run}</text>` : nothing}</g>`;
      })}
      <text x=${LEFT} y=${HEIGHT + 20}>round ${Math.min(...numbers)}</text>
      <text x=${WIDTH - 110} y=${HEIGHT + 20} text-anchor="end">round ${Math.max(...numbers)}</text>
    </svg>
  </section>`;
}

const COLUMNS: { by: EntryColumn; label: string }[] = [
  { by: 'gradients', label: 'Gradient' },
  { by: 'severity', label: 'Outcome' },
  { by: 'labels', label: 'Labels' },
  { by: 'inputs', label: 'Inputs' },
  { by: 'change', label: 'Change' },
];

function keyOf(entry: ProjectEntry, by: EntryColumn): number | string {
  const { result } = entry;
  switch (by) {
    case 'gradients':
      return entry.gradients;
    case 'severity':
      return urgency(entry);
    case 'labels':
      return result ? result.labels / Math.max(result.samples, 1) : -1;
    case 'inputs':
      return result ? result.exactInputs + result.closeInputs / 1000 : -1;
    case 'change':
      return ['same', 'new', 'better', 'worse'].indexOf(entry.change);
  }
}

/** Findings by severity, then what was not judged, then what was and is calm. */
function urgency(entry: ProjectEntry): number {
  const { result } = entry;
  if (result?.severity) {
    return SEVERITIES.length - SEVERITIES.indexOf(result.severity) + 1;
  }
  return isOpen(standingOf(entry)) ? 1 : result ? 0 : -1;
}

function entriesSection(state: SummaryState, actions: SummaryActions): TemplateResult {
  const { report, filter, sort } = state;
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const collator = new Intl.Collator('en', { numeric: true });
  const shown = report.entries
    .filter((entry) => {
      const text =
        `${entry.gradients} ${entry.result?.severity ?? ''} ${STANDING_WORDS[standingOf(entry)]} ${entry.change}`.toLowerCase();
      return words.every((word) => text.includes(word));
    })
    .sort((one, other) => {
      const [a, b] = [keyOf(one, sort.by), keyOf(other, sort.by)];
      const order = typeof a === 'number' && typeof b === 'number' ? a - b : collator.compare(String(a), String(b));
      return (sort.descending ? -order : order) || collator.compare(one.gradients, other.gradients);
    });
  return html`<section aria-labelledby="entries">
    <h2 id="entries">Gradients ${tag(String(shown.length))}</h2>
    <label class="filter"
      >Filter
      <input
        type="search"
        placeholder="path, outcome or change"
        .value=${filter}
        @input=${(event: Event) => {
          actions.setFilter((event.target as HTMLInputElement).value);
        }}
    /></label>
    <div class="scroll" tabindex="0" role="region" aria-label="Gradients">
      <table class="entries">
        <thead>
          <tr>
            ${COLUMNS.map(
              ({ by, label }) =>
                html`<th
                  scope="col"
                  aria-sort=${sort.by === by ? (sort.descending ? 'descending' : 'ascending') : 'none'}
                >
                  <button
                    class="sort"
                    @click=${() => {
                      actions.sortBy(by);
                    }}
                  >
                    ${label}${sort.by === by ? (sort.descending ? ' ↓' : ' ↑') : ''}
                  </button>
                </th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${shown.map((entry) => entryRow(entry, state, actions))}
        </tbody>
      </table>
    </div>
  </section>`;
}

function entryRow(
  entry: ProjectEntry,
  { isLive, closedScripts }: SummaryState,
  { post }: SummaryActions,
): TemplateResult {
  const { result, gradients, checkpoint, script, change } = entry;
  return html`<tr>
    <th scope="row">
      ${
        isLive && result
          ? html`<button
              class="link"
              title="Show this audit: ${result.sentence}"
              @click=${() => {
                post({ t: 'open', id: entry.id });
              }}
            >
              ${gradients}
            </button>`
          : gradients
      }
      <span class="muted">against ${checkpoint}</span>
      ${
        script
          ? scriptLink(script, {
              isLive,
              why: closedScripts.get(script.file),
              open: () => {
                post({ t: 'script', id: entry.id });
              },
            })
          : nothing
      }
    </th>
    <td class="outcome">${outcomeCell(entry)}</td>
    <td class="number">
      ${labelsInWords(entry)}${result && result.tokens > 0 ? html`<br />${result.tokens} tokens` : nothing}
    </td>
    <td class="number">
      ${result && result.exactInputs + result.closeInputs > 0 ? `${result.exactInputs} exact${result.closeInputs > 0 ? `, ${result.closeInputs} close` : ''}` : ''}
    </td>
    <td>${change === 'same' ? '' : html`<span class="change change-${change}">${change}</span>`}</td>
  </tr>`;
}

function outcomeCell(entry: ProjectEntry): TemplateResult {
  const standing = standingOf(entry);
  const why = whyOpen(entry);
  const severity = entry.result?.severity ?? null;
  const badge = html`<span class="standing standing-${standing} ${standing === 'failed' ? 'problem' : ''}"
    >${STANDING_WORDS[standing]}</span
  >`;
  return html`${
    entry.result
      ? html`<span class="severity severity-${severity ?? 'none'}"
          >${badge}${severity === null ? nothing : ` · ${severity}`}</span
        >`
      : badge
  }${why === null ? nothing : html`<span class="why">${why}</span>`}`;
}

function labelsInWords(entry: ProjectEntry): string {
  const { result } = entry;
  if (!result || isOpen(standingOf(entry))) {
    return '';
  }
  return result.counts && result.labels === 0
    ? `counts of ${result.counts.classes} of ${result.counts.of} classes`
    : `${result.labels} of ${result.samples}`;
}
