import { type PictureRequest, type SliceRequest, pictureAxes } from '../../src/protocol/inspection.js';
import type {
  DirectoryHeader,
  DirectoryRows,
  InspectorState,
  LookAt,
  LookResult,
  ToInspector,
} from '../../src/protocol/inspector-messages.js';
import { decodeDoubles, decodeFloats } from '../views/decode.js';
import { type Column, type Row, flatRows, matching, startCollapsed, treeRows } from './rows.js';
import {
  type Decoded,
  type DetailState,
  type State,
  type Tab,
  emptyTensors,
  needsAll,
  nextNeed,
  sortOf,
} from './state.js';

/** Every step of the inspector: from a state and what has happened to the next state. Nothing is changed in place. */

function keep(state: State, part: Partial<InspectorState>): State {
  return { ...state, kept: { ...state.kept, ...part } };
}

function within(rows: readonly Row[], at: number): number {
  return Math.min(Math.max(at, 0), Math.max(rows.length - 1, 0));
}

/** Which rows there are; after a change of filter, order, tree or numbers that decide the order. */
function arranged(state: State): State {
  const { tensors, kept, collapsed, active } = state;
  const indices = matching(tensors, kept.filter);
  const bytes = indices.reduce((sum, at) => sum + (tensors.bytes[at] ?? 0), 0);
  // What was looked for is shown, wherever it is.
  const closed = kept.filter.trim() === '' ? collapsed : new Set<string>();
  const sort = sortOf(state);
  const rows = kept.flat ? flatRows(tensors, indices, sort) : treeRows(tensors, indices, sort, closed);
  return { ...state, shown: { indices, bytes }, rows, active: within(rows, active) };
}

/** New numbers change the order only when it goes by them. */
function arrangedForNumbers(state: State): State {
  return needsAll(state) ? arranged(state) : state;
}

// What the host says.

export function received(state: State, message: ToInspector): State {
  switch (message.t) {
    case 'directory':
      return receivedDirectory(state, message.about);
    case 'rows':
      return receivedRows(state, message.from, message.rows);
    case 'kind':
      return { ...state, kind: message.kind };
    case 'findings':
      return { ...state, findings: message.of };
    case 'statistics': {
      const statistics = new Map(state.tensors.statistics);
      for (const { row, statistics: own } of message.of) {
        statistics.set(row, own);
      }
      return arrangedForNumbers({ ...state, tensors: { ...state.tensors, statistics }, need: undefined });
    }
    case 'differences': {
      const differences = new Map(state.tensors.differences);
      for (const { row, difference } of message.of) {
        differences.set(row, difference);
      }
      return arrangedForNumbers({ ...state, tensors: { ...state.tensors, differences }, need: undefined });
    }
    case 'difference': {
      const compared = message.summary;
      const tensors = { ...state.tensors, differences: new Map<number, never>() };
      const next = { ...state, compared, tensors, need: undefined };
      const { detail } = state;
      return detail
        ? looked(next, { ...detail, compares: compared !== null, request: { ...detail.request, of: 'here' } })
        : next;
    }
    case 'look':
      return state.detail && message.id === state.look?.id
        ? { ...state, detail: answered(state.detail, message.result), reveal: { soon: true } }
        : state;
    case 'look-failed':
      return state.detail && message.id === state.look?.id
        ? { ...state, detail: { ...state.detail, problem: message.sentence } }
        : state;
    case 'audited':
      return { ...state, audit: message.audit };
    case 'problem':
      return { ...state, problem: message.sentence, need: undefined };
  }
}

function receivedDirectory(state: State, about: DirectoryHeader): State {
  return {
    ...state,
    about,
    kind: undefined,
    findings: undefined,
    problem: undefined,
    need: undefined,
    computed: new Set(),
    tensors: emptyTensors(about),
    rows: [],
  };
}

