import type { ProductKernel } from '../../graph/product-kernel.js';
import { type NormValues, normaliseRows } from '../../network/transformers/normalise-rows.js';

/** A linear map: weight outputs x inputs, row-major. */
export interface LinearValues {
  readonly weight: Float64Array;
  readonly bias: Float64Array | null;
  readonly outputs: number;
}

/** Numbers of the first block's attention. */
export interface AttentionValues {
  readonly width: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headWidth: number;
  readonly query: LinearValues;
  readonly key: LinearValues;
  readonly value: LinearValues;
  readonly queryNorm: NormValues | null;
  readonly keyNorm: NormValues | null;
  /** Factor of the products of queries and keys. */
  readonly scale: number;
  /** Angles per position, headWidth / 2 of them; null without rotation. */
  readonly rotary: { readonly frequencies: Float64Array; readonly scale: number } | null;
}

/** Queries, keys and values of n inputs, before rotation: n x (heads x headWidth), keys and values of fewer heads. */
export interface Projected {
  readonly queries: Float64Array;
  readonly keys: Float64Array;
  readonly values: Float64Array;
}

/** @param inputs n x width, row-major */
export async function project(
  attention: AttentionValues,
  inputs: Float64Array,
  product: ProductKernel,
): Promise<Projected> {
  const queries = await linear(attention.query, inputs, product);
  const keys = await linear(attention.key, inputs, product);
  return {
    queries: attention.queryNorm ? normaliseRows(attention.queryNorm, queries) : queries,
    keys: attention.keyNorm ? normaliseRows(attention.keyNorm, keys) : keys,
    values: await linear(attention.value, inputs, product),
  };
}

/**
 * x weight^T + bias
 *
 * @param inputs n x (weight.length / outputs), row-major
 * @returns n x outputs
 */
export async function linear(
  { weight, bias, outputs }: LinearValues,
  inputs: Float64Array,
  product: ProductKernel,
): Promise<Float64Array> {
  const inner = weight.length / outputs;
  const out = await product(inputs, weight, inputs.length / inner, outputs, inner);
  if (bias) {
    for (let at = 0; at < out.length; at++) {
      out[at]! += bias[at % outputs]!;
    }
  }
  return out;
}

/**
 * Rotates the pairs (i, i + headWidth / 2) of every head by position x frequency (Su et al., RoFormer, 2021), in the
 * order of Hugging Face's models.
 *
 * @param row heads x headWidth numbers; left as it is
 */
export function rotated(
  row: Float64Array,
  position: number,
  { headWidth, rotary }: Pick<AttentionValues, 'headWidth' | 'rotary'>,
): Float64Array {
  if (!rotary) {
    return row;
  }
  const out = new Float64Array(row.length);
  const half = headWidth / 2;
  for (let pair = 0; pair < half; pair++) {
    const angle = position * rotary.frequencies[pair]!;
    const [cos, sin] = [Math.cos(angle) * rotary.scale, Math.sin(angle) * rotary.scale];
    for (let start = 0; start < row.length; start += headWidth) {
      const [a, b] = [row[start + pair]!, row[start + pair + half]!];
      out[start + pair] = a * cos - b * sin;
      out[start + pair + half] = b * cos + a * sin;
    }
  }
  return out;
}

/**
 * Weights of one query over keys, head by head.
 *
 * @param query heads x headWidth, rotated
 * @param keys each keyValueHeads x headWidth, rotated
 * @returns heads x keys.length
 */
export function attentionWeights(
  { heads, keyValueHeads, headWidth, scale }: AttentionValues,
  query: Float64Array,
  keys: readonly Float64Array[],
): Float64Array {
  const weights = new Float64Array(heads * keys.length);
  const shared = heads / keyValueHeads;
  for (let head = 0; head < heads; head++) {
    const [from, other] = [head * headWidth, Math.floor(head / shared) * headWidth];
    let top = -Infinity;
    for (let at = 0; at < keys.length; at++) {
      const key = keys[at]!;
      let sum = 0;
      for (let col = 0; col < headWidth; col++) {
        sum += query[from + col]! * key[other + col]!;
      }
      weights[head * keys.length + at] = sum * scale;
      top = Math.max(top, sum * scale);
    }
    let total = 0;
    for (let at = 0; at < keys.length; at++) {
      const weight = Math.exp(weights[head * keys.length + at]! - top);
      weights[head * keys.length + at] = weight;
      total += weight;
    }
    for (let at = 0; at < keys.length; at++) {
      weights[head * keys.length + at]! /= total;
    }
  }
  return weights;
}

/**
 * What the output projection is given: the values, weighted.
 *
 * @param weights heads x values.length
 * @param values each keyValueHeads x headWidth
 * @returns heads x headWidth
 */
export function attended(
  { heads, keyValueHeads, headWidth }: AttentionValues,
  weights: Float64Array,
  values: readonly Float64Array[],
): Float64Array {
  const out = new Float64Array(heads * headWidth);
  const shared = heads / keyValueHeads;
  for (let head = 0; head < heads; head++) {
    const [to, from] = [head * headWidth, Math.floor(head / shared) * headWidth];
    for (let at = 0; at < values.length; at++) {
      const weight = weights[head * values.length + at]!;
      const value = values[at]!;
      for (let col = 0; col < headWidth; col++) {
        out[to + col]! += weight * value[from + col]!;
      }
    }
  }
  return out;
}
