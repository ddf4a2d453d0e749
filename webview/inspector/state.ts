import type {
  DifferenceSummary,
  ElementText,
  FileFindings,
  FileKindReport,
  FilterImages,
  Histogram,
  NonZeroRows,
  PictureRequest,
  Pictures,
  Slice,
  SliceRequest,
} from '../../src/protocol/inspection.js';
import type { DirectoryHeader, FromInspector, InspectorState, LookAt } from '../../src/protocol/inspector-messages.js';
import {
  COLUMNS,
  DIFFERENCE_COLUMNS,
  type Row,
  STATISTIC_COLUMNS,
  type Sort,
  type Tensors,
  formatBytes,
} from './rows.js';

/** What the inspector knows and shows, and what follows from that. Neither the page nor the host is touched here. */

/** Larger tensors are read only when asked for: on a slow disk that takes seconds. */
const HEAVY_BYTES = 2 ** 28;
/** A column of numbers is completed for sorting up to this many tensors and bytes. */
const MOST_SORTED = 5000;
const MOST_SORTED_BYTES = 2 ** 31;
/** Rows in one question. */
const MOST_ASKED = 256;

export type Tab = 'map' | 'histogram' | 'values' | 'filters' | 'pictures' | 'rows';

/** Numbers that came as text. */
export type Decoded<T> = Omit<T, 'values'> & { readonly values: Float32Array };

export interface HeatMapState {
  slice: Slice;
  cells: Float64Array;
  cell: { row: number; column: number } | null;
}

/** One tensor, opened below the table. */
export interface DetailState {
  /** Its index in the file. */
  row: number;
  name: string;
  shape: number[];
  tab: Tab;
  request: SliceRequest;
  compares: boolean;
  map: HeatMapState | undefined;
  histogram: Histogram | undefined;
  text: ElementText | undefined;
  filters: Decoded<FilterImages> | undefined;
  pictures: Decoded<Pictures> | undefined;
  /** Undefined for what does not look like pictures. */
  pictureRequest: PictureRequest | undefined;
  nonZeroRows: NonZeroRows | undefined;
  input: number;
  /** Why the tab is empty. */
  problem: string | undefined;
}

export type Need = Omit<Extract<FromInspector, { t: 'need' }>, 't'>;

export interface State {
  readonly about: DirectoryHeader | undefined;
  readonly tensors: Tensors;
  /** Once the host has looked closer than the directory's own. */
  readonly kind: FileKindReport | undefined;
  /** What methods tell of the file, once they have looked. */
  readonly findings: FileFindings | undefined;
  readonly compared: DifferenceSummary | null;
  /** The newest audit that the file took part in. */
  readonly audit: { readonly standing: string; readonly sentence: string } | null;
  readonly problem: string | undefined;
  readonly rows: readonly Row[];
  /** Tensors that the filter lets through, and their bytes. */
  readonly shown: { readonly indices: readonly number[]; readonly bytes: number };
  /** Paths of modules that are closed. */
  readonly collapsed: ReadonlySet<string>;
  /** Row that the keyboard is on. */
  readonly active: number;
  readonly detail: DetailState | undefined;
  /** Large tensors that the user wants read. */
  readonly computed: ReadonlySet<number>;
  /** Outlives a reload; a new object is to be remembered. */
  readonly kept: InspectorState;
  /** The latest question about the open tensor; a new object is to be asked. Answers to earlier ones are dropped. */
  readonly look: { readonly id: number; readonly at: LookAt } | undefined;
  /** The question about rows that is out; a new object is to be asked. The next comes when it is answered. */
  readonly need: Need | undefined;
  /** A new object: the active row is to be in sight, now or once the page is laid out again. */
  readonly reveal: { readonly soon: boolean } | undefined;
}

