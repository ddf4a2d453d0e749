import { gradients, pulledBack } from '../../graph/derivative.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { TensorGraph, type TensorNode } from '../../graph/tensor-graph.js';
import { buildTransformer } from '../../network/transformers/transformer-graph.js';
import type { Transformer } from '../../network/transformers/transformer.js';
import type { AdaptedTensors } from './adapted-tensors.js';
import { type TokenTree, seesOf } from './forward.js';

/** Numbers by the names of tensors. */
export type Named = ReadonlyMap<string, Float64Array>;

/** The gradient of adapters as a linear map of what the final states are pulled by; and its transpose. */
export class AdapterGradient {
  private readonly graph = new TensorGraph(foldConstant);
  private readonly nodes = new Map<string, TensorNode>();
  private readonly output: TensorNode;
  private readonly seed: TensorNode;
  private readonly pulled: readonly TensorNode[];
  private pushed: TensorNode | undefined;

  /**
   * @param transformer its blocks, or the last of them
   * @param input what the first of the blocks is given: tokens x width
   */
  constructor(
    transformer: Transformer,
    tensors: AdaptedTensors,
    readonly names: readonly string[],
    tree: TokenTree,
    private readonly input: Float64Array,
    private readonly product: ProductKernel,
  ) {
    const { graph } = this;
    const given = graph.variable('input', [tree.tokens.length, transformer.width]);
    const parameter = (name: string): TensorNode => tensors.nodeOf(graph, name, this.nodes);
    const places = { positions: tree.positions, sees: seesOf(transformer, tree) };
    this.output = buildTransformer(graph, transformer, parameter, given, places);
    this.seed = graph.variable('seed', this.output.shape);
    const known = names.map((name) => this.nodes.get(name)!);
    this.pulled = pulledBack(graph, this.output, this.seed, known);
  }

  /** tokens x width */
  async states(): Promise<Float64Array> {
    const [states] = await evaluateWithProduct([this.output], { input: this.input }, this.product);
    return states!;
  }

  /** @param seed tokens x width */
  async pull(seed: Float64Array): Promise<Named> {
    const data = await evaluateWithProduct(this.pulled, { input: this.input, seed }, this.product);
    return new Map(this.names.map((name, at) => [name, data[at]!]));
  }

  /** The transpose of `pull`: tokens x width. */
  async push(direction: Named): Promise<Float64Array> {
    const { graph, seed } = this;
    this.pushed ??= gradients(
      graph,
      this.names
        .map((name, at) =>
          graph.total(graph.mul(this.pulled[at]!, graph.variable(`to ${name}`, this.pulled[at]!.shape))),
        )
        .reduce((sum, own) => graph.add(sum, own)),
      [seed],
    )[0]!;
    const feeds: Record<string, Float64Array> = {
      input: this.input,
      seed: new Float64Array(seed.shape.reduce((all, size) => all * size, 1)),
    };
    for (const [name, data] of direction) {
      feeds[`to ${name}`] = data;
    }
    const [states] = await evaluateWithProduct([this.pushed], feeds, this.product);
    return states!;
  }
}
