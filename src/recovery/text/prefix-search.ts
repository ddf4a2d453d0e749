import type { ProductKernel } from '../../graph/product-kernel.js';
import { gaussian } from '../gaussian.js';
import { generator } from '../paper-method.js';
import type { Pause } from '../pause.js';
import { dot, joined, norm, orthonormal } from '../vectors.js';
import {
  type AttentionValues,
  type Projected,
  type AtPosition,
  attended,
  attentionWeights,
  project,
  placedAt,
} from './first-attention.js';
import { type Candidates, type FirstInputs, inputsAt } from './first-inputs.js';
import { FARTHEST, type InputSpace, distancesTo } from './input-space.js';
import { type Limits, MOST_REPEATS, PrefixForest, type Prefixes } from './prefix-forest.js';

/** Sequences of a causal model, token by token: what the first attention makes of a prefix has to lie in the batch's space. */

/** Random directions outside of the space: what is not across one of them is looked at further. */
const PROBES = 12;
/** How far above the tolerance a probe may say. */
const PROBE_MARGIN = 2;
const SEED = 11;

/**
 * Every prefix whose attention output lies in the space of the output projection's inputs (after DAGER, Petrov et al., NeurIPS
 * 2024, which checks the inputs of the second block instead: those take the MLP, these only the attention).
 */
export async function searchPrefixes(
  first: FirstInputs,
  attention: AttentionValues,
  space: InputSpace,
  { byPosition }: Candidates,
  limits: Limits,
  product: ProductKernel,
  pause: Pause,
): Promise<Prefixes> {
  const isRotary = attention.rotary !== null;
  const forest = new PrefixForest(isRotary, limits);
  const search = new Search(attention, space, forest);
  let rotary: Projected | undefined;
  const levelAt = async (position: number): Promise<Level | undefined> => {
    const tokens = byPosition[isRotary ? 0 : position]!;
    if (tokens.length === 0) {
      return undefined;
    }
    const own = rotary ?? (await project(attention, inputsAt(first, tokens, position), product));
    rotary = isRotary ? own : undefined;
    const after = isRotary ? tokens : (byPosition[position + 1] ?? []);
    return search.level(tokens, own, position, new Set([...after, ...search.paddings]));
  };
  // Each prefix takes a direction of its own, but for what repeats the first token.
  const longest = Math.min(limits.length, space.rank + MOST_REPEATS + 1);
  const extend = (parent: number, level: Level): Promise<number[]> => search.extend(parent, level, product);
  return forest.grow(isRotary ? longest : byPosition.length, levelAt, extend, pause);
}

/** The tokens that may stand at one position. */
interface Level extends AtPosition {
  readonly position: number;
  readonly tokens: readonly number[];
  /** Those that may be padding: they may also stand behind this place, or did before it. */
  readonly paddings: ReadonlySet<number>;
  readonly lengths: readonly number[];
  /** Of each value, head by head: its part along each probe. */
  readonly probes: readonly Float64Array[];
}

class Search {
  /** Tokens that were seen as padding. */
  readonly paddings = new Set<number>();
  /** Each heads x headWidth. */
  private readonly outside: readonly Float64Array[];
  /** How much longer values are as the output projection sees them, heads that share them counted each. */
  private readonly spread: number;
  private readonly keys: Float64Array[] = [];
  private readonly values: Float64Array[] = [];
  private readonly probes: Float64Array[] = [];

  constructor(
    private readonly attention: AttentionValues,
    private readonly space: InputSpace,
    private readonly forest: PrefixForest,
  ) {
    this.outside = directionsOutside(space);
    this.spread = Math.sqrt(attention.heads / attention.keyValueHeads);
  }

  level(tokens: readonly number[], projected: Projected, position: number, paddings: ReadonlySet<number>): Level {
    const placed = placedAt(position, tokens.length, projected, this.attention);
    return {
      position,
      tokens,
      paddings,
      ...placed,
      lengths: placed.values.map(norm),
      probes: placed.values.map((value) => this.probesOf(value)),
    };
  }

