import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { HeadRows, NextToken, NextTokens } from '../../recovery/text/next-tokens.js';
import { most, norm } from '../../recovery/vectors.js';
import type { Tensors } from './first-block.js';
import type { Misfit } from './simulated.js';

/** Last tokens anew, from what the gradient simulated with the wrong ones leaves. */

/**
 * From the rows that hold both the head's and the look-ups' part, as if only the head's were wrong.
 *
 * @param last supposed tokens
 * @returns as many
 */
export async function correctedByRows(
  last: readonly NextToken[],
  { rows: { tokens, data } }: Misfit,
  { inverse, weights }: NextTokens,
  product: ProductKernel,
): Promise<NextToken[]> {
  const count = weights.length;
  const y = await product(data, inverse, tokens.length, count, data.length / tokens.length);
  return last.map((own) => {
    const shares = tokens.map((token, at) => (token === own.token ? own.share : 0) - y[at * count + own.state]!);
    return { ...own, token: tokens[shares.indexOf(most(shares))]! };
  });
}

/** Sweeps over the states. */
const MOST_SWEEPS = 12;

/**
 * From the gradient of the norm before the head, to which the loss is linear: with h_s = gain * n_s it is sum_s n_s * (W^T g_s)
 * for the slopes g_s of the logits, so that token v in the place of u adds share * n_s * (W_u - W_v). Exact but for noise, and
 * one equation per number of a state.
 *
 * @param last supposed tokens
 * @param hidden states x width, as the head reads them
 * @returns as many; undefined where there is no such gradient
 */
export function correctedByNorm(
  last: readonly NextToken[],
  { rows: { tokens }, normRest }: Pick<Misfit, 'rows' | 'normRest'>,
  transformer: Pick<Transformer, 'head' | 'finalNorm'>,
  tensors: Pick<Tensors, 'normOf'>,
  hidden: Float64Array,
  head: Pick<HeadRows, 'width' | 'weight'>,
): NextToken[] | undefined {
  const before = headNorm(transformer);
  if (!before || !normRest || tokens.length === 0) {
    return undefined;
  }
  const { width } = head;
  const { gain, bias } = tensors.normOf(before);
  const weightOf = new Map(
    [...new Set([...tokens, ...last.map(({ token }) => token)])].map((token) => [token, head.weight(token, token + 1)]),
  );
  const normal = last.map(({ state, share }) =>
    hidden
      .subarray(state * width, (state + 1) * width)
      .map((value, col) => (gain[col] === 0 ? 0 : (share * (value - (bias?.[col] ?? 0))) / gain[col]!)),
  );
  const chosen = last.map(({ token }) => token);
  const rest = normRest.slice();
  const change = (at: number, from: number, to: number): void => {
    const [one, other] = [weightOf.get(from)!, weightOf.get(to)!];
    for (let col = 0; col < width; col++) {
      rest[col]! += normal[at]![col]! * (other[col]! - one[col]!);
    }
  };
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    let hasChanged = false;
    for (const at of last.keys()) {
      const [own] = [chosen[at]!];
      let best = { token: own, left: norm(rest) };
      for (const token of tokens) {
        change(at, own, token);
        const left = norm(rest);
        change(at, token, own);
        best = left < best.left ? { token, left } : best;
      }
      if (best.token !== own) {
        change(at, own, best.token);
        chosen[at] = best.token;
        hasChanged = true;
      }
    }
    if (!hasChanged) {
      break;
    }
  }
  return last.map((own, at) => ({ ...own, token: chosen[at]! }));
}

/** The norm whose output the head multiplies. */
export function headNorm({ head, finalNorm }: Pick<Transformer, 'head' | 'finalNorm'>): Transformer['finalNorm'] {
  return head?.kind === 'language-model' && head.transform ? head.transform.norm : finalNorm;
}
