import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import { transposed } from '../../recovery/linear-algebra.js';
import type { Pause } from '../../recovery/pause.js';
import { type HeadRows, type NextToken, type NextTokens, logitsOf } from '../../recovery/text/next-tokens.js';
import { norm } from '../../recovery/vectors.js';
import { Comparison, type Difference } from './comparison.js';
import { addEmbeddings, addRows, rowSums } from './embedding-gradients.js';
import type { Tensors } from './first-block.js';
import type { Forward } from './forward.js';
import { sharesTable } from './looked-up.js';

/** The gradient that recovered texts and targets have themselves, beside the captured one. */

export interface Misfit extends Difference {
  /** What one wrong target would leave of the head's gradient at least, relative to all that is compared. */
  readonly resolution: number;
  /** Captured less simulated rows of a head that is tied to the embedding, for tokens that are looked up: tokens x width. */
  readonly rows: { readonly tokens: readonly number[]; readonly data: Float64Array };
}

const CHUNK = 2048;

/**
 * @param targets next tokens by state
 * @param hidden states x width, as the head reads them
 */
export async function misfitOf(
  transformer: Transformer,
  tensors: Tensors,
  forward: Forward,
  hidden: Float64Array,
  head: HeadRows,
  { weights, logSums }: Pick<NextTokens, 'weights' | 'logSums'>,
  targets: readonly NextToken[],
  product: ProductKernel,
  pause: Pause,
): Promise<Misfit> {
  const { width, embedding } = transformer;
  const count = weights.length;
  const { tree } = forward;
  const sum = new Comparison();
  const byToken = new Map<number, NextToken[]>();
  for (const own of targets) {
    byToken.set(own.token, [...(byToken.get(own.token) ?? []), own]);
  }
  const slopes = async (start: number, end: number): Promise<Float64Array> => {
    const out = await logitsOf(hidden, head, start, end, product);
    for (let at = 0; at < out.length; at++) {
      out[at] = weights[at % count]! * Math.exp(out[at]! - logSums[at % count]!);
    }
    for (let token = start; token < end; token++) {
      for (const { state, share } of byToken.get(token) ?? []) {
        out[(token - start) * count + state]! -= share;
      }
    }
    return out;
  };
  const seed = new Float64Array(hidden.length);
  for (let start = 0; start < head.vocabulary; start += CHUNK) {
    await pause();
    const end = Math.min(start + CHUNK, head.vocabulary);
    const [own, weight] = [transposed(await slopes(start, end), end - start, count), head.weight(start, end)];
    const part = await product(own, transposed(weight, end - start, width), count, width, end - start);
    part.forEach((value, at) => (seed[at]! += value));
  }
  const { embedded, parameters } = await forward.gradients(seed);
  const lookedUp = rowSums(tree.tokens, embedded, width, embedding.scale);
  const { head: own } = transformer;
  const headName = own?.kind === 'language-model' ? own.weight : '';
  const states = transposed(hidden, count, width);
  const isTied = sharesTable(own);
  const mixed = isTied ? [...lookedUp.keys()] : [];
  const differences = new Float64Array(mixed.length * width);
  for (let start = 0; start < head.vocabulary; start += CHUNK) {
    await pause();
    const end = Math.min(start + CHUNK, head.vocabulary);
    const rows = await product(await slopes(start, end), states, end - start, width, count);
    const captured = head.gradient(start, end);
    if (isTied) {
      addRows(rows, lookedUp, start, width);
      for (const [at, token] of mixed.entries()) {
        for (let col = 0; token >= start && token < end && col < width; col++) {
          const place = (token - start) * width + col;
          differences[at * width + col] = captured[place]! - rows[place]!;
        }
      }
    }
    sum.add(headName, rows, captured);
  }
  addEmbeddings(sum, transformer, tensors, tree, embedded, isTied);
  for (const [name, data] of parameters) {
    if (name !== headName) {
      sum.add(name, data, tensors.gradient(name));
    }
  }
  const lengths = weights.map((_, state) => norm(hidden.subarray(state * width, (state + 1) * width)));
  const changes = targets.map(({ state, share }) => share * lengths[state]!);
  const least = changes.length === 0 ? 0 : changes.reduce((one, other) => Math.min(one, other));
  const difference = sum.result();
  return {
    ...difference,
    resolution: (Math.SQRT2 * least) / difference.size,
    rows: { tokens: mixed, data: differences },
  };
}
