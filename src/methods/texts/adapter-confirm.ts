import type { ProductKernel } from '../../graph/product-kernel.js';
import { embed } from '../../network/transformers/embed.js';
import type { Head, Transformer } from '../../network/transformers/transformer.js';
import { leastSquaresSteps } from '../../recovery/least-squares-by-steps.js';
import { transposed } from '../../recovery/linear-algebra.js';
import type { Pause } from '../../recovery/pause.js';
import { type PrefixNode, textsThrough, tokensTo } from '../../recovery/text/prefix-forest.js';
import { joined, norm } from '../../recovery/vectors.js';
import type { AdaptedTensors } from './adapted-tensors.js';
import { AdapterGradient, type Named } from './adapter-gradient.js';
import { chooseColumns } from './choose-columns.js';
import { Comparison, type Difference } from './comparison.js';
import { type TokenTree, treeOfPrefixes } from './forward.js';

/** Last tokens, which are only labels, and whether the texts' own gradient is the captured one. */

export interface ConfirmedTexts {
  readonly texts: readonly (readonly number[])[];
  readonly misfit: Difference & {
    /** What other last tokens would leave, at least, relative to all that is compared. */
    readonly resolution: number;
  };
  /** Whether last tokens are among the texts. */
  readonly isWhole: boolean;
}

type LanguageHead = Extract<Head, { kind: 'language-model' }>;

const CHUNK = 2048;
const MOST_STEPS = 48;
/** After these many steps, and twice as many each time, last tokens are tried. */
const FIRST_TRIAL = 2;
const TRIED = 6;
/** Of what wrong last tokens would leave. */
const CLEARLY_LESS = 0.1;

/** @param nodes all tokens but the last one of each text */
export async function confirmTexts(
  transformer: Transformer,
  tensors: AdaptedTensors,
  head: LanguageHead,
  nodes: readonly PrefixNode[],
  product: ProductKernel,
  pause: Pause,
): Promise<ConfirmedTexts> {
  const search = new LastTokens(transformer, tensors, head, nodes, product, pause);
  return search.run();
}

class LastTokens {
  private readonly tree: TokenTree;
  private readonly leaves: readonly number[];
  /** Texts that go through each node. */
  private readonly counts: Float64Array;
  /** Tokens with a loss. */
  private readonly losses: number;
  private readonly width: number;

  constructor(
    private readonly transformer: Transformer,
    private readonly tensors: AdaptedTensors,
    private readonly head: LanguageHead,
    private readonly nodes: readonly PrefixNode[],
    private readonly product: ProductKernel,
    private readonly pause: Pause,
  ) {
    this.width = transformer.width;
    this.tree = treeOfPrefixes(nodes);
    const parents = new Set(nodes.map(({ parent }) => parent));
    this.leaves = [...nodes.keys()].filter((at) => !parents.has(at));
    this.counts = textsThrough(nodes);
    this.losses = this.counts.reduce((sum, count) => sum + count, 0);
  }

  async run(): Promise<ConfirmedTexts> {
    const { transformer, tensors, nodes, product } = this;
    const { blocks } = transformer;
    const embedded = embed(transformer, (name, row) => tensors.row(name, row), this.tree.tokens, this.tree.positions);
    const all = new AdapterGradient(transformer, tensors, tensors.factorsOf(blocks), this.tree, embedded, product);
    const known = await this.knownSeed(await all.states());
    const last = blocks.findLastIndex((block) => tensors.factorsOf([block]).length > 0);
    const near = last === 0 ? all : await this.lastBlocks(last, embedded);
    const chosen = await this.choose(near, known);
    const seed = known.slice();
    chosen.tokens.forEach((token, at) => {
      this.addTarget(seed, this.leaves[at]!, token);
    });
    const simulated = await all.pull(seed);
    const difference = differenceOf(simulated, capturedOf(tensors, all.names));
    const misfit = { ...difference, resolution: chosen.least / difference.size };
    const isWhole = misfit.error <= CLEARLY_LESS * Math.min(misfit.resolution, 1);
    return {
      texts: this.leaves.map((leaf, at) => [...tokensTo(nodes, leaf), ...(isWhole ? [chosen.tokens[at]!] : [])]),
      misfit,
      isWhole,
    };
  }

