import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import { transposed } from '../../recovery/linear-algebra.js';
import type { Pause } from '../../recovery/pause.js';
import { type HeadRows, type NextToken, type NextTokens, logitsOf } from '../../recovery/text/next-tokens.js';
import { norm } from '../../recovery/vectors.js';
import { Comparison, type Difference } from './comparison.js';
import { addEmbeddings, rowSums } from './embedding-gradients.js';
import type { Tensors } from './first-block.js';
import type { Forward } from './forward.js';
import { headNorm } from './last-tokens.js';
import { sharesTable } from './looked-up.js';

/** The gradient that recovered texts and targets have themselves, beside the captured one. */

export interface Misfit extends Difference {
  /** What one wrong target would leave of the head's gradient at least, relative to all that is compared. */
  readonly resolution: number;
  /** Captured less simulated rows of a head that is tied to the embedding, for tokens that are looked up: tokens x width. */
  readonly rows: { readonly tokens: readonly number[]; readonly data: Float64Array };
  /** Captured less simulated gradient of the gain of the norm before the head, width numbers; null without one. */
  readonly normRest: Float64Array | null;
}

const CHUNK = 2048;

/** Moves a row to another matrix, and leaves zeros. */
function takeRow(from: Float64Array, row: number, to: Float64Array, at: number, width: number): void {
  const own = from.subarray(row * width, (row + 1) * width);
  to.set(own, at * width);
  own.fill(0);
}

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
  const { head: own } = transformer;
  const headName = own?.kind === 'language-model' ? own.weight : '';
  const isTied = sharesTable(own);
  const lookedUp = isTied ? [...new Set(tree.tokens)] : [];
  // Rows that look-ups are added to, which are known after the head's part of all rows.
  const mixed = {
    simulated: new Float64Array(lookedUp.length * width),
    captured: new Float64Array(lookedUp.length * width),
  };
  const states = transposed(hidden, count, width);
  const seed = new Float64Array(hidden.length);
  for (let start = 0; start < head.vocabulary; start += CHUNK) {
    await pause();
    const end = Math.min(start + CHUNK, head.vocabulary);
    const [slope, weight] = [await slopes(start, end), head.weight(start, end)];
    const [turned, columns] = [transposed(slope, end - start, count), transposed(weight, end - start, width)];
    const part = await product(turned, columns, count, width, end - start);
    for (let at = 0; at < part.length; at++) {
      seed[at]! += part[at]!;
    }
    const rows = await product(slope, states, end - start, width, count);
    const captured = head.gradient(start, end).slice();
    lookedUp.forEach((token, at) => {
      if (token >= start && token < end) {
        takeRow(rows, token - start, mixed.simulated, at, width);
        takeRow(captured, token - start, mixed.captured, at, width);
      }
    });
    sum.add(headName, rows, captured);
  }
  const { embedded, parameters } = await forward.gradients(seed);
  const added = rowSums(tree.tokens, embedded, width, embedding.scale);
  lookedUp.forEach((token, at) => {
    added.get(token)!.forEach((value, col) => (mixed.simulated[at * width + col]! += value));
  });
  sum.add(headName, mixed.simulated, mixed.captured);
  addEmbeddings(sum, transformer, tensors, tree, embedded, isTied);
  for (const [name, data] of parameters) {
    if (name !== headName) {
      sum.add(name, data, tensors.gradient(name));
    }
  }
  const normGain = headNorm(transformer)?.weight ?? '';
  const simulatedGain = parameters.get(normGain);
  const lengths = weights.map((_, state) => norm(hidden.subarray(state * width, (state + 1) * width)));
  const changes = targets.map(({ state, share }) => share * lengths[state]!);
  const least = changes.length === 0 ? 0 : changes.reduce((one, other) => Math.min(one, other));
  const difference = sum.result();
  return {
    ...difference,
    resolution: (Math.SQRT2 * least) / difference.size,
    rows: { tokens: lookedUp, data: mixed.captured.map((value, at) => value - mixed.simulated[at]!) },
    normRest: simulatedGain ? tensors.gradient(normGain).map((value, at) => value - simulatedGain[at]!) : null,
  };
}