function receivedRows(state: State, from: number, part: DirectoryRows): State {
  const { tensors: before, kept } = state;
  const tensors = {
    ...before,
    names: [...before.names, ...part.names],
    shapes: [...before.shapes, ...part.shapes],
    dtypes: [...before.dtypes, ...part.dtypes],
    bytes: [...before.bytes, ...part.bytes],
  };
  const next = { ...state, tensors };
  if (tensors.names.length !== state.about?.tensors) {
    return from === 0 ? arranged(next) : next;
  }
  const whole = arranged({ ...next, collapsed: startCollapsed(tensors) });
  return kept.selected !== null && kept.selected < tensors.names.length ? openedTensor(whole, kept.selected) : whole;
}

function answered(detail: DetailState, result: LookResult): DetailState {
  switch (result.what) {
    case 'slice':
      return { ...detail, map: { slice: result.slice, cells: decodeDoubles(result.slice.cells), cell: null } };
    case 'histogram':
      return { ...detail, histogram: result.histogram };
    case 'text':
      return { ...detail, text: result.text };
    case 'filters':
      return { ...detail, filters: decoded(result.filters) };
    case 'pictures':
      return { ...detail, pictures: decoded(result.pictures) };
    case 'rows':
      return { ...detail, nonZeroRows: result.rows };
  }
}

/** Once, however often they are drawn. */
function decoded<T extends { readonly values: string }>(images: T): Decoded<T> {
  return { ...images, values: decodeFloats(images.values) };
}

/** One question about rows at a time; nothing changes while one is out. */
export function askedForRows(state: State, onScreen: readonly number[]): State {
  const need = state.need || !state.about ? undefined : nextNeed(state, onScreen);
  return need ? { ...state, need } : state;
}

// What the user does with the table.

export function filtered(state: State, filter: string): State {
  return arranged({ ...keep(state, { filter }), active: 0 });
}

/** As a flat list or as a tree. */
export function ordered(state: State, flat: boolean): State {
  return arranged({ ...keep(state, { flat }), active: 0 });
}

/** Numbers largest first and text from A; then the other way round, then as in the file. */
export function sortedBy(state: State, by: Column): State {
  const before = sortOf(state);
  const isFirstDown = !(by === 'name' || by === 'dtype' || by === 'status');
  const next =
    before?.by !== by
      ? { by, descending: isFirstDown }
      : before.descending === isFirstDown
        ? { by, descending: !isFirstDown }
        : null;
  // The order is looked at from its beginning.
  return { ...arranged({ ...keep(state, { sort: next }), active: 0 }), reveal: { soon: false } };
}

/** A large tensor is read after all. */
export function computed(state: State, index: number): State {
  return { ...state, computed: new Set([...state.computed, index]) };
}

/** The tensor of a finding is opened, and its row comes into sight. */
export function foundTensor(state: State, index: number): State {
  const isHere = (own: Row): boolean => own.kind === 'tensor' && own.index === index;
  const next = state.rows.some(isHere)
    ? state
    : arranged({ ...keep(state, { filter: '' }), collapsed: new Set<string>() });
  return openedTensor({ ...next, active: within(next.rows, next.rows.findIndex(isHere)) }, index);
}

/** The keyboard goes to a row. */
export function movedTo(state: State, at: number): State {
  return { ...state, active: within(state.rows, at), reveal: { soon: false } };
}

function toggled(state: State, { path }: Extract<Row, { kind: 'module' }>, open: boolean): State {
  const collapsed = new Set(state.collapsed);
  if (open) {
    collapsed.delete(path);
  } else {
    collapsed.add(path);
  }
  return arranged({ ...state, collapsed });
}

/** A module opens or closes; a tensor is shown below. */
export function opened(state: State, at: number): State {
  const next = { ...state, active: at };
  const row = state.rows[at];
  if (row?.kind === 'module') {
    return toggled(next, row, !row.expanded);
  }
  return row ? openedTensor(next, row.index) : next;
}

/**
 * A key in the table.
 *
 * @param page rows that fit on the screen
 * @returns undefined for keys that are not the table's
 */
