import { type TemplateResult, html, nothing, render } from 'lit';
import type { FileKind, FileKindReport, DifferenceSummary, SliceRequest } from '../src/protocol/inspection.js';
import type {
  DirectoryHeader,
  FromInspector,
  InspectorState,
  LookAt,
  LookResult,
  ToInspector,
} from '../src/protocol/inspector-messages.js';
import { connectHost } from './host.js';
import { type DetailState, type Tab, detailView } from './inspector/detail-view.js';
import { decodeDoubles } from './inspector/heat-map.js';
import {
  type Column,
  DIFFERENCE_COLUMNS,
  type Row,
  STATISTIC_COLUMNS,
  type Sort,
  type Tensors,
  flatRows,
  formatBytes,
  matching,
  startCollapsed,
  treeRows,
} from './inspector/rows.js';
import { RowWindow, columnsOf, tableView } from './inspector/table-view.js';
import { button, choice, tag } from './ui/toolkit.js';

/** Entry of the gradient inspector. */

/** Larger tensors are read only when asked for: on a slow disk that takes seconds. */
const HEAVY_BYTES = 2 ** 28;
/** A column of numbers is completed for sorting up to this many tensors and bytes. */
const MOST_SORTED = 5000;
const MOST_SORTED_BYTES = 2 ** 31;

const root = document.getElementById('root');
const host = connectHost<FromInspector, ToInspector, InspectorState>([
  'directory',
  'rows',
  'kind',
  'statistics',
  'difference',
  'differences',
  'look',
  'look-failed',
  'problem',
]);

let about: DirectoryHeader | undefined;
let tensors: Tensors = emptyTensors();
let kind: FileKindReport | undefined;
let compared: DifferenceSummary | null = null;
let problem: string | undefined;
let notice: string | undefined;
let rows: readonly Row[] = [];
/** Tensors that the filter lets through, and their bytes. */
let shown: { indices: number[]; bytes: number } = { indices: [], bytes: 0 };
let collapsed = new Set<string>();
let active = 0;
let detail: (DetailState & { row: number }) | undefined;
let lookId = 0;
/** A question about rows is out; the next is asked when it is answered. */
let asking = false;
const asked = new Set<number>();
let kept: InspectorState = host?.recall() ?? { filter: '', flat: false, sort: null, selected: null };

const rowWindow = new RowWindow(
  () => document.getElementById('table'),
  () => {
    draw();
  },
);

function emptyTensors(): Tensors {
  return {
    names: [],
    shapes: [],
    dtypes: [],
    bytes: [],
    buffers: new Set(),
    statistics: new Map(),
    differences: new Map(),
  };
}

function keep(part: Partial<InspectorState>): void {
  kept = { ...kept, ...part };
  host?.remember(kept);
}

function sortOf(): Sort | null {
  const by = columnsOf(true).find(({ column }) => column === kept.sort?.by)?.column;
  return by && kept.sort ? { by, descending: kept.sort.descending } : null;
}

/** Which rows there are; after a change of filter, order, tree or numbers that decide the order. */
function arrange(): void {
  const indices = matching(tensors, kept.filter);
  shown = { indices, bytes: indices.reduce((sum, at) => sum + (tensors.bytes[at] ?? 0), 0) };
  // What was looked for is shown, wherever it is.
  const closed = kept.filter.trim() === '' ? collapsed : new Set<string>();
  rows = kept.flat ? flatRows(tensors, indices, sortOf()) : treeRows(tensors, indices, sortOf(), closed);
  active = Math.min(active, Math.max(rows.length - 1, 0));
}

let drawing = false;
/** Components of the toolkit take longer to come into being than the whole table: rows are shown first, they a frame later. */
let hasControls = false;

/** At most once per frame. */
function draw(): void {
  if (drawing) {
    return;
  }
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
}

function drawNow(): void {
  if (!root) {
    return;
  }
  root.querySelector(':scope > [role="status"]')?.remove();
  render(page(), root);
  if (rowWindow.update(rows.length)) {
    // The table has just come into being: what is on screen is known only now.
    render(page(), root);
  }
  if (about && !hasControls) {
    hasControls = true;
    draw();
  }
  askForRows();
}

function isHeavy(index: number): boolean {
  return (tensors.bytes[index] ?? 0) > HEAVY_BYTES && !asked.has(index);
}