/** @param about the file's header, undefined before there is one */
export function emptyTensors(about?: DirectoryHeader): Tensors {
  return {
    names: [],
    shapes: [],
    dtypes: [],
    bytes: [],
    buffers: new Set(about?.buffers),
    blocks: new Map(about?.model?.blocks.map((path, at) => [path, at])),
    statistics: new Map(),
    differences: new Map(),
  };
}

/** @param kept what an earlier page remembered */
export function startState(kept: InspectorState | undefined): State {
  return {
    about: undefined,
    tensors: emptyTensors(),
    kind: undefined,
    findings: undefined,
    compared: null,
    audit: null,
    problem: undefined,
    rows: [],
    shown: { indices: [], bytes: 0 },
    collapsed: new Set(),
    active: 0,
    detail: undefined,
    computed: new Set(),
    kept: kept ?? { filter: '', flat: false, sort: null, selected: null },
    look: undefined,
    need: undefined,
    reveal: undefined,
  };
}

/** The order of the rows; null for the file's own, and for a remembered column that is no longer known. */
export function sortOf({ kept }: State): Sort | null {
  const by = COLUMNS.find((column) => column === kept.sort?.by);
  return by && kept.sort ? { by, descending: kept.sort.descending } : null;
}

/** True for a tensor too large to be read without being asked for. */
export function isHeavy({ tensors, computed }: State, index: number): boolean {
  return (tensors.bytes[index] ?? 0) > HEAVY_BYTES && !computed.has(index);
}

/** Of a matrix at least this share is zero, or its rows are not worth a list. */
const LEAST_ZEROS = 0.5;

/** True where a list of the rows that are not zero is offered: for matrices of many zeros, and as long as nobody knows. */
export function hasSparseRows({ tensors }: State, { row, shape, tab }: DetailState): boolean {
  const statistics = tensors.statistics.get(row);
  const isOffered = statistics ? statistics.problem === undefined && statistics.zeros >= LEAST_ZEROS : true;
  return shape.length === 2 && (isOffered || tab === 'rows');
}

function sortsByNumbers({ kept }: State): boolean {
  return [...STATISTIC_COLUMNS, ...DIFFERENCE_COLUMNS].some((column) => column === kept.sort?.by);
}

function isTooMuch({ shown }: State): boolean {
  return shown.indices.length > MOST_SORTED || shown.bytes > MOST_SORTED_BYTES;
}

/** Sorting by numbers needs those of every row. */
export function needsAll(state: State): boolean {
  return sortsByNumbers(state) && !isTooMuch(state);
}

/** Said where the order is not that of all numbers. */
export function noticeOf(state: State): string | undefined {
  const { indices, bytes } = state.shown;
  return sortsByNumbers(state) && isTooMuch(state)
    ? `Sorted by the numbers that are known: ${indices.length} tensors of ${formatBytes(bytes)} are too many to compute unasked. Filter first.`
    : undefined;
}

/**
 * The next question about rows: those on screen whose numbers are missing, smallest first.
 *
 * @param onScreen positions in the table
 */
export function nextNeed(state: State, onScreen: readonly number[]): Need | undefined {
  const { rows, tensors, compared, computed, shown } = state;
  const visible = onScreen.flatMap((at) => {
    const row = rows[at];
    return row?.kind === 'tensor' ? [row.index] : [];
  });
  const wanted = [...visible, ...computed, ...(needsAll(state) ? shown.indices : [])];
  const differences = wanted.filter((at) => compared !== null && !tensors.differences.has(at) && !isHeavy(state, at));
  const missing =
    differences.length > 0 ? differences : wanted.filter((at) => !tensors.statistics.has(at) && !isHeavy(state, at));
  if (missing.length === 0) {
    return undefined;
  }
  const bytes = (at: number): number => tensors.bytes[at] ?? 0;
  const first = [...new Set(missing)].slice(0, MOST_ASKED).sort((one, other) => bytes(one) - bytes(other));
  return { rows: first, differences: differences.length > 0 };
}
