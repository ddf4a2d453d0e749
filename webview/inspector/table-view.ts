import { type TemplateResult, html, nothing } from 'lit';
import { counted } from '../../src/words/count-words.js';
import type { TensorDifference, TensorStatistics } from '../../src/protocol/inspection.js';
import type { RowWindow } from '../ui/row-window.js';
import { type Column, type Row, type Sort, type Tensors, formatBytes, formatNumber, formatShare } from './rows.js';

/** The table of tensors: only the rows on screen exist. */

export const ROW_HEIGHT = 22;

export interface TableState {
  rows: readonly Row[];
  tensors: Tensors;
  sort: Sort | null;
  /** Row that the keyboard is on. */
  active: number;
  /** Index of the tensor that is open below. */
  selected: number | null;
  compares: boolean;
  /** Titles of findings by the indices of tensors. */
  found: ReadonlyMap<number, string>;
  /** Tensors too large to be read without being asked for. */
  isHeavy: (index: number) => boolean;
}

export interface TableActions {
  sortBy: (column: Column) => void;
  open: (at: number) => void;
  compute: (index: number) => void;
  key: (event: KeyboardEvent) => void;
}

interface ColumnDescription {
  column: Column;
  label: string;
  title: string;
  numeric: boolean;
}

const BASE: ColumnDescription[] = [
  { column: 'name', label: 'Tensor', title: 'Name', numeric: false },
  { column: 'shape', label: 'Shape', title: 'Sort by the number of elements', numeric: false },
  { column: 'dtype', label: 'Type', title: 'Type of the elements', numeric: false },
  { column: 'bytes', label: 'Size', title: 'Bytes of its own elements', numeric: true },
];
/** Before all other numbers: in a narrow window they come last into sight. */
const NOT_FINITE: ColumnDescription = {
  column: 'notFinite',
  label: 'NaN/Inf',
  title: 'Elements that are not finite',
  numeric: true,
};
const DIFFERENCE: ColumnDescription[] = [
  { column: 'status', label: 'Compared', title: 'Against the other file', numeric: false },
  { column: 'most', label: 'Max |Δ|', title: 'Largest difference of an element', numeric: true },
  { column: 'relative', label: 'Rel. Δ', title: 'Norm of the difference over the norm here', numeric: true },
  { column: 'cosine', label: 'Cosine', title: 'Cosine of the angle between both', numeric: true },
];
const STATISTICS: ColumnDescription[] = [
  { column: 'min', label: 'Min', title: 'Smallest finite element', numeric: true },
  { column: 'max', label: 'Max', title: 'Largest finite element', numeric: true },
  { column: 'mean', label: 'Mean', title: 'Mean of the finite elements', numeric: true },
  { column: 'std', label: 'Std', title: 'Standard deviation (n - 1) of the finite elements', numeric: true },
  { column: 'norm', label: 'L2 norm', title: 'Euclidean norm of the finite elements', numeric: true },
  { column: 'zeros', label: 'Zeros', title: 'Share of elements that are exactly 0', numeric: true },
];

function columnsOf(compares: boolean): ColumnDescription[] {
  return [...BASE, NOT_FINITE, ...(compares ? DIFFERENCE : []), ...STATISTICS];
}

/** What a column is called. */
export function labelOf(column: Column): string {
  return columnsOf(true).find((own) => own.column === column)?.label ?? column;
}

export function tableView(state: TableState, window: RowWindow, actions: TableActions): TemplateResult {
  const { items, height } = window.items(state.rows.length);
  const columns = columnsOf(state.compares);
  return html`<div
    id="table"
    class=${state.compares ? 'table compares' : 'table'}
    role="treegrid"
    tabindex="0"
    aria-label="Tensors"
    aria-rowcount=${state.rows.length + 1}
    aria-activedescendant=${state.rows.length > 0 ? `row-${state.active}` : nothing}
    @keydown=${actions.key}
  >
    <div role="rowgroup" class="head">
      <div role="row" aria-rowindex="1" class="row">
        ${columns.map((description) => headCell(description, state.sort, actions))}
      </div>
    </div>
    <div role="rowgroup" class="body" style="height: ${height}px">
      ${items.map(({ index, start }) => rowView(state, index, start, actions))}
    </div>
  </div>`;
}

function headCell(
  { column, label, title, numeric }: ColumnDescription,
  sort: Sort | null,
  actions: TableActions,
): TemplateResult {
  const own = sort?.by === column ? sort : undefined;
  const arrow = own ? (own.descending ? ' ↓' : ' ↑') : '';
  return html`<div
    role="columnheader"
    class=${numeric ? 'number' : ''}
    aria-sort=${own ? (own.descending ? 'descending' : 'ascending') : 'none'}
  >
    <button
      title=${title}
      @click=${() => {
        actions.sortBy(column);
      }}
    >
      ${label}${arrow}
    </button>
  </div>`;
}