/** The rows on screen whose numbers are missing, smallest first. */
function askForRows(): void {
  if (asking || !about) {
    return;
  }
  const onScreen = rowWindow.items(rows.length).items.flatMap(({ index }) => {
    const row = rows[index];
    return row?.kind === 'tensor' ? [row.index] : [];
  });
  const wanted = [...onScreen, ...asked, ...(needsAll() ? shown.indices : [])];
  const differences = wanted.filter((at) => compared !== null && !tensors.differences.has(at) && !isHeavy(at));
  const statistics = wanted.filter((at) => !tensors.statistics.has(at) && !isHeavy(at));
  const missing = differences.length > 0 ? differences : statistics;
  if (missing.length > 0) {
    const bytes = (at: number): number => tensors.bytes[at] ?? 0;
    const first = [...new Set(missing)].slice(0, 256).sort((one, other) => bytes(one) - bytes(other));
    asking = true;
    host?.post({ t: 'need', rows: first, differences: differences.length > 0 });
  }
}

/** Sorting by numbers needs those of every row. */
function needsAll(): boolean {
  const { sort } = kept;
  const isComputed = [...STATISTIC_COLUMNS, ...DIFFERENCE_COLUMNS].some((column) => column === sort?.by);
  if (!isComputed) {
    notice = undefined;
    return false;
  }
  const { indices, bytes } = shown;
  const isTooMuch = indices.length > MOST_SORTED || bytes > MOST_SORTED_BYTES;
  notice = isTooMuch
    ? `Sorted by the numbers that are known: ${indices.length} tensors of ${formatBytes(bytes)} are too many to compute unasked. Filter first.`
    : undefined;
  return !isTooMuch;
}

const KIND_WORDS: Record<FileKind, string> = {
  gradient: 'Gradient',
  checkpoint: 'Checkpoint',
  'optimiser-state': 'Optimiser state',
  delta: 'Delta of weights',
  unknown: 'Tensors of unknown kind',
};

function page(): TemplateResult {
  return html`${problem === undefined ? nothing : html`<p class="problem" role="alert">${problem}</p>`}
  ${about ? html`${headView(about)} ${toolbar()} ${tableArea()} ${detailArea()}` : nothing}`;
}

