import { UnusableInputError } from '../protocol/errors.js';
import type { PictureRequest, Pictures } from '../protocol/inspection.js';
import { type PictureLayout, averageBlocks } from '../formats/average-blocks.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { MOST_READ, strideOf, toBase64 } from './slices.js';

/** Arrays of images, as pictures. */

const MOST_PICTURES = 64;
/** Numbers in one answer. */
const MOST_VALUES = 2 ** 20;
/** Elements read for one answer. */
const MOST_READ_IN_ALL = 2 ** 24;
/** Larger pictures are averaged down to this many pixels. */
const LARGEST_SIDE = 256;

/**
 * @throws RangeError when axes or indices do not fit the shape; UnusableInputError when one picture stretches over too
 *   many elements, or cannot be read
 */
export function picturesOf(file: TensorFile, entry: TensorEntry, request: PictureRequest): Pictures {
  const { name, shape } = entry;
  const { alongAxis, first } = request;
  checkAxes(shape, request);
  const layout = layoutOf(shape, request);
  const { channels, rows, columns, channelStride, rowStride, columnStride, every } = layout;
  const span = (channels - 1) * channelStride + (rows - 1) * rowStride + (columns - 1) * columnStride + 1;
  if (span > MOST_READ) {
    throw new UnusableInputError({
      code: 'tensor-too-large',
      file: file.path,
      found: `a picture of "${name}" that stretches over ${span} elements`,
      expected: `at most ${MOST_READ}`,
      advice: 'Choose other axes, or look at the heat map.',
    });
  }
  const [height, width] = [Math.ceil(rows / every), Math.ceil(columns / every)];
  const size = channels * height * width;
  const count = alongAxis < 0 ? 1 : shape[alongAxis]!;
  const most = Math.min(MOST_PICTURES, Math.floor(MOST_VALUES / size), Math.floor(MOST_READ_IN_ALL / span));
  const shown = Math.min(Math.max(most, 1), count - first);
  const base = shape.reduce(
    (sum, _, axis) => (isHeld(request, axis) ? sum + request.at[axis]! * strideOf(shape, axis) : sum),
    0,
  );
  const values = new Float32Array(shown * size);
  for (let at = 0; at < shown; at++) {
    const start = base + (alongAxis < 0 ? 0 : (first + at) * strideOf(shape, alongAxis));
    const { data } = file.read(name, { start, end: start + span });
    values.set(averageBlocks(data, layout), at * size);
  }
  return { count, first, height, width, every, channels, values: toBase64(values), ...rangeOf(values) };
}

function isHeld({ channelAxis, rowAxis, columnAxis, alongAxis }: PictureRequest, axis: number): boolean {
  return axis !== channelAxis && axis !== rowAxis && axis !== columnAxis && axis !== alongAxis;
}

function checkAxes(shape: readonly number[], request: PictureRequest): void {
  const { channelAxis, rowAxis, columnAxis, alongAxis, at, first } = request;
  const used = [channelAxis, rowAxis, columnAxis, alongAxis].filter((axis) => axis !== -1);
  const isAxis = (axis: number): boolean => Number.isInteger(axis) && axis >= 0 && axis < shape.length;
  if (!used.every(isAxis) || new Set(used).size < used.length || rowAxis < 0 || columnAxis < 0) {
    throw new RangeError(`Axes ${used.join(', ')} of a tensor with ${shape.length}.`);
  }
  if (channelAxis >= 0 && shape[channelAxis] !== 3) {
    throw new RangeError(`${shape[channelAxis]} colours along axis ${channelAxis}, where 3 can be shown.`);
  }
  const isIndex = (index: number | undefined, size: number): boolean =>
    Number.isInteger(index) && index! >= 0 && index! < size;
  const held = [...shape.keys()].filter((axis) => isHeld(request, axis));
  if (
    !held.every((axis) => isIndex(at[axis], shape[axis]!)) ||
    !isIndex(first, alongAxis < 0 ? 1 : shape[alongAxis]!)
  ) {
    throw new RangeError(`Indices ${at.join(', ')} and picture ${first} of a tensor of shape ${shape.join(' x ')}.`);
  }
  if (shape[rowAxis] === 0 || shape[columnAxis] === 0) {
    throw new RangeError(`Pictures of shape ${shape.join(' x ')}.`);
  }
}

function layoutOf(
  shape: readonly number[],
  { channelAxis, rowAxis, columnAxis }: PictureRequest,
): PictureLayout & Pick<Pictures, 'channels'> {
  const [rows, columns] = [shape[rowAxis]!, shape[columnAxis]!];
  return {
    channels: channelAxis < 0 ? 1 : 3,
    rows,
    columns,
    channelStride: channelAxis < 0 ? 0 : strideOf(shape, channelAxis),
    rowStride: strideOf(shape, rowAxis),
    columnStride: strideOf(shape, columnAxis),
    every: Math.ceil(Math.max(rows, columns) / LARGEST_SIDE),
  };
}

/** From 0 to 1 or to 255 where all lie in there, as images do; else from the least to the most. */
function rangeOf(values: Float32Array): { low: number; high: number } {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (Number.isFinite(value)) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (!(low <= high)) {
    return { low: 0, high: 1 };
  }
  return low >= 0 && high <= 255 ? { low: 0, high: high <= 1 ? 1 : 255 } : { low, high };
}
