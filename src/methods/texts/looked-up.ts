import type { Head, Transformer } from '../../network/transformers/transformer.js';
import { touchedRows } from '../../recovery/embedding-rows.js';
import type { Tensors } from './first-block.js';

/** What of the embeddings was looked up, by the rows of their gradients. */

/** Where position embeddings have no gradient of their own, this many are tried. */
const MOST_POSITIONS = 512;

/** Whether a head's weight is the embedding's, so that its gradient holds both. */
export function sharesTable(head: Head | null): boolean {
  return head?.kind === 'language-model' && head.tied;
}

/** Tokens that may be in the batch: those whose rows have a gradient, all where the head shares the table. */
export function tokensOf({ vocabulary, embedding, head }: Transformer, tensors: Tensors): number[] {
  const all = Array.from({ length: vocabulary }, (_, token) => token);
  return sharesTable(head) || !tensors.hasGradient(embedding.tokens)
    ? all
    : touched(embedding.tokens, vocabulary, tensors);
}

/** Positions that may be in the batch, from 0. */
export function positionsOf({ embedding }: Transformer, tensors: Tensors): number[] {
  const { positions, positionOffset } = embedding;
  if (positions === null) {
    return [0];
  }
  const count = tensors.shape(positions)[0] ?? 0;
  return tensors.hasGradient(positions)
    ? touched(positions, count, tensors).flatMap((row) => (row >= positionOffset ? [row - positionOffset] : []))
    : Array.from({ length: Math.min(count - positionOffset, MOST_POSITIONS) }, (_, at) => at);
}

const PIECE = 1024;

/** Rows of an embedding's gradient that are not zero. */
function touched(name: string, count: number, tensors: Tensors): number[] {
  const found: number[] = [];
  for (let start = 0; start < count; start += PIECE) {
    const end = Math.min(start + PIECE, count);
    const data = tensors.rows(name, start, end, 'gradient');
    const rows = end - start;
    found.push(...touchedRows({ rows, cols: data.length / rows, data }).map((row) => start + row));
  }
  return found;
}
