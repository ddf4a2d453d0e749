import type { ProductKernel } from '../../graph/product-kernel.js';
import { gaussian } from '../gaussian.js';
import { generator } from '../paper-method.js';
import type { Pause } from '../pause.js';
import { dot, joined, norm, orthonormal } from '../vectors.js';
import {
  type AttentionValues,
  type Projected,
  attended,
  attentionWeights,
  project,
  rotated,
} from './first-attention.js';
import { type Candidates, type FirstInputs, inputsAt } from './first-inputs.js';
import { FARTHEST, type InputSpace, distancesTo, isInside } from './input-space.js';

/** Sequences of a causal model, token by token: what the first attention makes of a prefix has to lie in the batch's space. */

/** A token of the forest of prefixes; sequences that begin alike share nodes. */
export interface PrefixNode {
  readonly token: number;
  readonly position: number;
  /** Index of the token before, -1 at a start. */
  readonly parent: number;
  /** Relative distance to the space. */
  readonly distance: number;
  /** How many tokens in a row, up to this one, are the first one again: attention over equal values tells of none of them. */
  readonly repeats: number;
  /** A token after the end of a text, which a mask hides from all tokens, itself included. */
  readonly isPadding: boolean;
}

export interface Prefixes {
  /** Parents before their children. */
  readonly nodes: readonly PrefixNode[];
  /** The smallest distance of a prefix that was not taken. */
  readonly nextNearest: number;
  /** True when more prefixes fitted than are followed. */
  readonly crowded: boolean;
}

export interface Limits {
  /** Prefixes of one length followed at once. */
  readonly most: number;
  /** Prefixes of all lengths, repetitions of a first token aside. */
  readonly total: number;
  /** Of the longest sequence. */
  readonly length: number;
  /** Tokens that each one sees before itself; null for all. */
  readonly window: number | null;
}

/** Random directions outside of the space: what is not across one of them is looked at further. */
const PROBES = 12;
/** How far above the tolerance a probe may say. */
const PROBE_MARGIN = 2;
/** Repetitions of the first token that are followed. */
export const MOST_REPEATS = 8;
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
  { most, total, length, window }: Limits,
  product: ProductKernel,
  pause: Pause,
): Promise<Prefixes> {
  const search = new Search(attention, space, window);
  // Each prefix takes a direction of its own, but for what repeats the first token.
  const longest = Math.min(length, space.rank + MOST_REPEATS + 1);
  const isRotary = byPosition.length === 1 && attention.rotary !== null;
  const steps = isRotary ? longest : byPosition.length;
  let rotary: Projected | undefined;
  let live: number[] = [];
  for (let position = 0; position < steps; position++) {
    const tokens = byPosition[isRotary ? 0 : position]!;
    if (tokens.length === 0) {
      live = [];
      continue;
    }
    const own = rotary ?? (await project(attention, inputsAt(first, tokens, position), product));
    rotary = isRotary ? own : undefined;
    const after = isRotary ? tokens : (byPosition[position + 1] ?? []);
    const level = search.level(tokens, own, position, new Set([...after, ...search.paddings]));
    const next: number[] = [];
    for (const parent of position === 0 || !isRotary ? [-1, ...live] : live) {
      await pause();
      next.push(...(await search.extend(parent, level, product)));
      if (next.length > most || search.distinct > total) {
        return { nodes: search.nodes, nextNearest: search.nextNearest, crowded: true };
      }
    }
    if (next.length === 0 && isRotary) {
      break;
    }
    live = next;
  }
  return { nodes: withEvidence(search.nodes), nextNearest: search.nextNearest, crowded: false };
}

