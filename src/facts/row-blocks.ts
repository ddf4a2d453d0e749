import { blocksOf } from '../formats/blocks.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';

/** A matrix in float64, some whole rows at a time: for what is looked through once, however large it is. */
export function* rowBlocks(file: TensorFile, entry: TensorEntry): Generator<Float64Array> {
  for (const { values } of blocksOf(file, entry, entry.shape[1] ?? 1)) {
    yield values;
  }
}