  /** The blocks from one on, which hold as much of last tokens, and are cheaper than all. */
  private async lastBlocks(start: number, embedded: Float64Array): Promise<AdapterGradient> {
    const { transformer, tensors, tree, product } = this;
    const { blocks } = transformer;
    const before = { ...transformer, blocks: blocks.slice(0, start), finalNorm: null };
    const states = await new AdapterGradient(before, tensors, [], tree, embedded, product).states();
    const behind = { ...transformer, blocks: blocks.slice(start) };
    return new AdapterGradient(behind, tensors, tensors.factorsOf(behind.blocks), tree, states, product);
  }

  /** Of the mean of all losses, without the targets of last states: states x width. */
  private async knownSeed(hidden: Float64Array): Promise<Float64Array> {
    const { width, nodes, counts, losses } = this;
    const seed = await this.expectedRows(hidden);
    for (let at = 0; at < nodes.length; at++) {
      for (let col = 0; col < width; col++) {
        seed[at * width + col]! *= counts[at]! / losses;
      }
    }
    nodes.forEach(({ parent, token }, at) => {
      if (parent >= 0) {
        this.addTarget(seed, parent, token, counts[at]);
      }
    });
    return seed;
  }

  private addTarget(seed: Float64Array, state: number, token: number, count = 1): void {
    const row = this.tensors.rows(this.head.weight, token, token + 1);
    for (let col = 0; col < this.width; col++) {
      seed[state * this.width + col]! -= (count / this.losses) * row[col]!;
    }
  }

  /** sum_v p_v w_v of each state: states x width. */
  private async expectedRows(hidden: Float64Array): Promise<Float64Array> {
    const { width, product, head, tensors } = this;
    const count = this.nodes.length;
    const bias = head.bias === null ? undefined : tensors.value(head.bias);
    const sums = new Float64Array(count);
    const tops = new Float64Array(count).fill(-Infinity);
    const rows = new Float64Array(count * width);
    await this.eachPiece(async (weight, start, size) => {
      // states x tokens of the piece
      const logits = await product(hidden, weight, count, size, width);
      for (let state = 0; state < count; state++) {
        let top = tops[state]!;
        for (let at = 0; at < size; at++) {
          logits[state * size + at]! += bias?.[start + at] ?? 0;
          top = Math.max(top, logits[state * size + at]!);
        }
        const shrink = Math.exp(tops[state]! - top);
        tops[state] = top;
        sums[state]! *= shrink;
        for (let col = 0; col < width; col++) {
          rows[state * width + col]! *= shrink;
        }
        for (let at = 0; at < size; at++) {
          const power = Math.exp(logits[state * size + at]! - top);
          logits[state * size + at] = power;
          sums[state]! += power;
        }
      }
      const part = await product(logits, transposed(weight, size, width), count, width, size);
      part.forEach((value, at) => (rows[at]! += value));
    });
    return rows.map((value, at) => value / sums[Math.floor(at / width)]!);
  }

  private async eachPiece(visit: (weight: Float64Array, start: number, size: number) => Promise<void>): Promise<void> {
    const { vocabulary } = this.transformer;
    for (let start = 0; start < vocabulary; start += CHUNK) {
      await this.pause();
      const end = Math.min(start + CHUNK, vocabulary);
      await visit(this.tensors.rows(this.head.weight, start, end), start, end - start);
    }
  }

