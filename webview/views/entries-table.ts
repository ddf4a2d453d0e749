import { type TemplateResult, html, nothing } from 'lit';
import { ref } from 'lit/directives/ref.js';
import { repeat } from 'lit/directives/repeat.js';
import type { ProjectEntry } from '../../src/protocol/project-report.js';
import type { EntryPreview, FromSummary } from '../../src/protocol/summary-messages.js';
import { STANDING_WORDS, isOpen, standingOf, whyOpen } from '../../src/words/outcome-words.js';
import type { RowWindow } from '../ui/row-window.js';
import { tag } from '../ui/toolkit.js';
import { entryDetails } from './entry-details.js';
import type { EntryColumn, EntrySort } from './entry-order.js';
import { scriptLink } from './script-link.js';

/** A row per dump of a project, of which only those on screen exist. */

/** Pixels, guessed until a row is measured. */
export const ENTRY_HEIGHT = 46;
export const ENTRIES_SCROLLER = 'entries-scroller';

export interface EntriesState {
  readonly shown: readonly ProjectEntry[];
  readonly filter: string;
  readonly sort: EntrySort;
  /** False on a saved page, where nothing can be run or opened. */
  readonly isLive: boolean;
  /** Why a script is not opened, by its path. */
  readonly closedScripts: ReadonlyMap<string, string>;
  /** Ids of the rows that are open. */
  readonly opened: ReadonlySet<string>;
  /** By the entry's id; absent until it has come. */
  readonly previews: ReadonlyMap<string, EntryPreview>;
  /** Whether the page of each entry lies beside this one. */
  readonly hasPages: boolean;
}

export interface EntriesActions {
  readonly post: (message: FromSummary) => void;
  readonly setFilter: (filter: string) => void;
  readonly sortBy: (by: EntryColumn) => void;
  /** Opens or closes a row. */
  readonly toggle: (id: string) => void;
}

const COLUMNS: { by: EntryColumn; label: string }[] = [
  { by: 'gradients', label: 'Gradient' },
  { by: 'severity', label: 'Outcome' },
  { by: 'labels', label: 'Labels' },
  { by: 'inputs', label: 'Inputs' },
  { by: 'change', label: 'Change' },
];

export function entriesTable(state: EntriesState, window: RowWindow, actions: EntriesActions): TemplateResult {
  const { shown, filter, sort } = state;
  const { items, height } = window.items(shown.length);
  const above = items[0]?.start ?? 0;
  const below = height - (items.at(-1)?.end ?? 0);
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
    <div id=${ENTRIES_SCROLLER} class="scroll" tabindex="0" role="region" aria-label="Gradients">
      <table class="entries" aria-rowcount=${shown.length + 1}>
        <thead>
          <tr aria-rowindex="1">
            ${COLUMNS.map((column) => headCell(column, sort, actions))}
          </tr>
        </thead>
        ${gap(above)}
        ${repeat(
          items,
          ({ index }) => index,
          ({ index }) => entryRows(shown[index], index, state, window, actions),
        )}
        ${gap(below)}
      </table>
    </div>
  </section>`;
}

/** As high as the rows that are not drawn. */
function gap(height: number): TemplateResult | typeof nothing {
  return height > 0
    ? html`<tbody class="gap" aria-hidden="true">
        <tr>
          <td colspan=${COLUMNS.length} style="height: ${height}px"></td>
        </tr>
      </tbody>`
    : nothing;
}

function headCell(
  { by, label }: (typeof COLUMNS)[number],
  sort: EntrySort,
  { sortBy }: EntriesActions,
): TemplateResult {
  const isSorted = sort.by === by;
  return html`<th
    scope="col"
    class="column-${by}"
    aria-sort=${isSorted ? (sort.descending ? 'descending' : 'ascending') : 'none'}
  >
    <button
      class="sort"
      @click=${() => {
        sortBy(by);
      }}
    >
      ${label}${isSorted ? (sort.descending ? ' ↓' : ' ↑') : ''}
    </button>
  </th>`;
}

/** The row of an entry, and below it what it opens to: measured as one. */
function entryRows(
  entry: ProjectEntry | undefined,
  index: number,
  state: EntriesState,
  window: RowWindow,
  actions: EntriesActions,
): TemplateResult | typeof nothing {
  if (!entry) {
    return nothing;
  }
  const isOpened = state.opened.has(entry.id);
  const open = state.isLive ? opener(actions) : undefined;
  return html`<tbody data-index=${index} ${ref(window.measure)}>
    ${entryRow(entry, index, state, actions)}
    ${
      isOpened
        ? html`<tr id=${detailsId(entry)} class="entry-details">
            <td colspan=${COLUMNS.length}>
              ${entryDetails(entry, state.previews.get(entry.id), { open, hasPages: state.hasPages })}
            </td>
          </tr>`
        : nothing
    }
  </tbody>`;
}

function detailsId({ id }: ProjectEntry): string {
  return `entry-${id}`;
}

function opener({ post }: EntriesActions): (id: string) => void {
  return (id) => {
    post({ t: 'open', id });
  };
}

function entryRow(entry: ProjectEntry, index: number, state: EntriesState, actions: EntriesActions): TemplateResult {
  const { result, checkpoint, script, change } = entry;
  return html`<tr aria-rowindex=${index + 2}>
    <th scope="row">
      ${discloser(entry, state, actions)}${nameOf(entry, state, actions)}
      <span class="muted">against ${checkpoint}</span>
      ${
        script
          ? scriptLink(script, {
              isLive: state.isLive,
              why: state.closedScripts.get(script.file),
              open: () => {
                actions.post({ t: 'script', id: entry.id });
              },
            })
          : nothing
      }
    </th>
    <td class="outcome">${outcomeCell(entry)}</td>
    <td class="number">
      ${labelsInWords(entry)}${result && result.tokens > 0 ? html`<br />${result.tokens} tokens` : nothing}
    </td>
    <td class="number">${result ? inputsInWords(result) : ''}</td>
    <td>${change === 'same' ? '' : html`<span class="change change-${change}">${change}</span>`}</td>
  </tr>`;
}

/** Opens and closes the row; nothing for an entry of which nothing is known yet. */
function discloser(
  entry: ProjectEntry,
  { opened }: EntriesState,
  { toggle }: EntriesActions,
): TemplateResult | typeof nothing {
  const isOpened = opened.has(entry.id);
  return entry.result || entry.problem !== null
    ? html`<button
        class="disclose"
        aria-expanded=${isOpened ? 'true' : 'false'}
        aria-controls=${isOpened ? detailsId(entry) : nothing}
        aria-label="Details of ${entry.gradients}"
        @click=${() => {
          toggle(entry.id);
        }}
      >
        ${isOpened ? '▾' : '▸'}
      </button>`
    : nothing;
}

function nameOf(
  { id, result, gradients }: ProjectEntry,
  { isLive }: EntriesState,
  actions: EntriesActions,
): TemplateResult | string {
  return isLive && result
    ? html`<button
        class="link"
        title="Show this audit: ${result.sentence}"
        @click=${() => {
          opener(actions)(id);
        }}
      >
        ${gradients}
      </button>`
    : gradients;
}

/** `2 exact, 1 close`; empty where no input was recovered. */
export function inputsInWords({ exactInputs, closeInputs }: NonNullable<ProjectEntry['result']>): string {
  return [exactInputs > 0 ? `${exactInputs} exact` : '', closeInputs > 0 ? `${closeInputs} close` : '']
    .filter(Boolean)
    .join(', ');
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
