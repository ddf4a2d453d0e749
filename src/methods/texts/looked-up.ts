import type { Transformer } from '../../network/transformers/transformer.js';
import type { Tensors } from './first-block.js';

/** What of the embeddings was looked up, by the rows of their gradients. */

/** Where position embeddings have no gradient of their own, this many are tried. */
const MOST_POSITIONS = 512;

/** Tokens that may be in the batch: those whose rows have a gradient, all where the head shares the table. */
export function tokensOf({ vocabulary, embedding, head }: Transformer, tensors: Tensors): number[] {
  const all = Array.from({ length: vocabulary }, (_, token) => token);
  const isTied = head?.kind === 'language-model' && head.weight === embedding.tokens;
  return isTied || !tensors.hasGradient(embedding.tokens) ? all : touched(embedding.tokens, vocabulary, tensors);
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
    const width = data.length / (end - start);
    for (let row = 0; row < end - start; row++) {
      if (data.subarray(row * width, (row + 1) * width).some((value) => value !== 0)) {
        found.push(start + row);
      }
    }
  }
  return found;
}
