import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { HeadRows, NextToken, NextTokens } from '../../recovery/text/next-tokens.js';
import type { Pause } from '../../recovery/pause.js';
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
/** What does not leave less than this share leaves as much, but for rounding. */
const LESS = 1 - 1e-9;

/**
 * From the gradient of the norm before the head, to which the loss is linear: with h_s = gain * n_s it is sum_s n_s * (W^T g_s)
 * for the slopes g_s of the logits, so that token v in the place of u adds share * n_s * (W_u - W_v). Exact but for noise, and
 * one equation per number of a state.
 *
 * @param last supposed tokens
 * @param hidden states x width, as the head reads them
 * @returns as many; undefined where there is no such gradient
 */
export async function correctedByNorm(
  last: readonly NextToken[],
  { rows: { tokens }, normRest }: Pick<Misfit, 'rows' | 'normRest'>,
  transformer: Pick<Transformer, 'head' | 'finalNorm'>,
  tensors: Pick<Tensors, 'normOf'>,
  hidden: Float64Array,
  head: Pick<HeadRows, 'width' | 'weight'>,
  pause: Pause,
): Promise<NextToken[] | undefined> {
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
  const choice = new Choice(last, normRest, normal, weightOf);
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    // States are much alike, so that the right tokens at each other's places leave little: exchanges are tried as well.
    const hasChanged = [
      await choice.changeOne(tokens, pause),
      await choice.exchange(2, pause),
      await choice.exchange(3, pause),
    ].includes(true);
    if (!hasChanged) {
      break;
    }
  }
  return last.map((own, at) => ({ ...own, token: choice.chosen[at]! }));
}

/** Tokens at places, and what of the gradient they leave. */
class Choice {
  readonly chosen: number[];
  private rest: Float64Array;

  constructor(
    last: readonly NextToken[],
    rest: Float64Array,
    private readonly normal: readonly Float64Array[],
    private readonly weightOf: ReadonlyMap<number, Float64Array>,
  ) {
    this.chosen = last.map(({ token }) => token);
    this.rest = rest.slice();
  }

  /** The best token at each place, one after the other. @returns whether any changed */
  async changeOne(tokens: readonly number[], pause: Pause): Promise<boolean> {
    let hasChanged = false;
    for (const at of this.chosen.keys()) {
      await pause();
      hasChanged = this.take(tokens.map((token) => [[at, token]] as const)) || hasChanged;
    }
    return hasChanged;
  }

  /** Tokens of so many places moved round among them. */
  async exchange(count: 2 | 3, pause: Pause): Promise<boolean> {
    let hasChanged = false;
    for (let one = 0; one < this.chosen.length; one++) {
      for (let other = one + 1; other < this.chosen.length; other++) {
        await pause();
        const [first, second] = [this.chosen[one]!, this.chosen[other]!];
        const moves =
          count === 2
            ? [[[one, second] as const, [other, first] as const]]
            : this.chosen.flatMap((third, at) =>
                at === one || at === other
                  ? []
                  : [[[one, second] as const, [other, third] as const, [at, first] as const]],
              );
        hasChanged = this.take(moves) || hasChanged;
      }
    }
    return hasChanged;
  }

  /** Takes the move that leaves least, if it leaves less than none. */
  private take(moves: readonly (readonly (readonly [number, number])[])[]): boolean {
    let best = { left: norm(this.rest), rest: this.rest, move: undefined as (typeof moves)[number] | undefined };
    for (const move of moves) {
      const rest = this.rest.slice();
      for (const [at, token] of move) {
        const [from, to, factor] = [this.weightOf.get(this.chosen[at]!)!, this.weightOf.get(token)!, this.normal[at]!];
        for (let col = 0; col < rest.length; col++) {
          rest[col]! += factor[col]! * (to[col]! - from[col]!);
        }
      }
      const left = norm(rest);
      best = left < LESS * best.left ? { left, rest, move } : best;
    }
    if (!best.move) {
      return false;
    }
    this.rest = best.rest;
    for (const [at, token] of best.move) {
      this.chosen[at] = token;
    }
    return true;
  }
}

/** The norm whose output the head multiplies. */
export function headNorm({ head, finalNorm }: Pick<Transformer, 'head' | 'finalNorm'>): Transformer['finalNorm'] {
  return head?.kind === 'language-model' && head.transform ? head.transform.norm : finalNorm;
}