  /**
   * What is left of the gradient is linear in the rows of the head that last tokens have: least squares for these rows, and the
   * tokens whose rows are like them, tried.
   */
  private async choose(near: AdapterGradient, known: Float64Array): Promise<Choice> {
    const { names } = near;
    const captured = capturedOf(this.tensors, names);
    const rest = flat(names, captured);
    const size = norm(rest);
    subtract(rest, flat(names, await near.pull(known)));
    const map = {
      forward: async (x: Float64Array) => flat(names, await near.pull(this.spread(x))),
      back: async (y: Float64Array) => this.gathered(await near.push(named(names, captured, y))),
    };
    let best: Choice = { tokens: this.leaves.map(() => 0), least: 0, left: Infinity };
    let trial = FIRST_TRIAL;
    let step = 0;
    for await (const x of leastSquaresSteps(map, rest, MOST_STEPS)) {
      step++;
      if (step === trial || step === MOST_STEPS) {
        trial *= 2;
        const choice = await this.tryTokens(near, rest, await this.likeliest(x));
        best = choice.left < best.left ? choice : best;
        if (best.left <= CLEARLY_LESS * Math.min(best.least, size)) {
          break;
        }
      }
    }
    return best;
  }

  private spread(x: Float64Array): Float64Array {
    const seed = new Float64Array(this.nodes.length * this.width);
    this.leaves.forEach((leaf, at) => {
      seed.set(x.subarray(at * this.width, (at + 1) * this.width), leaf * this.width);
    });
    return seed;
  }

  private gathered(states: Float64Array): Float64Array {
    return joined(this.leaves.map((leaf) => states.slice(leaf * this.width, (leaf + 1) * this.width)));
  }

  /** Of each last state, the tokens whose rows point most against what it is pulled by. */
  private async likeliest(x: Float64Array): Promise<number[][]> {
    const { width, product, leaves } = this;
    const count = leaves.length;
    const best = leaves.map((): { token: number; score: number }[] => []);
    await this.eachPiece(async (weight, start, size) => {
      const products = await product(x, weight, count, size, width);
      for (let at = 0; at < size; at++) {
        const length = norm(weight.subarray(at * width, (at + 1) * width));
        for (let leaf = 0; leaf < count; leaf++) {
          const own = best[leaf]!;
          const score = -products[leaf * size + at]! / length;
          if (own.length < TRIED || score > own.at(-1)!.score) {
            own.push({ token: start + at, score });
            own.sort((one, other) => other.score - one.score);
            own.splice(TRIED);
          }
        }
      }
    });
    return best.map((own) => own.map(({ token }) => token));
  }

  private async tryTokens(near: AdapterGradient, rest: Float64Array, tried: readonly number[][]): Promise<Choice> {
    const columns: Float64Array[][] = [];
    for (const [at, tokens] of tried.entries()) {
      const own: Float64Array[] = [];
      for (const token of tokens) {
        const seed = new Float64Array(this.nodes.length * this.width);
        this.addTarget(seed, this.leaves[at]!, token);
        own.push(flat(near.names, await near.pull(seed)));
      }
      columns.push(own);
    }
    const { picked, left, least } = await chooseColumns(columns, rest, this.product);
    return { tokens: picked.map((index, at) => tried[at]![index]!), left, least };
  }
}

interface Choice {
  readonly tokens: readonly number[];
  /** The smallest change of the gradient that others of the tokens tried would make. */
  readonly least: number;
  readonly left: number;
}

function capturedOf(tensors: AdaptedTensors, names: readonly string[]): Named {
  return new Map(names.map((name) => [name, tensors.gradient(name)]));
}

function differenceOf(simulated: Named, captured: Named): Difference {
  const comparison = new Comparison();
  for (const [name, data] of captured) {
    comparison.add(name, simulated.get(name)!, data);
  }
  return comparison.result();
}

function flat(names: readonly string[], data: Named): Float64Array {
  return joined(names.map((name) => data.get(name)!));
}

function named(names: readonly string[], shapes: Named, data: Float64Array): Named {
  let at = 0;
  return new Map(
    names.map((name) => {
      const { length } = shapes.get(name)!;
      at += length;
      return [name, data.slice(at - length, at)];
    }),
  );
}

function subtract(from: Float64Array, what: Float64Array): void {
  what.forEach((value, at) => (from[at]! -= value));
}