function rowView(state: TableState, at: number, start: number, actions: TableActions): TemplateResult | typeof nothing {
  const row = state.rows[at];
  if (!row) {
    return nothing;
  }
  const isSelected = row.kind === 'tensor' && row.index === state.selected;
  const classes = ['row', row.kind, at === state.active ? 'active' : '', isSelected ? 'selected' : ''].join(' ');
  return html`<div
    role="row"
    id="row-${at}"
    class=${classes}
    style="top: ${start}px"
    aria-rowindex=${at + 2}
    aria-level=${row.level}
    aria-expanded=${row.kind === 'module' ? String(row.expanded) : nothing}
    aria-selected=${row.kind === 'tensor' ? String(isSelected) : nothing}
    @click=${() => {
      actions.open(at);
    }}
  >
    ${row.kind === 'module' ? moduleCells(row) : tensorCells(state, row, actions)}
  </div>`;
}

function moduleCells(row: Extract<Row, { kind: 'module' }>): TemplateResult {
  return html`<div role="gridcell" class="name" style="--level: ${row.level}" title=${row.path}>
      <span class="twistie" aria-hidden="true">${row.expanded ? '▾' : '▸'}</span
      >${row.label}${row.isBlock ? html` <span class="muted">${row.path}</span>` : nothing}
    </div>
    <div role="gridcell" class="muted">${counted(row.tensors, 'tensor')}</div>
    <div role="gridcell"></div>
    <div role="gridcell" class="number muted" title="${row.bytes} bytes">${formatBytes(row.bytes)}</div>`;
}

function tensorCells(
  { tensors, compares, found, isHeavy }: TableState,
  { index, label, level }: Extract<Row, { kind: 'tensor' }>,
  actions: TableActions,
): TemplateResult {
  const shape = tensors.shapes[index] ?? [];
  const bytes = tensors.bytes[index] ?? 0;
  const statistics = tensors.statistics.get(index);
  return html`<div role="gridcell" class="name" style="--level: ${level}" title=${tensors.names[index] ?? ''}>
      ${label}${found.has(index) ? html` <span class="found" title=${found.get(index) ?? nothing}>finding</span>` : nothing}${tensors.buffers.has(index) ? html` <span class="muted">buffer</span>` : nothing}
    </div>
    <div role="gridcell">${shape.length === 0 ? 'scalar' : shape.join(' × ')}</div>
    <div role="gridcell">${tensors.dtypes[index]}</div>
    <div role="gridcell" class="number" title="${bytes} bytes">${formatBytes(bytes)}</div>
    ${notFiniteCell(statistics)} ${compares ? differenceCells(tensors.differences.get(index)) : nothing}
    ${statisticsCells(statistics, index, isHeavy(index), actions)}`;
}

const STATUS_WORDS: Record<TensorDifference['status'], string> = {
  equal: 'equal',
  changed: 'changed',
  'only-here': 'only here',
  'other-shape': 'other shape',
  unreadable: 'unreadable',
};

function differenceCells(difference: TensorDifference | undefined): TemplateResult {
  return html`<div role="gridcell" class=${difference?.status ?? 'waiting'}>
      ${difference ? STATUS_WORDS[difference.status] : '...'}
    </div>
    ${numberCell(difference?.most)} ${numberCell(difference?.relative)} ${numberCell(difference?.cosine)}`;
}

function numberCell(value: number | null | undefined): TemplateResult {
  return html`<div role="gridcell" class="number" title=${value ?? nothing}>${formatNumber(value)}</div>`;
}

function notFiniteCell(statistics: TensorStatistics | undefined): TemplateResult {
  if (!statistics || statistics.problem !== undefined) {
    return html`<div role="gridcell"></div>`;
  }
  const { nans, infinities } = statistics;
  const notFinite = nans + infinities;
  return html`<div
    role="gridcell"
    class=${notFinite > 0 ? 'number alarm' : 'number'}
    title="${nans} NaN, ${infinities} infinite"
  >
    ${notFinite}
  </div>`;
}

function statisticsCells(
  statistics: TensorStatistics | undefined,
  index: number,
  isHeavy: boolean,
  actions: TableActions,
): TemplateResult {
  if (!statistics) {
    return isHeavy
      ? html`<div role="gridcell" class="wide">
          <button
            class="link"
            title="It is large, so it is read only when asked for (key C)"
            @click=${(event: Event) => {
              event.stopPropagation();
              actions.compute(index);
            }}
          >
            compute
          </button>
        </div>`
      : html`<div role="gridcell" class="number waiting">...</div>`;
  }
  if (statistics.problem !== undefined) {
    return html`<div role="gridcell" class="wide problem" title=${statistics.problem}>${statistics.problem}</div>`;
  }
  const { min, max, mean, std, norm, zeros } = statistics;
  return html`${[min, max, mean, std, norm].map(numberCell)}
    <div role="gridcell" class="number" title=${zeros}>${formatShare(zeros)}</div>`;
}
