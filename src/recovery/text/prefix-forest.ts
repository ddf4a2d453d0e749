import type { Pause } from '../pause.js';
import { type Distance, isInside } from './input-space.js';

/** Beginnings of texts, that grow token by token; texts that begin alike share them. */

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

/** A node to be. */
type NewNode = Pick<PrefixNode, 'token' | 'position' | 'parent' | 'isPadding'>;

/** How a forest grows. */
export interface Growth<Level> {
  /** Positions, at most. */
  readonly steps: number;
  /** The tokens that may stand at a position; undefined where none may. */
  readonly levelAt: (position: number) => Promise<Level | undefined>;
  /** Adds what continues a prefix, -1 for none before, and tells the new nodes. */
  readonly extend: (parent: number, level: Level) => Promise<number[]>;
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

/** Repetitions of the first token that are followed. */
export const MOST_REPEATS = 8;

export class PrefixForest {
  readonly nodes: PrefixNode[] = [];
  nextNearest = 1;
  /** Nodes that are no repetitions of a first token. */
  distinct = 0;

  constructor(
    private readonly isRotary: boolean,
    private readonly limits: Limits,
  ) {}

  /** Adds what continues prefixes, position by position. */
  async grow<Level>(growth: Growth<Level>, pause: Pause): Promise<Prefixes> {
    const { isRotary } = this;
    const crowded = await this.growFrom(isRotary ? [-1] : [], 0, growth, !isRotary, pause);
    return this.result(crowded);
  }

  result(crowded: boolean): Prefixes {
    const { nodes, nextNearest } = this;
    return { nodes: crowded ? nodes : withEvidence(nodes), nextNearest, crowded };
  }

  /** Nodes that nothing continues, but for repetitions of a first token: the shortest prefixes first. */
  ends(): number[] {
    const { nodes } = this;
    const continued = new Set(nodes.flatMap(({ parent, repeats }) => (repeats === 0 ? [parent] : [])));
    return [...nodes.keys()]
      .filter((at) => !continued.has(at) && nodes[at]!.repeats === 0 && !nodes[at]!.isPadding)
      .sort((one, other) => nodes[one]!.position - nodes[other]!.position);
  }

  /**
   * The same behind some nodes, the next position being given.
   *
   * @param isEverywhere whether texts may start at any position
   * @returns whether there were too many
   */
  async growFrom<Level>(
    nodes: readonly number[],
    from: number,
    { steps, levelAt, extend }: Growth<Level>,
    isEverywhere: boolean,
    pause: Pause,
  ): Promise<boolean> {
    const { most, total } = this.limits;
    let live = nodes;
    for (let position = from; position < steps; position++) {
      const level = await levelAt(position);
      const next: number[] = [];
      for (const parent of isEverywhere ? [-1, ...live] : live) {
        if (level === undefined) {
          break;
        }
        await pause();
        next.push(...(await extend(parent, level)));
        if (next.length > most || this.distinct > total) {
          return true;
        }
      }
      if (next.length === 0 && !isEverywhere) {
        return false;
      }
      live = next;
    }
    return false;
  }

  /** @returns the new node; undefined where its distance, or the number of repetitions, speaks against it */
  add(distance: Distance, { token, position, parent, isPadding }: NewNode): number | undefined {
    if (!isInside(distance)) {
      this.nextNearest = Math.min(this.nextNearest, distance.value);
      return undefined;
    }
    const repeats = isPadding ? 0 : this.repeats(token, parent);
    if (repeats > MOST_REPEATS) {
      return undefined;
    }
    this.distinct += Number(repeats === 0);
    return this.nodes.push({ token, position, parent, distance: distance.value, repeats, isPadding }) - 1;
  }

  /** Adds a node of which nothing is known: only what follows it speaks for it. */
  addHidden(node: NewNode): number {
    return this.nodes.push({ ...node, distance: 0, repeats: 0 }) - 1;
  }

  /** Takes the last nodes away again. */
  removeLast(count: number): void {
    this.nodes.length -= count;
  }

  /** What a token at a position sees before itself, behind a node. */
  before(node: number, position: number): number[] {
    const { window } = this.limits;
    const found: number[] = [];
    for (let at = node; at >= 0; at = this.nodes[at]!.parent) {
      if (window !== null && position - this.nodes[at]!.position > window) {
        break;
      }
      if (!this.nodes[at]!.isPadding) {
        found.unshift(at);
      }
    }
    return found;
  }

  private repeats(token: number, parent: number): number {
    const before = this.nodes[parent];
    const isFirst = before !== undefined && (before.parent < 0 || before.repeats > 0);
    return isFirst && before.token === token && this.isRotary ? before.repeats + 1 : 0;
  }
}

/** Without the ends that nothing speaks for: repetitions of the first token which no other follows. */
function withEvidence(nodes: readonly PrefixNode[]): PrefixNode[] {
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

/** The tokens of a prefix, its own last. */
export function tokensTo(nodes: readonly PrefixNode[], node: number): number[] {
  const tokens: number[] = [];
  for (let at = node; at >= 0; at = nodes[at]!.parent) {
    tokens.unshift(nodes[at]!.token);
  }
  return tokens;
}

/** How many ends each prefix has below itself, itself counted where it is one. */
export function textsThrough(nodes: readonly PrefixNode[]): Float64Array {
  const counts = new Float64Array(nodes.length);
  for (let at = nodes.length - 1; at >= 0; at--) {
    counts[at] = Math.max(counts[at]!, 1);
    const { parent } = nodes[at]!;
    if (parent >= 0) {
      counts[parent]! += counts[at]!;
    }
  }
  return counts;
}
