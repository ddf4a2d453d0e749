import type { ProductKernel } from '../../graph/product-kernel.js';
import { gaussian } from '../gaussian.js';
import { generator } from '../paper-method.js';
import type { Pause } from '../pause.js';
import { dot, joined, norm, orthonormal } from '../vectors.js';
import { type AttentionValues, type Projected, project } from './first-attention.js';
import { type Candidates, type FirstInputs, inputsAt } from './first-inputs.js';
import { type Distance, FARTHEST, type InputSpace, distancesTo, isInside } from './input-space.js';
import { type AtPosition, PrefixAttention, placedAt, tokensAtOnce } from './prefix-attention.js';
import { type Growth, type Limits, MOST_REPEATS, PrefixForest, type Prefixes } from './prefix-forest.js';

/** Sequences of a causal model, token by token: what the first attention makes of a prefix has to lie in the batch's space. */

/** Random directions outside of the space: what is not across one of them is looked at further. */
const PROBES = 12;
/** How far above the tolerance a probe may say. */
const PROBE_MARGIN = 2;
const SEED = 11;
/** Pairs of tokens that are tried behind ends, at most. */
const MOST_BRIDGES = 2 ** 20;
/** Tokens in a row whose outputs are near the space and not in it. */
const MOST_NEAR = 8;
/** Rows of such tokens that are followed at once, the nearest. */
const MOST_ROWS = 8;

/**
 * Every prefix whose attention output lies in the space of the output projection's inputs (after DAGER, Petrov et al., NeurIPS
 * 2024, which checks the inputs of the second block instead: those take the MLP, these only the attention).
 *
 * @param byPosition by the position itself; one list for all where positions are told by rotation
 */
