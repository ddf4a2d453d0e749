import { basename } from 'node:path';
import { findVocabulary } from '../facts/vocabulary.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import type { Transformer } from '../network/transformers/transformer.js';
import { MOST_ROWS, type NonZeroRows } from '../protocol/inspection.js';
import { type Pause, forEachPiece } from './pieces.js';

/** Rows of a matrix that are not zero: of an embedding's gradient, the tokens that occur. */

/**
 * @param transformer that the file is of, where it is one: then only its tables of tokens are read as tokens
 * @param pause called between pieces; what it throws ends the scan
 * @throws RangeError when the tensor is no matrix; UnusableInputError when it cannot be read
 */
export async function nonZeroRowsOf(
  file: TensorFile,
  entry: TensorEntry,
  transformer: Transformer | undefined,
  pause: Pause,
): Promise<NonZeroRows> {
  const [rows = 0, columns = 0] = entry.shape;
  if (entry.shape.length !== 2) {
    throw new RangeError(`Rows of a tensor with ${entry.shape.length} axes.`);
  }
  const found = await scan(file, entry, columns, pause);
  const vocabulary =
    found.indices.length > 0 && canBeTokens(entry.name, transformer)
      ? findVocabulary({ gradients: file.path }, rows)
      : undefined;
  return {
    rows,
    ...found,
    ...(vocabulary
      ? {
          texts: vocabulary.textsOf(found.indices).map((text) => text ?? null),
          vocabulary: basename(vocabulary.path),
        }
      : {}),
  };
}

/** NaN and infinities are not zero; the largest of a row that has them is null. */
async function scan(
  file: TensorFile,
  entry: TensorEntry,
  columns: number,
  pause: Pause,
): Promise<Pick<NonZeroRows, 'count' | 'indices' | 'largest'>> {
  const indices: number[] = [];
  const largest: (number | null)[] = [];
  let count = 0;
  // A row may lie across pieces.
  let own = 0;
  await forEachPiece(file, entry, pause, (values, start) => {
    let column = start % columns;
    for (let at = 0; at < values.length; at++) {
      // Math.max keeps NaN.
      own = Math.max(own, Math.abs(values[at]!));
      column++;
      if (column === columns) {
        if (own !== 0) {
          count++;
          if (count <= MOST_ROWS) {
            indices.push((start + at + 1) / columns - 1);
            largest.push(Number.isFinite(own) ? own : null);
          }
        }
        own = 0;
        column = 0;
      }
    }
  });
  return { count, indices, largest };
}

function canBeTokens(name: string, transformer: Transformer | undefined): boolean {
  if (!transformer) {
    return true;
  }
  const { embedding, head } = transformer;
  return name === embedding.tokens || (head?.kind === 'language-model' && name === head.weight);
}
