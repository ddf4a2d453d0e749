import { pulledBack } from '../../graph/derivative.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { TensorGraph, type TensorNode } from '../../graph/tensor-graph.js';
import { embeddingSums } from '../../network/transformers/embed.js';
import { attends, buildTransformer, headInput, normedEmbedding } from '../../network/transformers/transformer-graph.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { PrefixNode } from '../../recovery/text/prefix-forest.js';
import type { Tensors } from './first-block.js';

/** Tokens with what each sees before it; an entry without parent starts a sequence. */
export interface TokenTree {
  readonly tokens: Int32Array;
  readonly positions: Int32Array;
  /** -1 at a start; where the model is not causal, tokens of one sequence share `sequence` and see each other. */
  readonly parents: Int32Array;
  readonly sequences?: Int32Array;
  /** 1 for tokens that none sees, themselves included; at a start they see nothing either. */
  readonly padding?: Uint8Array;
}

/** The tree of a causal model's prefixes. */
export function treeOfPrefixes(nodes: readonly PrefixNode[]): TokenTree {
  return {
    tokens: Int32Array.from(nodes, ({ token }) => token),
    positions: Int32Array.from(nodes, ({ position }) => position),
    parents: Int32Array.from(nodes, ({ parent }) => parent),
    padding: Uint8Array.from(nodes, ({ isPadding }) => Number(isPadding)),
  };
}

/** A transformer run on tokens that are supposed, and back. */
export class Forward {
  private readonly graph = new TensorGraph(foldConstant);
  private readonly parameters = new Map<string, TensorNode>();
  private readonly input: TensorNode;
  private readonly output: TensorNode;
  private readonly embedded: Float64Array;

  constructor(
    transformer: Transformer,
    private readonly tensors: Tensors,
    readonly tree: TokenTree,
    /** Tokens whose states the head reads; null for all. */
    rows: Int32Array | null,
    private readonly product: ProductKernel,
  ) {
    const count = tree.tokens.length;
    this.embedded = embeddingSums(transformer, (name, row) => tensors.row(name, row), tree.tokens, tree.positions);
    this.input = this.graph.variable('embedded', [count, transformer.width]);
    const places = { positions: tree.positions, sees: seesOf(transformer, tree) };
    const parameter = (name: string): TensorNode => this.parameter(name);
    const x = normedEmbedding(this.graph, transformer, parameter, this.input);
    const hidden = buildTransformer(this.graph, transformer, parameter, x, places);
    this.output = transformer.head ? headInput(this.graph, transformer.head, parameter, hidden, rows) : hidden;
  }

  /** What the head's last matrix multiplies: states x width. */
  async states(): Promise<Float64Array> {
    const [states] = await evaluateWithProduct([this.output], { embedded: this.embedded }, this.product);
    return states!;
  }

  /**
   * Gradients of parameters, by name, and of the tokens' sums of embeddings, when those of the states are given.
   *
   * @param seed states x width
   */
  async gradients(seed: Float64Array): Promise<{ parameters: Map<string, Float64Array>; embedded: Float64Array }> {
    const names = [...this.parameters.keys()].filter((name) => this.tensors.hasGradient(name));
    const seeds = this.graph.variable('seed', this.output.shape);
    const back = pulledBack(this.graph, this.output, seeds, [
      this.input,
      ...names.map((name) => this.parameters.get(name)!),
    ]);
    const [embedded, ...own] = await evaluateWithProduct(back, { embedded: this.embedded, seed }, this.product);
    return { embedded: embedded!, parameters: new Map(names.map((name, at) => [name, own[at]!])) };
  }

  private parameter(name: string): TensorNode {
    const known = this.parameters.get(name);
    if (known) {
      return known;
    }
    const node = this.graph.parameter(name, this.tensors.kept(name), this.tensors.shape(name));
    this.parameters.set(name, node);
    return node;
  }
}

/** Which of a tree's tokens sees which: N x N, as the graph takes it. */
export function seesOf(
  transformer: Transformer,
  { tokens, positions, parents, sequences, padding }: TokenTree,
): Uint8Array {
  const count = tokens.length;
  const sees = new Uint8Array(count * count);
  for (let from = 0; from < count; from++) {
    if (sequences) {
      for (let to = 0; to < count; to++) {
        sees[from * count + to] = Number(
          sequences[from] === sequences[to] && attends(transformer, positions[from]!, positions[to]!),
        );
      }
      continue;
    }
    for (let at = from; at >= 0; at = parents[at]!) {
      sees[from * count + at] = Number(padding?.[at] !== 1 && attends(transformer, positions[from]!, positions[at]!));
    }
  }
  return sees;
}