export async function searchPrefixes(
  first: FirstInputs,
  attention: AttentionValues,
  space: InputSpace,
  { byPosition }: Pick<Candidates, 'byPosition'>,
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
  const growth = { steps: isRotary ? longest : byPosition.length, levelAt, extend };
  const found = await forest.grow(growth, pause);
  return found.crowded || found.nodes.length >= space.rank ? found : search.bridge(growth, product, pause);
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
      ...placed,
      position,
      tokens,
      paddings,
      lengths: placed.values.map(norm),
      probes: placed.values.map((value) => this.probesOf(value)),
    };
  }

  /** Adds what continues a prefix. @returns the new nodes */
  async extend(parent: number, level: Level, product: ProductKernel): Promise<number[]> {
    return this.add(parent, level, await this.continuations(parent, level, product));
  }

  /** What may continue a prefix: all tokens whose outputs are not far from the space. */
  private async continuations(parent: number, level: Level, product: ProductKernel): Promise<Continuation[]> {
    const before = this.forest.before(parent, level.position);
    const [keys, values, probes] = [this.keys, this.values, this.probes].map((all) => before.map((at) => all[at]!)) as [
      Float64Array[],
      Float64Array[],
      Float64Array[],
    ];
    const prefix: Prefix = { keys, values, probes: this.byProbe(probes), longest: Math.max(0, ...values.map(norm)) };
    const padding = this.forest.nodes[parent]?.isPadding ? this.forest.nodes[parent].token : undefined;
    // What only one token is attended to makes of it is that token's, whatever asks.
    const isEnd = padding !== undefined || new Set(before.map((node) => this.forest.nodes[node]!.token)).size > 1;
    const found: Continuation[] = [];
    const block = tokensAtOnce(this.attention, before.length);
    for (let from = 0; from < level.count; from += block) {
      const to = Math.min(level.count, from + block);
      const attempts = attemptsOf(level, { from, to }, padding, isEnd);
      const attention = await PrefixAttention.of(this.attention, level, { from, to }, prefix, product);
      found.push(...(await this.near(attention, prefix, level, attempts, product)));
    }
    return found;
  }

  private add(parent: number, level: Level, continuations: readonly Continuation[]): number[] {
    return continuations.flatMap(({ at, isPadding, distance }) => {
      const token = level.tokens[at]!;
      const node = this.forest.add(distance, { token, position: level.position, parent, isPadding });
      if (node === undefined) {
        return [];
      }
      this.keep(level, at, isPadding);
      return [node];
    });
  }

  /**
   * Goes on behind ends as if tokens stood there whose own outputs the gradient does not hold: any one, its slope being all but
   * zero, or several whose outputs are near the space and all but dependent, as where one token is repeated. They are ones if
   * anything follows. As long as the space has directions that no prefix explains, the shortest first.
   */
  async bridge(growth: Growth<Level>, product: ProductKernel, pause: Pause): Promise<Prefixes> {
    const { forest } = this;
    let tried = 0;
    const done = new Set<number>();
    for (;;) {
      const end = forest.ends().find((own) => !done.has(own));
      if (end === undefined || forest.distinct >= this.space.rank) {
        return forest.result(false);
      }
      done.add(end);
      const { position } = forest.nodes[end]!;
      const [level, next] = [await growth.levelAt(position + 1), await growth.levelAt(position + 2)];
      if (!level || !next) {
        continue;
      }
      if (tried > MOST_BRIDGES) {
        continue;
      }
      let found = await this.behindNear(end, position + 1, growth, product, pause);
      tried += MOST_ROWS * MOST_NEAR * level.count;
      if (found.length === 0) {
        tried += level.count * next.count;
        found = tried > MOST_BRIDGES ? [] : await this.behindAny(end, level, next, growth, pause);
      }
      const from = found.length === 0 ? position : forest.nodes[found[0]!]!.position + 1;
      if (await forest.growFrom(found, from, growth, false, pause)) {
        return forest.result(true);
      }
    }
  }

  /** What follows behind tokens in a row whose outputs are near the space; of the first such row that anything follows. */
  private async behindNear(
    end: number,
    position: number,
    { levelAt, extend }: Growth<Level>,
    product: ProductKernel,
    pause: Pause,
  ): Promise<number[]> {
    let rows: { readonly at: readonly number[]; readonly distance: number }[] = [{ at: [], distance: 0 }];
    const levels: Level[] = [];
    while (levels.length < MOST_NEAR && rows.length > 0) {
      const [level, next] = [await levelAt(position + levels.length), await levelAt(position + levels.length + 1)];
      if (!level || !next) {
        return [];
      }
      const longer: typeof rows = [];
      for (const { at } of rows) {
        await pause();
        const parent = this.addRow(end, at, levels);
        const near = await this.continuations(parent, level, product);
        longer.push(
          ...near
            .filter(({ isPadding, distance }) => !isPadding && distance.value < FARTHEST && !isInside(distance))
            .map((own) => ({ at: [...at, own.at], distance: own.distance.value })),
        );
        this.removeLast(at.length);
      }
      rows = longer.sort((one, other) => one.distance - other.distance).slice(0, MOST_ROWS);
      levels.push(level);
      for (const { at } of rows) {
        await pause();
        const found = await extend(this.addRow(end, at, levels), next);
        if (found.length > 0) {
          return found;
        }
        this.removeLast(at.length);
      }
    }
    return [];
  }

  /** Adds tokens of which nothing is known, one behind the other. @returns the last */
  private addRow(end: number, row: readonly number[], levels: readonly Level[]): number {
    return row.reduce((parent, at, index) => {
      const level = levels[index]!;
      const node = this.forest.addHidden({
        token: level.tokens[at]!,
        position: level.position,
        parent,
        isPadding: false,
      });
      this.keep(level, at, false);
      return node;
    }, end);
  }

  /** What follows behind any one token behind an end. */
  private async behindAny(
    end: number,
    level: Level,
    next: Level,
    { extend }: Growth<Level>,
    pause: Pause,
  ): Promise<number[]> {
    const found: number[] = [];
    for (let at = 0; at < level.count; at++) {
      await pause();
      const own = await extend(this.addRow(end, [at], [level]), next);
      found.push(...own);
      if (own.length === 0) {
        this.removeLast(1);
      }
    }
    return found;
  }

  private removeLast(count: number): void {
    this.forest.removeLast(count);
    for (const all of [this.keys, this.values, this.probes]) {
      all.length -= count;
    }
  }

  private keep(level: Level, at: number, isPadding: boolean): void {
    if (isPadding) {
      this.paddings.add(level.tokens[at]!);
    }
    this.keys.push(level.keys[at]!);
    this.values.push(level.values[at]!);
    this.probes.push(level.probes[at]!);
  }

  /** Distances of what is not far from the space by its probes. */
  private async near(
    attention: PrefixAttention,
    prefix: Prefix,
    level: Level,
    attempts: readonly Attempt[],
    product: ProductKernel,
  ): Promise<Continuation[]> {
    const taken: (Attempt & { readonly weights: Float64Array; readonly across: number })[] = [];
    for (const attempt of attempts) {
      const weights = attention.weights(attempt.at, attempt.isPadding);
      // No output is longer than the values that it is a mean of.
      const longest = Math.max(prefix.longest, attempt.isPadding ? 0 : level.lengths[attempt.at]!);
      const across = this.across(weights, prefix, level.probes[attempt.at]!, mostAcross(longest * this.spread));
      if (across !== undefined) {
        taken.push({ ...attempt, weights, across });
      }
    }
    const at = taken.map((attempt) => attempt.at);
    const outputs = await attention.outputs(
      taken.map(({ weights }) => weights),
      at,
      product,
    );
    const { width } = this.space;
    const near = taken.flatMap(({ across, at: token, isPadding }, index) => {
      const output = outputs.subarray(index * width, (index + 1) * width);
      return across <= mostAcross(norm(output)) ? [{ at: token, isPadding, output }] : [];
    });
    const distances = await distancesTo(this.space, joined(near.map(({ output }) => output)), product);
    return near.map(({ at: token, isPadding }, index) => ({ at: token, isPadding, distance: distances[index]! }));
  }

  /**
   * Root mean square of an output's parts along the probes, times the root of their number outside; 0 without any.
   *
   * @returns undefined where it is more than a limit
   */
  private across(weights: Float64Array, { probes }: Prefix, own: Float64Array, limit: number): number | undefined {
    const { heads } = this.attention;
    const count = this.outside.length;
    const scale = (this.space.width - this.space.rank) / count;
    const columns = weights.length / heads;
    let square = 0;
    for (let probe = 0; probe < count; probe++) {
      let sum = dot(weights, probes[probe]!);
      for (let head = 0; head < heads; head++) {
        sum += weights[(head + 1) * columns - 1]! * own[head * count + probe]!;
      }
      square += sum * sum;
      if (square * scale > limit * limit) {
        return undefined;
      }
    }
    return count === 0 ? 0 : Math.sqrt(square * scale);
  }

  /** The probes of a prefix's values, of each one: heads x (prefix + 1), as weights are, the last column 0. */
  private byProbe(probes: readonly Float64Array[]): Float64Array[] {
    const { heads } = this.attention;
    const count = this.outside.length;
    const columns = probes.length + 1;
    return Array.from({ length: count }, (_, probe) => {
      const out = new Float64Array(heads * columns);
      for (let head = 0; head < heads; head++) {
        for (let at = 0; at < probes.length; at++) {
          out[head * columns + at] = probes[at]![head * count + probe]!;
        }
      }
      return out;
    });
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

/** A token that may continue a prefix: index in its level. */
interface Attempt {
  readonly at: number;
  readonly isPadding: boolean;
}

interface Continuation extends Attempt {
  readonly distance: Distance;
}

/** What the tokens of a prefix leave for those behind it. */
interface Prefix {
  readonly keys: readonly Float64Array[];
  readonly values: readonly Float64Array[];
  /** Of each probe. */
  readonly probes: readonly Float64Array[];
  /** The longest of the values. */
  readonly longest: number;
}

function attemptsOf(
  { tokens, paddings }: Level,
  { from, to }: { readonly from: number; readonly to: number },
  padding: number | undefined,
  isEnd: boolean,
): Attempt[] {
  const attempts: Attempt[] = [];
  for (let at = from; at < to; at++) {
    const token = tokens[at]!;
    if (padding === undefined) {
      attempts.push({ at, isPadding: false });
    }
    if (isEnd && (padding ?? token) === token && paddings.has(token)) {
      attempts.push({ at, isPadding: true });
    }
  }
  return attempts;
}

/** How much of an output of a length may lie across the probes. */
function mostAcross(length: number): number {
  return PROBE_MARGIN * FARTHEST * length;
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
