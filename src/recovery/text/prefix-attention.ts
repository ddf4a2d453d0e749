import type { ProductKernel } from '../../graph/product-kernel.js';
import { dotAt } from '../vectors.js';
import { type AttentionValues, type Projected, rotated } from './first-attention.js';

/** What the first attention makes of tokens behind one prefix: many tokens at once, by products of matrices. */

/** Tokens that may stand at one position, projected and rotated to it. */
export interface AtPosition {
  readonly count: number;
  /** Of each head: count x headWidth. */
  readonly queries: readonly Float64Array[];
  /** Of each token: keyValueHeads x headWidth. */
  readonly keys: readonly Float64Array[];
  readonly values: readonly Float64Array[];
  /** Of each token's query over its own key: count x heads. */
  readonly ownLogits: Float64Array;
}

/** @param count inputs that were projected */
export function placedAt(
  position: number,
  count: number,
  projected: Projected,
  attention: AttentionValues,
): AtPosition {
  const { heads, headWidth, scale } = attention;
  const rows = (data: Float64Array): Float64Array[] => {
    const width = data.length / count;
    return Array.from({ length: count }, (_, at) => data.slice(at * width, (at + 1) * width));
  };
  const turned = (row: Float64Array): Float64Array => rotated(row, position, attention);
  const queries = rows(projected.queries).map(turned);
  const keys = rows(projected.keys).map(turned);
  const ownLogits = new Float64Array(count * heads);
  for (let at = 0; at < count; at++) {
    for (let head = 0; head < heads; head++) {
      const key = headOf(keys[at]!, keyHead(attention, head), headWidth);
      ownLogits[at * heads + head] = scale * dotAt(queries[at]!, head * headWidth, key, headWidth);
    }
  }
  return {
    count,
    queries: Array.from({ length: heads }, (_, head) => stacked(queries, head, headWidth)),
    keys,
    values: rows(projected.values),
    ownLogits,
  };
}

/** Numbers of one block of attention weights. */
const MOST_WEIGHTS = 1 << 21;

/** How many tokens are looked at together behind a prefix, so that memory is bounded. */
export function tokensAtOnce({ heads }: AttentionValues, prefix: number): number {
  return Math.max(1, Math.floor(MOST_WEIGHTS / (heads * (prefix + 1))));
}

export class PrefixAttention {
  private constructor(
    private readonly attention: AttentionValues,
    private readonly level: AtPosition,
    private readonly from: number,
    /** Of each head: tokens x prefix. */
    private readonly logits: readonly Float64Array[],
    private readonly values: readonly Float64Array[],
  ) {}

  /**
   * @param from the first token of the level that is looked at
   * @param to behind the last one
   * @param keys of the prefix, each keyValueHeads x headWidth
   */
  static async of(
    attention: AttentionValues,
    level: AtPosition,
    { from, to }: { readonly from: number; readonly to: number },
    { keys, values }: { readonly keys: readonly Float64Array[]; readonly values: readonly Float64Array[] },
    product: ProductKernel,
  ): Promise<PrefixAttention> {
    const { heads, headWidth } = attention;
    const logits: Float64Array[] = [];
    for (let head = 0; head < heads && keys.length > 0; head++) {
      const queries = level.queries[head]!.slice(from * headWidth, to * headWidth);
      const before = stacked(keys, keyHead(attention, head), headWidth);
      logits.push(await product(queries, before, to - from, keys.length, headWidth));
    }
    return new PrefixAttention(attention, level, from, logits, values);
  }

  /**
   * Weights of one token over the prefix and, last, itself.
   *
   * @param isHidden whether a mask hides the token from itself
   * @returns heads x (prefix + 1)
   */
  weights(token: number, isHidden: boolean): Float64Array {
    const { heads, scale } = this.attention;
    const before = this.values.length;
    const out = new Float64Array(heads * (before + 1));
    for (let head = 0; head < heads; head++) {
      const start = head * (before + 1);
      const from = (token - this.from) * before;
      const own = isHidden ? -Infinity : this.level.ownLogits[token * heads + head]!;
      let top = own;
      for (let at = 0; at < before; at++) {
        const logit = this.logits[head]![from + at]! * scale;
        out[start + at] = logit;
        top = Math.max(top, logit);
      }
      out[start + before] = own;
      let total = 0;
      for (let at = start; at <= start + before; at++) {
        const weight = Math.exp(out[at]! - top);
        out[at] = weight;
        total += weight;
      }
      for (let at = start; at <= start + before; at++) {
        out[at]! /= total;
      }
    }
    return out;
  }

  /**
   * What the output projection is given: the values, weighted.
   *
   * @param weights as above, of each of n tokens
   * @param tokens the same n
   * @returns n x (heads x headWidth)
   */
  async outputs(
    weights: readonly Float64Array[],
    tokens: readonly number[],
    product: ProductKernel,
  ): Promise<Float64Array> {
    const { heads, headWidth } = this.attention;
    const [count, before] = [tokens.length, this.values.length];
    const width = heads * headWidth;
    const out = new Float64Array(count * width);
    for (let head = 0; head < heads; head++) {
      const from = keyHead(this.attention, head) * headWidth;
      const start = head * (before + 1);
      const mixed =
        before > 0 && count > 0
          ? await product(
              rowsBetween(weights, start, start + before),
              columnsOf(this.values, from, headWidth),
              count,
              headWidth,
              before,
            )
          : new Float64Array(count * headWidth);
      for (let at = 0; at < count; at++) {
        const own = this.level.values[tokens[at]!]!;
        const share = weights[at]![start + before]!;
        for (let col = 0; col < headWidth; col++) {
          out[at * width + head * headWidth + col] = mixed[at * headWidth + col]! + share * own[from + col]!;
        }
      }
    }
    return out;
  }
}

/** The head of keys and values that a head of queries shares. */
function keyHead({ heads, keyValueHeads }: AttentionValues, head: number): number {
  return Math.floor(head / (heads / keyValueHeads));
}

function headOf(row: Float64Array, head: number, headWidth: number): Float64Array {
  return row.subarray(head * headWidth, (head + 1) * headWidth);
}

/** One head of vectors: n x headWidth. */
function stacked(vectors: readonly Float64Array[], head: number, headWidth: number): Float64Array {
  return rowsBetween(vectors, head * headWidth, (head + 1) * headWidth);
}

function rowsBetween(vectors: readonly Float64Array[], from: number, to: number): Float64Array {
  const out = new Float64Array(vectors.length * (to - from));
  vectors.forEach((vector, at) => {
    out.set(vector.subarray(from, to), at * (to - from));
  });
  return out;
}

/** Columns of vectors, each as a row: width x n. */
function columnsOf(vectors: readonly Float64Array[], from: number, width: number): Float64Array {
  const out = new Float64Array(width * vectors.length);
  for (let at = 0; at < vectors.length; at++) {
    for (let col = 0; col < width; col++) {
      out[col * vectors.length + at] = vectors[at]![from + col]!;
    }
  }
  return out;
}
