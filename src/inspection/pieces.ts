import { SCATTERED_BLOCK } from '../formats/blocks.js';
import { type TensorEntry, type TensorFile, elementCount } from '../formats/tensor-file.js';

/** Tensors of any size, read piece by piece. */

/** 8 MB of float64 at a time: small against memory, large against the cost of a read. */
const PIECE = 2 ** 20;
/** Compressed members are inflated afresh for every piece, so tensors up to here are read at once. */
const AT_ONCE = 2 ** 24;
/** Longest stretch of arithmetic without a breath. */
const BREATH_MS = 30;

export type Pause = () => Promise<void>;

/** A tensor of a file that is open. */
export interface ReadTensor {
  readonly file: TensorFile;
  readonly entry: TensorEntry;
}

/** Calls `use` with a tensor's elements, row-major, in pieces; breathes in between. */
export function forEachPiece(
  file: TensorFile,
  entry: TensorEntry,
  pause: Pause,
  use: (values: Float64Array, start: number) => void,
): Promise<void> {
  return forEachOf([{ file, entry }], pause, ([values], start) => {
    use(values!, start);
  });
}

/** The same with the elements of two tensors of one shape, side by side. */
export function forEachPair(
  here: ReadTensor,
  there: ReadTensor,
  pause: Pause,
  use: (values: Float64Array, others: Float64Array) => void,
): Promise<void> {
  return forEachOf([here, there], pause, ([values, others]) => {
    use(values!, others!);
  });
}

async function forEachOf(
  tensors: readonly ReadTensor[],
  pause: Pause,
  use: (pieces: Float64Array[], start: number) => void,
): Promise<void> {
  const total = elementCount(tensors[0]!.entry.shape);
  const isAny = (is: (entry: TensorEntry) => boolean | undefined): boolean =>
    tensors.some(({ entry }) => is(entry) === true);
  // A few bytes that claim to be terabytes are refused when they are asked for as a whole.
  const isWhole = total <= AT_ONCE || isAny(({ isRepeated }) => isRepeated);
  const piece = isWhole ? total : isAny(({ isScattered }) => isScattered) ? SCATTERED_BLOCK : PIECE;
  let last = performance.now();
  for (let start = 0; start < total; start += piece) {
    const range = { start, end: Math.min(start + piece, total) };
    const blocks = tensors.map(({ file, entry }) => file.read(entry.name, range).data);
    for (let from = 0; start + from < range.end; from += PIECE) {
      use(
        blocks.map((own) => own.subarray(from, from + PIECE)),
        start + from,
      );
      if (performance.now() - last > BREATH_MS) {
        await pause();
        last = performance.now();
      }
    }
  }
}