  /** Adds what continues a prefix. @returns the new nodes */
  async extend(parent: number, level: Level, product: ProductKernel): Promise<number[]> {
    const { nodes } = this.forest;
    const before = this.forest.before(parent, level.position);
    const [keys, values, probes] = [this.keys, this.values, this.probes].map((all) => before.map((at) => all[at]!)) as [
      Float64Array[],
      Float64Array[],
      Float64Array[],
    ];
    const outputs: Float64Array[] = [];
    const taken: { readonly at: number; readonly isPadding: boolean }[] = [];
    // No output is longer than the values that it is a mean of.
    const longestBefore = Math.max(0, ...values.map(norm));
    const attempt = (at: number, isPadding: boolean): void => {
      const own = isPadding ? [] : [at];
      const weights = attentionWeights(this.attention, level.queries[at]!, [
        ...keys,
        ...own.map((to) => level.keys[to]!),
      ]);
      const across = this.across(weights, [...probes, ...own.map((to) => level.probes[to]!)]);
      const longest = Math.max(longestBefore, ...own.map((to) => level.lengths[to]!));
      if (across === undefined || across <= PROBE_MARGIN * FARTHEST * longest * this.spread) {
        taken.push({ at, isPadding });
        outputs.push(attended(this.attention, weights, [...values, ...own.map((to) => level.values[to]!)]));
      }
    };
    const padding = nodes[parent]?.isPadding ? nodes[parent].token : undefined;
    // What only one token is attended to makes of it is that token's, whatever asks.
    const isEnd = padding !== undefined || new Set(before.map((node) => nodes[node]!.token)).size > 1;
    for (let at = 0; at < level.tokens.length; at++) {
      const token = level.tokens[at]!;
      if (padding === undefined) {
        attempt(at, false);
      }
      if (isEnd && (padding ?? token) === token && level.paddings.has(token)) {
        attempt(at, true);
      }
    }
    const distances = await distancesTo(this.space, joined(outputs), product);
    return taken.flatMap(({ at, isPadding }, index): number[] => {
      const token = level.tokens[at]!;
      const node = this.forest.add(distances[index]!, { token, position: level.position, parent, isPadding });
      if (node === undefined) {
        return [];
      }
      if (isPadding) {
        this.paddings.add(token);
      }
      this.keys.push(level.keys[at]!);
      this.values.push(level.values[at]!);
      this.probes.push(level.probes[at]!);
      return [node];
    });
  }

  /** Root mean square of the output's parts along the probes, times the root of their number outside; undefined without any. */
  private across(weights: Float64Array, probes: readonly Float64Array[]): number | undefined {
    const { heads } = this.attention;
    const count = this.outside.length;
    if (count === 0) {
      return undefined;
    }
    let square = 0;
    for (let probe = 0; probe < count; probe++) {
      let sum = 0;
      for (let head = 0; head < heads; head++) {
        for (let at = 0; at < probes.length; at++) {
          sum += weights[head * probes.length + at]! * probes[at]![head * count + probe]!;
        }
      }
      square += sum * sum;
    }
    return Math.sqrt((square / count) * (this.space.width - this.space.rank));
  }

  private probesOf(value: Float64Array): Float64Array {
    const { heads, keyValueHeads, headWidth } = this.attention;
    const count = this.outside.length;
    const out = new Float64Array(heads * count);
    const shared = heads / keyValueHeads;
    for (let head = 0; head < heads; head++) {
      const own = value.subarray(Math.floor(head / shared) * headWidth, (Math.floor(head / shared) + 1) * headWidth);
      this.outside.forEach((direction, probe) => {
        out[head * count + probe] = dot(direction.subarray(head * headWidth, (head + 1) * headWidth), own);
      });
    }
    return out;
  }
}

/** Random orthonormal directions orthogonal to the space. */
function directionsOutside({ basis, rank, width }: InputSpace): Float64Array[] {
  const random = generator(SEED);
  const inside = Array.from({ length: rank }, (_, row) => basis.subarray(row * width, (row + 1) * width));
  const found: Float64Array[] = [];
  while (found.length < Math.min(PROBES, width - rank)) {
    const direction = Float64Array.from({ length: width }, () => gaussian(random));
    found.push(orthonormal(direction, [...inside, ...found]));
  }
  return found;
}
