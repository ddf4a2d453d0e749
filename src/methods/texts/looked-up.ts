import type { Head, Transformer } from '../../network/transformers/transformer.js';
import { norm } from '../../recovery/vectors.js';
import type { Tensors } from './first-block.js';

/** What of the embeddings was looked up, by the rows of their gradients. */

/** Where position embeddings have no gradient of their own, this many are tried. */
const MOST_POSITIONS = 512;

/** Whether a head's weight is the embedding's, so that its gradient holds both. */
export function sharesTable(head: Head | null): boolean {
  return head?.kind === 'language-model' && head.tied;
}

export interface LookUps {
  /** Tokens that may be in the batch: those whose rows have a gradient above its noise, all where the head shares the table. */
  readonly tokens: readonly number[];
  /** Positions that may be in the batch, from 0. */
  readonly positions: readonly number[];
}

export function lookUpsOf(transformer: Transformer, tensors: Tensors): LookUps {
  const { vocabulary, width, embedding, head } = transformer;
  const lengths =
    sharesTable(head) || !tensors.hasGradient(embedding.tokens)
      ? undefined
      : lengthsOf(embedding.tokens, vocabulary, width, tensors);
  const tokens = lengths ? tokenRows(lengths, width) : Array.from({ length: vocabulary }, (_, token) => token);
  const hasNoise = lengths !== undefined && isNoisy(lengths, width);
  return { tokens, positions: positionsOf(transformer, tensors, hasNoise) };
}

function positionsOf({ width, embedding }: Transformer, tensors: Tensors, hasNoise: boolean): number[] {
  const { positions, positionOffset } = embedding;
  if (positions === null) {
    return [0];
  }
  const count = tensors.shape(positions)[0] ?? 0;
  if (!tensors.hasGradient(positions)) {
    return Array.from({ length: Math.min(count - positionOffset, MOST_POSITIONS) }, (_, at) => at);
  }
  const lengths = lengthsOf(positions, count, width, tensors);
  const rows = hasNoise ? positionRows(lengths) : nonZero(lengths);
  return rows.flatMap((row) => (row >= positionOffset ? [row - positionOffset] : []));
}

const PIECE = 1024;

/** Lengths of the rows of an embedding's gradient. */
function lengthsOf(name: string, count: number, width: number, tensors: Tensors): Float64Array {
  const lengths = new Float64Array(count);
  for (let start = 0; start < count; start += PIECE) {
    const data = tensors.rows(name, start, Math.min(start + PIECE, count), 'gradient');
    for (let at = 0; at * width < data.length; at++) {
      lengths[start + at] = norm(data.subarray(at * width, (at + 1) * width));
    }
  }
  return lengths;
}

/** Rows of equal noise differ by less. */
const NOISE_FACTOR = 2;

function nonZero(lengths: Float64Array): number[] {
  return [...lengths.keys()].filter((row) => lengths[row]! > 0);
}

/** Whether more tokens have a gradient than a batch can have, so that most rows hold noise alone. */
function isNoisy(lengths: Float64Array, width: number): boolean {
  const { length } = nonZero(lengths);
  return length > width && length > lengths.length / 2;
}

function tokenRows(lengths: Float64Array, width: number): number[] {
  const rows = nonZero(lengths);
  if (!isNoisy(lengths, width)) {
    return rows;
  }
  const level = lengths.slice().sort()[Math.floor(lengths.length / 2)]!;
  return rows.filter((row) => lengths[row]! > NOISE_FACTOR * level);
}

/** Positions are used from the first on: behind the last one all rows are of equal noise. */
function positionRows(lengths: Float64Array): number[] {
  const rows = nonZero(lengths);
  const last = lengths.at(-1) ?? 0;
  const end = lengths.findLastIndex((length) => length > NOISE_FACTOR * last) + 1;
  const rest = lengths.subarray(end);
  const isNoise = end > 0 && rest.length >= LEAST_NOISE && rest.every((length) => length * NOISE_FACTOR > last);
  return isNoise ? rows.filter((row) => row < end) : rows;
}

/** Fewer rows that are alike may be positions that were used. */
const LEAST_NOISE = 16;