function headView(header: DirectoryHeader): TemplateResult {
  const name = header.path.split(/[\\/]/).at(-1) ?? header.path;
  const own = kind ?? header.kind;
  const { kind: what, reasons } = own;
  const dangerous = header.globals.filter(({ risk }) => risk === 'dangerous');
  return html`<header class="file">
    <div>
      <h1>${hasControls ? tag(KIND_WORDS[what]) : nothing} ${name}</h1>
      <p class="muted">${header.format}, ${header.tensors} tensors in a file of ${formatBytes(header.fileBytes)}</p>
      <details>
        <summary>${reasons[0] ?? ''}</summary>
        <ul>
          ${reasons.slice(1).map((reason) => html`<li>${reason}</li>`)}
          ${header.notes.map((note) => html`<li>${note}</li>`)}
        </ul>
      </details>
      ${
        header.globals.length === 0
          ? nothing
          : html`<details class=${dangerous.length > 0 ? 'globals danger' : 'globals'} ?open=${dangerous.length > 0}>
              <summary>
                ${
                  dangerous.length > 0
                    ? `Loading this file with Python would run ${dangerous[0]?.name ?? ''}: do not load it`
                    : `It refers to ${header.globals.length} Python name${header.globals.length === 1 ? '' : 's'}, none of them run here`
                }
              </summary>
              <ul>
                ${header.globals.map(
                  (global) =>
                    html`<li><code>${global.name}</code> ${global.called ? 'called' : 'imported'}, ${global.risk}</li>`,
                )}
              </ul>
            </details>`
      }
    </div>
    <div class="actions">${hasControls ? fileActions(own) : nothing}</div>
    ${compared ? comparedView(compared) : nothing}
  </header>`;
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

function fileActions(own: FileKindReport): TemplateResult {
  const audit = auditOf(own);
  return html`${
    audit
      ? button({
          ...audit,
          primary: true,
          onClick: () => {
            host?.post({ t: 'audit' });
          },
        })
      : html`<p class="no-audit muted">
          No audit: audits read gradients and differences of weights, not the moments and counters that an optimiser
          keeps.
        </p>`
  }
  ${button({
    label: 'Compare with...',
    onClick: () => {
      host?.post({ t: 'compare' });
    },
  })}`;
}

function comparedView({ path, matched, onlyThere, how }: DifferenceSummary): TemplateResult {
  return html`<p class="compared">
    Compared with <strong>${path.split(/[\\/]/).slice(-2).join('/')}</strong>: ${matched} tensors matched by
    ${how === 'names' ? 'name' : 'order'}${onlyThere.length > 0 ? `, ${onlyThere.length} only there (${onlyThere.slice(0, 3).join(', ')}${onlyThere.length > 3 ? ', ...' : ''})` : ''}.
    ${button({
      label: 'End comparison',
      onClick: () => {
        host?.post({ t: 'compare-nothing' });
      },
    })}
  </p>`;
}

function toolbar(): TemplateResult {
  return html`<div class="toolbar">
    <label class="filter"
      ><span class="muted">Filter</span>
      <input
        id="filter"
        type="search"
        placeholder="name, type or 64x3x7x7"
        .value=${kept.filter}
        @input=${(event: Event) => {
          keep({ filter: (event.target as HTMLInputElement).value });
          active = 0;
          arrange();
          draw();
        }}
    /></label>
    ${hasControls ? orderChoice() : nothing}
    <span id="total" class="muted" role="status">${shown.indices.length} tensors, ${formatBytes(shown.bytes)}</span>
    ${notice === undefined ? nothing : html`<span class="notice">${notice}</span>`}
  </div>`;
}

function orderChoice(): TemplateResult {
  return choice({
    label: 'Order',
    value: kept.flat ? 'list' : 'tree',
    choices: [
      { value: 'tree', label: 'Tree' },
      { value: 'list', label: 'List' },
    ],
    onChange: (value) => {
      keep({ flat: value === 'list' });
      active = 0;
      arrange();
      draw();
    },
  });
}

function tableArea(): TemplateResult {
  return tableView(
    {
      rows,
      tensors,
      sort: sortOf(),
      active,
      selected: detail?.row ?? null,
      compares: compared !== null,
      isHeavy,
    },
    rowWindow,
    {
      sortBy: (column) => {
        sortBy(column);
      },
      open: (at) => {
        active = at;
        openRow(at);
      },
      compute: (index) => {
        asked.add(index);
        draw();
      },
      key: tableKey,
    },
  );
}

function sortBy(by: Column): void {
  const before = sortOf();
  const textual = by === 'name' || by === 'dtype' || by === 'status';
  if (before?.by !== by) {
    keep({ sort: { by, descending: !textual } });
  } else if (before.descending === !textual) {
    keep({ sort: { by, descending: textual } });
  } else {
    keep({ sort: null });
  }
  arrange();
  draw();
}

function moveTo(at: number): void {
  active = Math.min(Math.max(at, 0), Math.max(rows.length - 1, 0));
  rowWindow.reveal(active);
  draw();
}

function toggle(row: Extract<Row, { kind: 'module' }>, open: boolean): void {
  collapsed = new Set(collapsed);
  if (open) {
    collapsed.delete(row.path);
  } else {
    collapsed.add(row.path);
  }
  arrange();
  draw();
}

function openRow(at: number): void {
  const row = rows[at];
  if (row?.kind === 'module') {
    toggle(row, !row.expanded);
  } else if (row) {
    openTensor(row.index);
  }
}

function tableKey(event: KeyboardEvent): void {
  if (event.target !== event.currentTarget) {
    return;
  }
  const row = rows[active];
  switch (event.key) {
    case 'ArrowDown':
      moveTo(active + 1);
      break;
    case 'ArrowUp':
      moveTo(active - 1);
      break;
    case 'PageDown':
      moveTo(active + rowWindow.page());
      break;
    case 'PageUp':
      moveTo(active - rowWindow.page());
      break;
    case 'Home':
      moveTo(0);
      break;
    case 'End':
      moveTo(rows.length - 1);
      break;
    case 'ArrowRight':
      if (row?.kind === 'module' && !row.expanded) {
        toggle(row, true);
      } else {
        moveTo(active + 1);
      }
      break;
    case 'ArrowLeft':
      if (row?.kind === 'module' && row.expanded) {
        toggle(row, false);
      } else if (row) {
        moveTo(
          Math.max(
            rows.slice(0, active).findLastIndex((other) => other.level < row.level),
            0,
          ),
        );
      }
      break;
    case 'Enter':
    case ' ':
      openRow(active);
      break;
    case 'c':
      if (row?.kind === 'tensor') {
        asked.add(row.index);
        draw();
      }
      break;
    case 'Escape':
      closeDetail();
      break;
    default:
      return;
  }
  event.preventDefault();
}

function detailArea(): TemplateResult | typeof nothing {
  return detail
    ? detailView(detail, {
        setTab: (tab) => {
          changeDetail({ tab });
        },
        setRequest: (request) => {
          changeDetail({ request });
        },
        setStart: (start) => {
          look({ what: 'text', row: detail?.row ?? 0, start });
        },
        setInput: (input) => {
          changeDetail({ input });
        },
        show: (window) => {
          if (detail) {
            const { window: _window, ...rest } = detail.request;
            changeDetail({ request: window ? { ...rest, window } : rest });
          }
        },
        point: (cell) => {
          if (detail?.map) {
            detail = { ...detail, map: { ...detail.map, cell } };
            draw();
          }
        },
        copyValues: () => {
          host?.post({ t: 'copy', text: detail?.text?.values.join('\n') ?? '' });
        },
        close: closeDetail,
      })
    : nothing;
}

function openTensor(row: number): void {
  const shape = tensors.shapes[row] ?? [];
  const request: SliceRequest = {
    rowAxis: shape.length >= 2 ? 0 : -1,
    columnAxis: shape.length >= 2 ? 1 : shape.length - 1,
    at: shape.map(() => 0),
    of: compared && tensors.differences.get(row)?.status === 'changed' ? 'difference' : 'here',
  };
  detail = {
    row,
    name: tensors.names[row] ?? '',
    shape,
    tab: detail?.tab === 'filters' ? 'map' : (detail?.tab ?? 'map'),
    request,
    compares: compared !== null,
    map: undefined,
    histogram: undefined,
    text: undefined,
    filters: undefined,
    input: 0,
    problem: undefined,
  };
  keep({ selected: row });
  lookAtDetail();
  draw();
  revealSoon();
}

/** The table shrinks to make room for the tensor; its row stays in sight. */
function revealSoon(): void {
  setTimeout(() => {
    rowWindow.reveal(active);
  }, 50);
}

function changeDetail(part: { tab?: Tab; request?: SliceRequest; input?: number }): void {
  if (detail) {
    detail = { ...detail, ...part, problem: undefined };
    lookAtDetail();
    draw();
  }
}

function lookAtDetail(): void {
  if (!detail) {
    return;
  }
  const { row, tab, request, input } = detail;
  switch (tab) {
    case 'map':
      look({ what: 'slice', row, request });
      break;
    case 'histogram':
      look({ what: 'histogram', row });
      break;
    case 'values':
      look({ what: 'text', row, start: 0 });
      break;
    case 'filters':
      look({ what: 'filters', row, input });
      break;
  }
}

/** Only the latest question is of interest. */
function look(at: LookAt): void {
  lookId++;
  host?.post({ t: 'look', id: lookId, at });
}

function closeDetail(): void {
  detail = undefined;
  keep({ selected: null });
  draw();
  document.getElementById('table')?.focus();
}

function receiveLook(result: LookResult): void {
  if (!detail) {
    return;
  }
  revealSoon();
  switch (result.what) {
    case 'slice': {
      const cells = decodeDoubles(result.slice.cells);
      detail = { ...detail, map: { slice: result.slice, cells, cell: null } };
      break;
    }
    case 'histogram':
      detail = { ...detail, histogram: result.histogram };
      break;
    case 'text':
      detail = { ...detail, text: result.text };
      break;
    case 'filters':
      detail = { ...detail, filters: result.filters };
      break;
  }
}

function receiveDirectory(header: DirectoryHeader): void {
  about = header;
  kind = undefined;
  problem = undefined;
  asking = false;
  asked.clear();
  tensors = { ...emptyTensors(), buffers: new Set(header.buffers) };
  rows = [];
}

function receiveRows(from: number, part: Pick<Tensors, 'names' | 'shapes' | 'dtypes' | 'bytes'>): void {
  const isFirst = from === 0;
  tensors.names.push(...part.names);
  tensors.shapes.push(...part.shapes);
  tensors.dtypes.push(...part.dtypes);
  tensors.bytes.push(...part.bytes);
  const isLast = tensors.names.length === about?.tensors;
  if (isLast) {
    collapsed = startCollapsed(tensors);
  }
  if (isFirst || isLast) {
    arrange();
  }
  if (isLast && kept.selected !== null && kept.selected < tensors.names.length) {
    openTensor(kept.selected);
  }
}

host?.onMessage((message) => {
  switch (message.t) {
    case 'directory':
      receiveDirectory(message.about);
      break;
    case 'rows':
      receiveRows(message.from, message.rows);
      break;
    case 'kind':
      kind = message.kind;
      break;
    case 'statistics':
      asking = false;
      for (const { row, statistics } of message.of) {
        tensors.statistics.set(row, statistics);
      }
      arrangeForNumbers();
      break;
    case 'differences':
      asking = false;
      for (const { row, difference } of message.of) {
        tensors.differences.set(row, difference);
      }
      arrangeForNumbers();
      break;
    case 'difference':
      compared = message.summary;
      tensors.differences.clear();
      asking = false;
      if (detail) {
        detail = { ...detail, compares: compared !== null, request: { ...detail.request, of: 'here' } };
        lookAtDetail();
      }
      break;
    case 'look':
      if (message.id === lookId) {
        receiveLook(message.result);
      }
      break;
    case 'look-failed':
      if (message.id === lookId && detail) {
        detail = { ...detail, problem: message.sentence };
      }
      break;
    case 'problem':
      problem = message.sentence;
      asking = false;
      break;
  }
  draw();
});

/** New numbers change the order only when it goes by them. */
function arrangeForNumbers(): void {
  if (needsAll()) {
    arrange();
  }
}

// Canvases are painted in the theme's colours.
new MutationObserver(() => {
  draw();
}).observe(document.body, { attributeFilter: ['class'] });

host?.post({ t: 'ready' });
