import type { Transformer } from '../../network/transformers/transformer.js';
import type { Comparison } from './comparison.js';
import type { Tensors } from './first-block.js';
import type { TokenTree } from './forward.js';

/** Gradients of embeddings: each row is the sum over the places where it was looked up. */

const CHUNK = 2048;

/**
 * Compares the embeddings that have a gradient; that of tokens without a head's part in it.
 *
 * @param embedded gradients of the sums of embeddings, tokens x width
 */
export function addEmbeddings(
  comparison: Comparison,
  { width, embedding }: Transformer,
  tensors: Tensors,
  tree: TokenTree,
  embedded: Float64Array,
  isTied: boolean,
): void {
  const add = (name: string, places: Int32Array, scale: number): void => {
    if (!tensors.hasGradient(name)) {
      return;
    }
    const sums = rowSums(places, embedded, width, scale);
    const count = tensors.shape(name)[0] ?? 0;
    for (let start = 0; start < count; start += CHUNK) {
      const end = Math.min(start + CHUNK, count);
      const rows = new Float64Array((end - start) * width);
      addRows(rows, sums, start, width);
      comparison.add(name, rows, tensors.rows(name, start, end, 'gradient'));
    }
  };
  const { tokens, positions, types, positionOffset, scale } = embedding;
  if (!isTied) {
    add(tokens, tree.tokens, scale);
  }
  if (positions !== null) {
    add(
      positions,
      tree.positions.map((position) => position + positionOffset),
      1,
    );
  }
  if (types !== null) {
    add(types, new Int32Array(tree.tokens.length), 1);
  }
}

export function rowSums(
  places: Int32Array,
  rows: Float64Array,
  width: number,
  scale: number,
): Map<number, Float64Array> {
  const sums = new Map<number, Float64Array>();
  places.forEach((place, at) => {
    const sum = sums.get(place) ?? new Float64Array(width);
    sums.set(place, sum);
    for (let col = 0; col < width; col++) {
      sum[col]! += scale * rows[at * width + col]!;
    }
  });
  return sums;
}

function addRows(to: Float64Array, rows: ReadonlyMap<number, Float64Array>, start: number, width: number): void {
  for (const [place, row] of rows) {
    const at = (place - start) * width;
    if (at >= 0 && at < to.length) {
      row.forEach((value, col) => (to[at + col]! += value));
    }
  }
}
