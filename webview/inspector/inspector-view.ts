import { type TemplateResult, html, nothing } from 'lit';
import type {
  DifferenceSummary,
  FileFinding,
  FileFindings,
  FileKind,
  FileKindReport,
} from '../../src/protocol/inspection.js';
import type { DirectoryHeader } from '../../src/protocol/inspector-messages.js';
import { counted } from '../../src/words/count-words.js';
import { baseName, shortPath } from '../../src/words/report-words.js';
import { button, choice, tag } from '../ui/toolkit.js';
import { type DetailActions, detailView } from './detail-view.js';
import { formatBytes } from './rows.js';
import { type State, hasSparseRows, isHeavy, noticeOf, sortOf } from './state.js';
import type { RowWindow } from '../ui/row-window.js';
import { type TableActions, labelOf, tableView } from './table-view.js';

/** The whole inspector, drawn from its state. */

export interface InspectorActions extends TableActions, DetailActions {
  audit: () => void;
  showAudit: () => void;
  compare: () => void;
  compareNothing: () => void;
  setFilter: (filter: string) => void;
  setFlat: (flat: boolean) => void;
  /** By its index. */
  showTensor: (index: number) => void;
}

/** @param hasControls false while the components of the toolkit are not yet wanted */
export function inspectorView(
  state: State,
  rowWindow: RowWindow,
  hasControls: boolean,
  actions: InspectorActions,
): TemplateResult {
  const { about, problem } = state;
  return html`${problem === undefined ? nothing : html`<p class="problem" role="alert">${problem}</p>`}
  ${
    about
      ? html`${headView(about, state, hasControls, actions)} ${toolbar(state, hasControls, actions)}
        ${tableArea(state, rowWindow, actions)}
        ${state.detail ? detailView(state.detail, hasSparseRows(state, state.detail), actions) : nothing}`
      : nothing
  }`;
}

const KIND_WORDS: Record<FileKind, string> = {
  gradient: 'Gradient',
  checkpoint: 'Checkpoint',
  'optimiser-state': 'Optimiser state',
  delta: 'Delta of weights',
  unknown: 'Tensors of unknown kind',
};

function headView(
  header: DirectoryHeader,
  { kind, compared, audit, findings }: State,
  hasControls: boolean,
  actions: InspectorActions,
): TemplateResult {
  const name = baseName(header.path);
  const own = kind ?? header.kind;
  const { kind: what, reasons } = own;
  return html`<header class="file">
    <div>
      <h1>${hasControls ? tag(KIND_WORDS[what]) : nothing} ${name}</h1>
      <p class="muted">
        ${header.format}, ${counted(header.tensors, 'tensor')} in a file of ${formatBytes(header.fileBytes)}
      </p>
      ${header.model === undefined ? nothing : html`<p id="model" class="muted">${header.model.sentence}</p>`}
      ${audit ? auditedView(audit, actions) : nothing}
      <details>
        <summary>${reasons[0] ?? ''}</summary>
        <ul>
          ${reasons.slice(1).map((reason) => html`<li>${reason}</li>`)}
          ${header.notes.map((note) => html`<li>${note}</li>`)}
        </ul>
      </details>
      ${findings ? findingsView(findings, actions) : nothing}
      ${header.globals.length === 0 ? nothing : globalsView(header.globals)}
    </div>
    <div class="actions">${hasControls ? fileActions(own, actions) : nothing}</div>
    ${compared ? comparedView(compared, actions) : nothing}
  </header>`;
}

function auditedView({ standing, sentence }: NonNullable<State['audit']>, actions: InspectorActions): TemplateResult {
  return html`<p id="audited" class="muted">
    Last audit:
    <button class="link" title="Show the last audit of this file" @click=${actions.showAudit}>${standing}</button>.
    ${sentence}
  </p>`;
}

const SEVERITY_WORDS: Record<FileFinding['severity'], string> = {
  critical: 'Critical',
  high: 'High',
  medium: 'Medium',
  low: 'Low',
};

function findingsView({ findings, problems }: FileFindings, actions: InspectorActions): TemplateResult {
  return findings.length + problems.length === 0
    ? html``
    : html`<ul id="findings">
        ${findings.map(
          ({ severity, title, evidence, mitigation, row }) =>
            html`<li class=${severity}>
              <details>
                <summary>${SEVERITY_WORDS[severity]}: ${title}</summary>
                <p>${evidence}</p>
                <p>${mitigation}</p>
              </details>
              <button
                class="link"
                @click=${() => {
                  actions.showTensor(row);
                }}
              >
                Show the tensor
              </button>
            </li>`,
        )}
        ${problems.map((problem) => html`<li class="muted">Not looked for. ${problem}</li>`)}
      </ul>`;
}