export function keyed(state: State, key: string, page: number): State | undefined {
  const { rows, active } = state;
  const row = rows[active];
  switch (key) {
    case 'ArrowDown':
      return movedTo(state, active + 1);
    case 'ArrowUp':
      return movedTo(state, active - 1);
    case 'PageDown':
      return movedTo(state, active + page);
    case 'PageUp':
      return movedTo(state, active - page);
    case 'Home':
      return movedTo(state, 0);
    case 'End':
      return movedTo(state, rows.length - 1);
    case 'ArrowRight':
      return row?.kind === 'module' && !row.expanded ? toggled(state, row, true) : movedTo(state, active + 1);
    case 'ArrowLeft':
      if (row?.kind === 'module' && row.expanded) {
        return toggled(state, row, false);
      }
      return row ? movedTo(state, parentOf(rows, active, row.level)) : state;
    case 'Enter':
    case ' ':
      return opened(state, active);
    case 'c':
      return row?.kind === 'tensor' ? computed(state, row.index) : state;
    case 'Escape':
      return closed(state);
    default:
      return undefined;
  }
}

function parentOf(rows: readonly Row[], at: number, level: number): number {
  return rows.slice(0, at).findLastIndex((other) => other.level < level);
}

// What the user does with the open tensor.

const COMMON_TABS: readonly Tab[] = ['map', 'histogram', 'values'];

function openedTensor(state: State, row: number): State {
  const { tensors, compared, detail } = state;
  const shape = tensors.shapes[row] ?? [];
  const next = looked(state, {
    row,
    name: tensors.names[row] ?? '',
    shape,
    // Not every tensor has the other tabs.
    tab: detail && COMMON_TABS.includes(detail.tab) ? detail.tab : 'map',
    request: {
      // The last two axes are those that lie together: of filters and images, their height and width.
      rowAxis: shape.length >= 2 ? shape.length - 2 : -1,
      columnAxis: shape.length - 1,
      at: shape.map(() => 0),
      of: compared && tensors.differences.get(row)?.status === 'changed' ? 'difference' : 'here',
    },
    compares: compared !== null,
    map: undefined,
    histogram: undefined,
    text: undefined,
    filters: undefined,
    pictures: undefined,
    pictureRequest: pictureAxes(shape),
    nonZeroRows: undefined,
    input: 0,
    problem: undefined,
  });
  // The table shrinks to make room for the tensor; its row stays in sight.
  return { ...keep(next, { selected: row }), reveal: { soon: true } };
}

/** The open tensor with what its tab shows asked for. */
function looked(state: State, detail: DetailState): State {
  return asked({ ...state, detail }, lookAt(detail));
}

/** Only the latest question is of interest. */
function asked(state: State, at: LookAt): State {
  return { ...state, look: { id: (state.look?.id ?? 0) + 1, at } };
}

function lookAt({ row, tab, request, input, pictureRequest }: DetailState): LookAt {
  switch (tab) {
    case 'map':
      return { what: 'slice', row, request };
    case 'histogram':
      return { what: 'histogram', row };
    case 'values':
      return { what: 'text', row, start: 0 };
    case 'filters':
      return { what: 'filters', row, input };
    case 'pictures':
      // The tab is offered only where there is a request.
      return pictureRequest ? { what: 'pictures', row, request: pictureRequest } : { what: 'slice', row, request };
    case 'rows':
      return { what: 'rows', row };
  }
}

/** Another tab, slice, input channel or choice of pictures. */
export function detailChanged(
  state: State,
  part: { tab?: Tab; request?: SliceRequest; input?: number; pictureRequest?: PictureRequest },
): State {
  return state.detail ? looked(state, { ...state.detail, ...part, problem: undefined }) : state;
}

/** Values from another element on. */
export function scrolledTo(state: State, start: number): State {
  return state.detail ? asked(state, { what: 'text', row: state.detail.row, start }) : state;
}

/** Another window of the slice; all of it for undefined. */
export function zoomedTo(state: State, window: SliceRequest['window'] | undefined): State {
  if (!state.detail) {
    return state;
  }
  const { window: _window, ...rest } = state.detail.request;
  return detailChanged(state, { request: window ? { ...rest, window } : rest });
}

/** The pointer is on a cell of the heat map, or on none. */
export function pointed(state: State, cell: { row: number; column: number } | null): State {
  const { detail } = state;
  return detail?.map ? { ...state, detail: { ...detail, map: { ...detail.map, cell } } } : state;
}

export function closed(state: State): State {
  return { ...keep(state, { selected: null }), detail: undefined };
}
