import { type NormValues, normaliseRows } from './normalise-rows.js';
import type { Norm, Transformer } from './transformer.js';

/** Tokens as a transformer's blocks take them in, in float64. */

/** Part of a tensor of the checkpoint: its row, `width` numbers; of a vector the whole, as row 0. */
export type RowOf = (name: string, row: number) => ArrayLike<number>;

/**
 * norm(scale * tokens[t] + positions[p + offset] + types[0]) for each token.
 *
 * @param tokens N of them
 * @param positions N, from 0
 * @returns N x width
 * @throws RangeError when a token is none of the vocabulary, a position has no row, or there are not as many of both
 */
export function embed(transformer: Transformer, row: RowOf, tokens: Int32Array, positions: Int32Array): Float64Array {
  const sums = embeddingSums(transformer, row, tokens, positions);
  const { norm } = transformer.embedding;
  return norm ? normaliseRows(valuesOf(norm, row), sums) : sums;
}

/** The same before the norm. */
export function embeddingSums(
  { width, vocabulary, embedding }: Transformer,
  row: RowOf,
  tokens: Int32Array,
  positions: Int32Array,
): Float64Array {
  if (tokens.length !== positions.length || tokens.some((token) => token < 0 || token >= vocabulary)) {
    throw new RangeError(`Tokens are numbers below ${vocabulary}, each with a position.`);
  }
  const most = embedding.positionCount ?? Infinity;
  if (positions.some((position) => position < 0 || position >= most)) {
    throw new RangeError(`Positions are numbers below ${most}.`);
  }
  const out = new Float64Array(tokens.length * width);
  const type = embedding.types === null ? undefined : row(embedding.types, 0);
  tokens.forEach((token, at) => {
    const own = out.subarray(at * width, (at + 1) * width);
    const meaning = row(embedding.tokens, token);
    const position =
      embedding.positions === null ? undefined : row(embedding.positions, positions[at]! + embedding.positionOffset);
    for (let i = 0; i < width; i++) {
      own[i] = embedding.scale * meaning[i]! + (position?.[i] ?? 0) + (type?.[i] ?? 0);
    }
  });
  return out;
}

function valuesOf({ kind, weight, bias, epsilon, offset }: Norm, row: RowOf): NormValues {
  return {
    kind,
    gain: Float64Array.from(row(weight, 0), (own) => own + offset),
    bias: bias === null ? null : Float64Array.from(row(bias, 0)),
    epsilon,
  };
}