function globalsView(globals: DirectoryHeader['globals']): TemplateResult {
  const dangerous = globals.filter(({ risk }) => risk === 'dangerous');
  return html`<details class=${dangerous.length > 0 ? 'globals danger' : 'globals'} ?open=${dangerous.length > 0}>
    <summary>
      ${
        dangerous.length > 0
          ? `Loading this file with Python would run ${dangerous[0]?.name ?? ''}: do not load it`
          : `It refers to ${counted(globals.length, 'Python name')}, none of them run here`
      }
    </summary>
    <ul>
      ${globals.map(
        (global) => html`<li><code>${global.name}</code> ${global.called ? 'called' : 'imported'}, ${global.risk}</li>`,
      )}
    </ul>
  </details>`;
}

/**
 * What an audit can begin with here. Only a sure kind changes it: names and a single trait mislead, and the audit itself
 * looks at both files. Null for what no audit reads.
 */
function auditOf({ kind: what, sure }: FileKindReport): { label: string; title: string } | null {
  if (sure === true && what === 'optimiser-state') {
    return null;
  }
  return sure === true && what === 'checkpoint'
    ? {
        label: 'Audit a Gradient of This...',
        title: 'Audit a Gradient of This... Choose one that was computed with this checkpoint',
      }
    : { label: 'Audit', title: 'Audit what this gradient gives away' };
}

function fileActions(own: FileKindReport, actions: InspectorActions): TemplateResult {
  const audit = auditOf(own);
  return html`${
    audit
      ? button({ ...audit, primary: true, onClick: actions.audit })
      : html`<p class="no-audit muted">
          No audit: audits read gradients and differences of weights, not the moments and counters that an optimiser
          keeps.
        </p>`
  }
  ${button({ label: 'Compare with...', onClick: actions.compare })}`;
}

function comparedView({ path, matched, onlyThere, how }: DifferenceSummary, actions: InspectorActions): TemplateResult {
  return html`<p class="compared">
    Compared with <strong>${shortPath(path)}</strong>: ${counted(matched, 'tensor')} matched by
    ${how === 'names' ? 'name' : 'order'}${onlyThere.length > 0 ? `, ${onlyThere.length} only there (${onlyThere.slice(0, 3).join(', ')}${onlyThere.length > 3 ? ', ...' : ''})` : ''}.
    ${button({ label: 'End comparison', onClick: actions.compareNothing })}
  </p>`;
}

function toolbar(state: State, hasControls: boolean, actions: InspectorActions): TemplateResult {
  const { kept, shown } = state;
  const notice = noticeOf(state);
  return html`<div class="toolbar">
    <label class="filter"
      ><span class="muted">Filter</span>
      <input
        id="filter"
        type="search"
        placeholder="name, type or 64x3x7x7"
        .value=${kept.filter}
        @input=${(event: Event) => {
          actions.setFilter((event.target as HTMLInputElement).value);
        }}
    /></label>
    ${
      hasControls
        ? choice({
            label: 'Order',
            value: kept.flat ? 'list' : 'tree',
            choices: [
              { value: 'tree', label: 'Tree' },
              { value: 'list', label: 'List' },
            ],
            onChange: (value) => {
              actions.setFlat(value === 'list');
            },
          })
        : nothing
    }
    <span id="total" class="muted" role="status"
      >${counted(shown.indices.length, 'tensor')}, ${formatBytes(shown.bytes)}${sortedInWords(state)}</span
    >
    ${notice === undefined ? nothing : html`<span class="notice">${notice}</span>`}
  </div>`;
}

/** Heard when the order changes. */
function sortedInWords(state: State): string {
  const sort = sortOf(state);
  return sort ? `, sorted by ${labelOf(sort.by)}, ${sort.descending ? 'descending' : 'ascending'}` : '';
}

function tableArea(state: State, rowWindow: RowWindow, actions: InspectorActions): TemplateResult {
  return tableView(
    {
      rows: state.rows,
      tensors: state.tensors,
      sort: sortOf(state),
      active: state.active,
      selected: state.detail?.row ?? null,
      found: new Map(state.findings?.findings.map(({ row, title }) => [row, title])),
      compares: state.compared !== null,
      isHeavy: (index) => isHeavy(state, index),
    },
    rowWindow,
    actions,
  );
}
