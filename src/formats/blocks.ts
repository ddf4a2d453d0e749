import { type ElementRange, type TensorEntry, type TensorFile, elementCount } from './tensor-file.js';

/** Numbers of a block, unless one row has more: 4 MB of float64, small against memory and large against the cost of a read. */
const BLOCK = 2 ** 19;
/** Each block of what is scattered over the file goes through all of it, so they are few: 128 MB of float64. */
export const SCATTERED_BLOCK = 2 ** 24;

/** The next numbers of a tensor, row-major. */
export interface Block {
  /** Index of the first one in the tensor. */
  readonly start: number;
  readonly values: Float64Array;
}

/**
 * A tensor of any size in float64, block after block: what is only looked through is never in memory as a whole. The numbers
 * are those that reading it at once gives.
 *
 * @param unit blocks begin and end at multiples of so many elements, such as the length of a row
 * @throws UnusableInputError as reading does, at the block that cannot be read
 */
export function* blocksOf(
  file: TensorFile,
  { name, shape, isRepeated, isScattered }: Pick<TensorEntry, 'name' | 'shape' | 'isRepeated' | 'isScattered'>,
  unit = 1,
  block = isScattered ? SCATTERED_BLOCK : BLOCK,
): Generator<Block> {
  const total = elementCount(shape);
  // A few bytes that claim to be terabytes are refused when they are asked for as a whole.
  const size = isRepeated ? total : Math.max(1, Math.floor(block / Math.max(1, unit))) * unit;
  for (let start = 0; start < total; start += size) {
    const range: ElementRange = { start, end: Math.min(start + size, total) };
    yield { start, values: file.read(name, range).data };
  }
}
