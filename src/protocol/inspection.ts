import type { Finding } from './report.js';

/** What the gradient inspector knows of a file; host, child process and webview share it. Rows are named by their index in the file. */

/** What a file holds, as far as names, roles and a few small tensors tell. */
export type FileKind = 'gradient' | 'checkpoint' | 'optimiser-state' | 'delta' | 'unknown';

export interface FileKindReport {
  kind: FileKind;
  /** Absent where names or a single trait could mislead. */
  sure?: true;
  /** One sentence each, the weightiest first. */
  reasons: string[];
}

/** The directory of a tensor file, column by column: a file may hold 100,000 tensors. */
export interface Directory {
  path: string;
  format: string;
  /** Size of the file. */
  fileBytes: number;
  kind: FileKindReport;
  names: string[];
  shapes: number[][];
  dtypes: string[];
  /** Of each tensor's own elements. */
  bytes: number[];
  buffers: number[];
  /** What loading the file with Python would import or call. */
  globals: { name: string; called: boolean; risk: 'dangerous' | 'unknown' | 'class' }[];
  /** What could not be listed and why. */
  notes: string[];
  /** Absent for what is no transformer. */
  model?: ModelReport;
}

export interface ModelReport {
  /** Which transformer it is and by what that is known; why it is not read, where it is not. */
  sentence: string;
  /** Module path of each block, parts joined by dots. */
  blocks: string[];
}

/**
 * Of all finite elements, in float64. Null where there are none, for types without real values, and for a deviation
 * of fewer than two elements.
 */
export interface TensorStatistics {
  min: number | null;
  max: number | null;
  mean: number | null;
  /** Of the sample (divided by n - 1), as `torch.Tensor.std`. */
  std: number | null;
  /** Euclidean norm. */
  norm: number | null;
  /** Share of elements that are exactly 0. */
  zeros: number;
  nans: number;
  infinities: number;
  /** Why there are no numbers. */
  problem?: string;
}

/** One tensor of two files. */
export interface TensorDifference {
  /** `changed` and `equal` have numbers. */
  status: 'equal' | 'changed' | 'only-here' | 'other-shape' | 'unreadable';
  /** Largest |there - here|. */
  most: number | null;
  /** ||there - here|| / ||here||. */
  relative: number | null;
  /** <here, there> / (||here|| ||there||). */
  cosine: number | null;
}

export interface DifferenceSummary {
  path: string;
  /** Names in the other file that this one lacks. */
  onlyThere: string[];
  /** How tensors were matched. */
  how: 'names' | 'order';
  matched: number;
}

/**
 * @asType integer
 * @minimum 0
 */
export type Index = number;

/**
 * -1 for none.
 *
 * @asType integer
 * @minimum -1
 */
type Axis = number;

/** Which part of a tensor to look at: all axes but two are held at an index. */
export interface SliceRequest {
  /** Shown downwards. */
  rowAxis: Axis;
  /** Shown to the right. */
  columnAxis: Axis;
  /** One index per axis; those of the two shown are ignored. */
  at: Index[];
  /** The window, half open, in rows and columns of the slice; all of it when absent. */
  window?: { top: number; bottom: number; left: number; right: number };
  /** Of the other file of a diff, or the difference. */
  of: 'here' | 'there' | 'difference';
}

/** A window of a slice, averaged down to cells. */
export interface Slice {
  /** Size of the whole slice. */
  rows: number;
  columns: number;
  window: { top: number; bottom: number; left: number; right: number };
  /** Cells down and across. */
  cellRows: number;
  cellColumns: number;
  /** Mean of each cell, row-major float64 in base64; NaN where no element is finite. */
  cells: string;
  /** Largest |element| of the whole tensor where it is known, else of the window. */
  scale: number;
  /** Said where not every element was read. */
  note?: string;
}

export interface Histogram {
  /** Lower end of the first bin. */
  low: number;
  /** Upper end of the last bin. */
  high: number;
  counts: number[];
  notFinite: number;
}

/** A run of elements as numbers, row-major. */
export interface ElementText {
  start: number;
  /** As JavaScript prints them: the shortest that reads back as the same float64. */
  values: string[];
  total: number;
}

