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

/** Calls `use` with a tensor's elements, row-major, in pieces; breathes in between. */
export async function forEachPiece(
  file: TensorFile,
  entry: TensorEntry,
  pause: Pause,
  use: (values: Float64Array, start: number) => void,
): Promise<void> {
  const total = elementCount(entry.shape);
  // A few bytes that claim to be terabytes are refused when they are asked for as a whole.
  const piece = total <= AT_ONCE || entry.isRepeated ? total : entry.isScattered ? SCATTERED_BLOCK : PIECE;
  let last = performance.now();
  for (let start = 0; start < total; start += piece) {
    const end = Math.min(start + piece, total);
    const { data } = file.read(entry.name, { start, end });
    for (let from = 0; from < data.length; from += PIECE) {
      use(data.subarray(from, from + PIECE), start + from);
      if (performance.now() - last > BREATH_MS) {
        await pause();
        last = performance.now();
      }
    }
  }
}