/** Without the ends that nothing speaks for: repetitions of the first token which no other follows. */
export function withEvidence(nodes: readonly PrefixNode[]): PrefixNode[] {
  const kept = new Set<number>();
  for (let at = nodes.length - 1; at >= 0; at--) {
    const { repeats, parent } = nodes[at]!;
    if (repeats === 0 || kept.has(at)) {
      kept.add(at);
      kept.add(parent);
    }
  }
  const places = new Map(
    [...kept].sort((one, other) => one - other).map((from, to) => [from, to - Number(kept.has(-1))]),
  );
  return nodes.flatMap((node, at) =>
    kept.has(at) ? [{ ...node, parent: node.parent < 0 ? -1 : places.get(node.parent)! }] : [],
  );
}

/** The tokens that may stand at one position. */
interface Level {
  readonly position: number;
  readonly tokens: readonly number[];
  /** Those that may be padding: they may also stand behind this place, or did before it. */
  readonly paddings: ReadonlySet<number>;
  readonly queries: readonly Float64Array[];
  readonly keys: readonly Float64Array[];
  readonly values: readonly Float64Array[];
  readonly lengths: readonly number[];
  /** Of each value, head by head: its part along each probe. */
  readonly probes: readonly Float64Array[];
}

class Search {
  readonly nodes: PrefixNode[] = [];
  nextNearest = 1;
  /** Nodes that are no repetitions of a first token. */
  distinct = 0;
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
    private readonly window: number | null,
  ) {
    this.outside = directionsOutside(space);
    this.spread = Math.sqrt(attention.heads / attention.keyValueHeads);
  }

  level(
    tokens: readonly number[],
    { queries, keys, values }: Projected,
    position: number,
    paddings: ReadonlySet<number>,
  ): Level {
    const { heads, keyValueHeads, headWidth } = this.attention;
    const rows = (data: Float64Array, width: number): Float64Array[] =>
      tokens.map((_, at) => data.slice(at * width, (at + 1) * width));
    const own = rows(values, keyValueHeads * headWidth);
    return {
      position,
      tokens,
      paddings,
      queries: rows(queries, heads * headWidth).map((row) => rotated(row, position, this.attention)),
      keys: rows(keys, keyValueHeads * headWidth).map((row) => rotated(row, position, this.attention)),
      values: own,
      lengths: own.map(norm),
      probes: own.map((value) => this.probesOf(value)),
    };
  }

  /** Adds what continues a prefix. @returns the new nodes */
  async extend(parent: number, level: Level, product: ProductKernel): Promise<number[]> {
    const before = this.ancestors(parent, level.position);
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
    const padding = parent >= 0 && this.nodes[parent]!.isPadding ? this.nodes[parent]!.token : undefined;
    // What only one token is attended to makes of it is that token's, whatever asks.
    const isEnd = padding !== undefined || new Set(before.map((node) => this.nodes[node]!.token)).size > 1;
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
      const distance = distances[index]!;
      if (!isInside(distance)) {
        this.nextNearest = Math.min(this.nextNearest, distance.value);
        return [];
      }
      const token = level.tokens[at]!;
      const repeats = isPadding ? 0 : this.repeats(token, parent);
      if (repeats > MOST_REPEATS) {
        return [];
      }
      this.distinct += Number(repeats === 0);
      if (isPadding) {
        this.paddings.add(token);
      }
      this.nodes.push({ token, position: level.position, parent, distance: distance.value, repeats, isPadding });
      this.keys.push(level.keys[at]!);
      this.values.push(level.values[at]!);
      this.probes.push(level.probes[at]!);
      return [this.nodes.length - 1];
    });
  }

  private repeats(token: number, parent: number): number {
    const before = this.nodes[parent];
    const isFirst = before !== undefined && (before.parent < 0 || before.repeats > 0);
    return isFirst && before.token === token && this.attention.rotary !== null ? before.repeats + 1 : 0;
  }

  /** What a token after the node sees before itself. */
  private ancestors(node: number, position: number): number[] {
    const found: number[] = [];
    for (let at = node; at >= 0; at = this.nodes[at]!.parent) {
      if (this.window !== null && position - this.nodes[at]!.position > this.window) {
        break;
      }
      if (!this.nodes[at]!.isPadding) {
        found.unshift(at);
      }
    }
    return found;
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
