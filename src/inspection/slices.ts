import { UnusableInputError } from '../protocol/errors.js';
import {
  type ElementText,
  type FilterImages,
  MOST_CELLS,
  MOST_FILTERS,
  hasFilters,
  type Slice,
  type SliceRequest,
} from '../protocol/inspection.js';
import { type TensorEntry, type TensorFile, elementCount } from '../formats/tensor-file.js';

/** Parts of a tensor that fit on a screen. */

/** Elements that one picture reads at most; beyond, rows are left out and the picture says so. */
export const MOST_READ = 2 ** 22;

/** A window of a 2-D slice before it is averaged. */
export interface Window {
  /** Row-major, rows that were read times the window's columns. */
  readonly values: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly slice: { rows: number; columns: number };
  readonly window: NonNullable<SliceRequest['window']>;
  /** One row of so many was read. */
  readonly every: number;
}

/** Elements between neighbours along an axis of a row-major tensor. */
export function strideOf(shape: readonly number[], axis: number): number {
  return elementCount(shape.slice(axis + 1));
}

/**
 * Reads a window of the slice that a request describes.
 *
 * @throws RangeError when axes or indices do not fit the shape; UnusableInputError when the file cannot be read
 */
export function readWindow(file: TensorFile, { name, shape }: TensorEntry, request: SliceRequest): Window {
  const { rowAxis, columnAxis } = request;
  const valid = (axis: number): boolean => Number.isInteger(axis) && axis >= -1 && axis < shape.length;
  if (!valid(rowAxis) || !valid(columnAxis) || (rowAxis === columnAxis && rowAxis !== -1)) {
    throw new RangeError(`Axes ${rowAxis} and ${columnAxis} of a tensor with ${shape.length}.`);
  }
  const sizeOf = (axis: number): number => (axis < 0 ? 1 : shape[axis]!);
  const stride = (axis: number): number => (axis < 0 ? 0 : strideOf(shape, axis));
  const slice = { rows: sizeOf(rowAxis), columns: sizeOf(columnAxis) };
  let base = 0;
  shape.forEach((size, axis) => {
    if (axis !== rowAxis && axis !== columnAxis) {
      const index = request.at[axis] ?? 0;
      if (!Number.isInteger(index) || index < 0 || index >= size) {
        throw new RangeError(`Index ${index} of axis ${axis}, which has ${size}.`);
      }
      base += index * strideOf(shape, axis);
    }
  });
  const window = clip(request.window, slice);
  const width = window.right - window.left;
  const height = window.bottom - window.top;
  const isContiguous = stride(columnAxis) <= 1;
  // A column axis that is not the last makes every element a read of its own, so the stretch between them is read.
  const span = isContiguous ? width : width * stride(columnAxis);
  const every = Math.max(1, Math.ceil((height * span) / MOST_READ));
  if (span > MOST_READ) {
    throw new UnusableInputError({
      code: 'tensor-too-large',
      file: file.path,
      found: `a slice of "${name}" whose rows stretch over ${span} elements`,
      expected: `at most ${MOST_READ}`,
      advice: 'Show the last axis to the right, or zoom in.',
    });
  }
  const rows = Math.ceil(height / every);
  const values = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const start = base + (window.top + row * every) * stride(rowAxis) + window.left * stride(columnAxis);
    const last = (width - 1) * stride(columnAxis);
    const { data } = file.read(name, { start, end: start + last + 1 });
    for (let column = 0; column < width; column++) {
      values[row * width + column] = data[column * stride(columnAxis)]!;
    }
  }
  return { values, rows, columns: width, slice, window, every };
}

function clip(window: SliceRequest['window'], { rows, columns }: Window['slice']): Window['window'] {
  const whole = (value: number | undefined, low: number, high: number, fallback: number): number =>
    value === undefined || !Number.isFinite(value) ? fallback : Math.min(Math.max(Math.floor(value), low), high);
  const top = whole(window?.top, 0, Math.max(rows - 1, 0), 0);
  const left = whole(window?.left, 0, Math.max(columns - 1, 0), 0);
  return {
    top,
    left,
    bottom: whole(window?.bottom, Math.min(top + 1, rows), rows, rows),
    right: whole(window?.right, Math.min(left + 1, columns), columns, columns),
  };
}

/** Averages a window down to at most {@link MOST_CELLS} cells each way. @param known largest magnitude of the tensor, where it is known */
export function toCells({ values, rows, columns, slice, window, every }: Window, known: number | undefined): Slice {
  const cellRows = Math.min(rows, MOST_CELLS);
  const cellColumns = Math.min(columns, MOST_CELLS);
  const sums = new Float64Array(cellRows * cellColumns);
  const counts = new Float64Array(cellRows * cellColumns);
  let largest = 0;
  for (let row = 0; row < rows; row++) {
    const cellRow = Math.floor((row * cellRows) / rows);
    for (let column = 0; column < columns; column++) {
      const value = values[row * columns + column]!;
      if (Number.isFinite(value)) {
        const cell = cellRow * cellColumns + Math.floor((column * cellColumns) / columns);
        sums[cell]! += value;
        counts[cell]!++;
        largest = Math.max(largest, Math.abs(value));
      }
    }
  }
  const cells = sums.map((sum, at) => sum / counts[at]!);
  return {
    ...slice,
    window,
    cellRows,
    cellColumns,
    cells: toBase64(cells),
    scale: known ?? largest,
    ...(every > 1 ? { note: `One row in ${every} is read; zoom in to see all.` } : {}),
  };
}

/** Two windows of one shape: there - here. */
export function subtract(here: Window, there: Window): Window {
  return { ...here, values: here.values.map((value, at) => there.values[at]! - value) };
}

export function toBase64(values: Float64Array | Float32Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
}

const MOST_TEXT = 512;

/** Up to 512 elements as text, row-major from `start` on. */
export function textOf(file: TensorFile, { name, shape }: TensorEntry, start: number): ElementText {
  const total = elementCount(shape);
  const from = Math.min(Math.max(Math.floor(start), 0), Math.max(total - 1, 0));
  const end = Math.min(from + MOST_TEXT, total);
  const { data } = file.read(name, { start: from, end });
  return { start: from, values: Array.from(data, String), total };
}

/**
 * The first {@link MOST_FILTERS} filters of a convolution: in colour where there are three input channels, else one
 * input channel.
 *
 * @throws RangeError when the tensor has no such shape or channel
 */
export function filtersOf(file: TensorFile, { name, shape }: TensorEntry, input: number): FilterImages {
  const [count = 0, inputs = 0, height = 0, width = 0] = shape;
  if (!hasFilters(shape) || input < 0 || input >= inputs) {
    throw new RangeError(`Input channel ${input} of filters of shape ${shape.join(' x ')}.`);
  }
  const channels = inputs === 3 ? 3 : 1;
  const first = channels === 3 ? 0 : input;
  const shown = Math.min(count, MOST_FILTERS);
  const size = channels * height * width;
  const values = new Float32Array(shown * size);
  let scale = 0;
  for (let filter = 0; filter < shown; filter++) {
    const start = (filter * inputs + first) * height * width;
    const { data } = file.read(name, { start, end: start + size });
    values.set(data, filter * size);
    scale = data.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), scale);
  }
  return { count, height, width, channels, inputs, values: toBase64(values), scale };
}