/** Rows of a matrix that hold anything but zeros. */
export interface NonZeroRows {
  /** Rows in all. */
  rows: number;
  /** Of those, not zero. */
  count: number;
  /** The first {@link MOST_ROWS} of them. */
  indices: number[];
  /** Largest |element| of each that is listed; null where an element is not finite. */
  largest: (number | null)[];
  /** What each reads as by itself, null for what the vocabulary lacks. */
  texts?: (string | null)[];
  /** Name of the file that the texts come from. */
  vocabulary?: string;
}

/** What methods tell of a file by itself, without an audit. */
export interface FileFindings {
  findings: FileFinding[];
  /** What could not be looked for and why, one sentence each. */
  problems: string[];
}

export interface FileFinding extends Finding {
  /** Index of the tensor that shows it. */
  row: number;
}

/** Which pictures of a tensor to look at: axes that are neither the picture's nor counted are held at an index. */
export interface PictureRequest {
  /** Three colours; -1 for grey. */
  channelAxis: Axis;
  /** Shown downwards. */
  rowAxis: Axis;
  /** Shown to the right. */
  columnAxis: Axis;
  /** One picture after the other; -1 for one picture. */
  alongAxis: Axis;
  /** One index per axis; those of the axes above are ignored. */
  at: Index[];
  /** The first picture along its axis. */
  first: Index;
}

/** Pictures side by side. */
export interface Pictures {
  /** In all, and the first of those here. */
  count: number;
  first: number;
  /** Of each, in pixels here: a large one is averaged down by `every` each way. */
  height: number;
  width: number;
  every: number;
  channels: 1 | 3;
  /** Pictures x channels x height x width float32 in base64; NaN where no element is finite. */
  values: string;
  /** Shown as black and as white. */
  low: number;
  high: number;
}

const COLOURS = 3;
const SMALLEST_SIDE = 8;
const LARGEST_SIDE = 2 ** 13;
/** Stacks of larger matrices are weights. */
const LARGEST_GREY_SIDE = 2 ** 10;

/**
 * The axes by which a tensor is pictures: N x 3 x H x W, N x H x W x 3, the same with one channel, for one picture or with
 * more axes before; undefined for what does not look like any.
 */
export function pictureAxes(shape: readonly number[]): PictureRequest | undefined {
  const last = shape.length - 1;
  const layouts = [
    { channel: last - 2, row: last - 1, column: last },
    { channel: last, row: last - 2, column: last - 1 },
    { channel: -1, row: last - 1, column: last },
  ];
  const fits = ({ channel, row, column }: (typeof layouts)[number]): boolean => {
    const channels = channel < 0 ? undefined : shape[channel];
    const most = channels === undefined ? LARGEST_GREY_SIDE : LARGEST_SIDE;
    return (
      (channels === undefined || channels === COLOURS || channels === 1) &&
      [row, column].every((axis) => (shape[axis] ?? 0) >= SMALLEST_SIDE && (shape[axis] ?? 0) <= most)
    );
  };
  const own = last >= 2 ? layouts.find(fits) : undefined;
  if (!own) {
    return undefined;
  }
  const { channel, row, column } = own;
  return {
    channelAxis: shape[channel] === COLOURS ? channel : -1,
    rowAxis: row,
    columnAxis: column,
    alongAxis: [...shape.keys()].find((axis) => axis !== channel && axis !== row && axis !== column) ?? -1,
    at: shape.map(() => 0),
    first: 0,
  };
}

/** Filters of a convolution, as small images. */
export interface FilterImages {
  /** Filters in all. */
  count: number;
  /** Height and width of one. */
  height: number;
  width: number;
  /** 3 where input channels can be seen as colours, else 1: one input channel. */
  channels: 1 | 3;
  inputs: number;
  /** count' x channels x height x width float32 in base64, count' <= 256. */
  values: string;
  scale: number;
}

const LARGEST_FILTER = 64;

/** True for what looks like filters: out x in x height x width, as PyTorch stores them, of a size to look at. */
export function hasFilters(shape: readonly number[]): boolean {
  const [, , height = 0, width = 0] = shape;
  return shape.length === 4 && height > 1 && width > 1 && height <= LARGEST_FILTER && width <= LARGEST_FILTER;
}

export const MOST_FILTERS = 256;
export const MOST_ROWS = 4096;
/** Cells of a heat map down or across. */
export const MOST_CELLS = 192;
