import type { ProductKernel } from '../../graph/product-kernel.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import { vjp } from '../../graph/jacobian.js';
import { TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT, inputsOfLayers, layersBelow, nodeName } from '../../network/layer-graph.js';
import { type Layer, pairOf } from '../../network/layers/recipe.js';
import { buildLayer } from '../../network/network-graph.js';
import { type ConvPlace, convPlaceOf } from './conv-place.js';
import type { WalkProblem } from './walk-state.js';

/** A network taken layer by layer: forward, backward, and its weight gradients as those of convolutions. */

export interface Consumer {
  readonly layer: number;
  /** Which of its inputs. */
  readonly at: number;
}

export class LocalLayers {
  readonly sources: readonly (readonly number[])[];
  private readonly below: ReadonlySet<number>;
  private readonly takers = new Map<number, Consumer[]>();
  private readonly places = new Map<number, ConvPlace | undefined>();

  constructor(
    readonly problem: WalkProblem,
    private readonly product: ProductKernel,
  ) {
    this.sources = inputsOfLayers(problem.recipe);
    this.below = layersBelow(this.sources, problem.head);
    for (const layer of [...this.below].sort((one, other) => one - other)) {
      this.sources[layer]!.forEach((source, at) => {
        this.takers.set(source, [...(this.takers.get(source) ?? []), { layer, at }]);
      });
    }
  }

  layer(index: number): Layer {
    return this.problem.recipe.layers[index]!;
  }

  name(node: number): string {
    return nodeName(this.problem.recipe, node);
  }

  shape(node: number): readonly number[] {
    return node === NETWORK_INPUT ? this.problem.recipe.input : this.problem.outputShapes[node]!;
  }

  /** Layers up to the head that take a node's output. */
  consumers(node: number): readonly Consumer[] {
    return this.takers.get(node) ?? [];
  }

  /** Nodes below the head, from the highest to NETWORK_INPUT. */
  nodes(): number[] {
    return [...this.below, NETWORK_INPUT]
      .filter((node) => node !== this.problem.head)
      .sort((one, other) => other - one);
  }

  /** The values that a layer gives out for these inputs, batch first. */
  async forward(index: number, inputs: readonly Float64Array[], batch: number): Promise<Float64Array> {
    const { variables, output } = this.built(this.layer(index), index, batch);
    return this.valueOf(output, variables, (at) => inputs[at]!);
  }

  /** dL/dinput of a layer from dL/doutput, for a layer whose backward pass does not depend on its values. */
  pull(index: number, at: number, upstream: Float64Array, batch: number): Promise<Float64Array> {
    return this.pullOf(this.layer(index), index, at, upstream, batch);
  }

  /** dL/dinput of a layer from dL/doutput, at the values that it takes. */
  async pullAt(
    index: number,
    at: number,
    upstream: Float64Array,
    batch: number,
    inputs: readonly Float64Array[],
  ): Promise<Float64Array> {
    const { graph, variables, output } = this.built(this.layer(index), index, batch);
    const slope = vjp(graph, output, variables[at]!, graph.constant(upstream, output.shape));
    return this.valueOf(slope, variables, (which) => inputs[which]!);
  }

  /** The same through a maximum as if every entry of a window were the largest. */
  async pullOpen(index: number, at: number, upstream: Float64Array, batch: number): Promise<Float64Array> {
    const layer = this.layer(index);
    if (layer.op !== 'max-pool') {
      return this.pullOf(layer, index, at, upstream, batch);
    }
    const [rows, cols] = pairOf(layer.kernel, 1);
    const averaged = await this.pullOf({ ...layer, op: 'average-pool' }, index, at, upstream, batch);
    return averaged.map((own) => own * rows * cols);
  }

  private async pullOf(
    layer: Layer,
    index: number,
    at: number,
    upstream: Float64Array,
    batch: number,
  ): Promise<Float64Array> {
    const { graph, variables, output } = this.built(layer, index, batch);
    const slope = vjp(graph, output, variables[at]!, graph.constant(upstream, output.shape));
    return this.valueOf(slope, variables, (which) => new Float64Array(sizeOf(variables[which]!.shape)));
  }

  private async valueOf(
    node: TensorNode,
    variables: readonly TensorNode[],
    feed: (at: number) => Float64Array,
  ): Promise<Float64Array> {
    const feeds = variables.flatMap(({ operation }, at) =>
      operation.kind === 'variable' ? [[operation.name, feed(at)] as const] : [],
    );
    const [value] = await evaluateWithProduct([node], Object.fromEntries(feeds), this.product);
    return value!;
  }

  private built(
    layer: Layer,
    index: number,
    batch: number,
  ): { graph: TensorGraph; variables: TensorNode[]; output: TensorNode } {
    const graph = new TensorGraph(foldConstant);
    const { parameter, mode } = this.problem;
    const variables: TensorNode[] = [];
    const inputs = this.sources[index]!.map((source, at) => {
      const fixed = this.fixed(source, graph, batch);
      const own = fixed ?? graph.variable(`input${at}`, [batch, ...this.shape(source)]);
      variables.push(own);
      return own;
    });
    return { graph, variables, output: buildLayer(graph, layer, inputs, parameter, batch, mode) };
  }

  /** Parameters and constants as layers have no batch. */
  private fixed(source: number, graph: TensorGraph, batch: number): TensorNode | undefined {
    const layer = source === NETWORK_INPUT ? undefined : this.layer(source);
    return layer?.op === 'parameter' || layer?.op === 'constant'
      ? buildLayer(graph, layer, [], this.problem.parameter, batch, this.problem.mode)
      : undefined;
  }

  /** A layer's weight gradient; undefined for layers that have none, or whose input is no image and no vector. */
  conv(index: number): ConvPlace | undefined {
    if (!this.places.has(index)) {
      const [source] = this.sources[index]!;
      const { recipe, gradient } = this.problem;
      this.places.set(
        index,
        source === undefined ? undefined : convPlaceOf(recipe, index, this.shape(source), this.shape(index), gradient),
      );
    }
    return this.places.get(index);
  }

  /** A bias gradient, as long as the layer has channels; undefined where the dump holds none. */
  biasGradient(index: number): Float64Array | undefined {
    const layer = this.layer(index);
    const name = 'bias' in layer ? layer.bias : undefined;
    const stored = name === undefined ? undefined : this.problem.gradient(name);
    return stored && Float64Array.from(stored.data);
  }

  /** What a batch normalisation in evaluation mode multiplies each channel by; undefined for other layers. */
  channelScale(index: number): Float64Array | undefined {
    const layer = this.layer(index);
    if (layer.op !== 'batch-norm' || this.problem.mode !== 'eval') {
      return undefined;
    }
    const variance = layer.variance === undefined ? undefined : this.problem.parameter(layer.variance)?.data;
    const gamma = layer.weight === undefined ? undefined : this.problem.parameter(layer.weight)?.data;
    return (
      variance && Float64Array.from(variance, (own, c) => (gamma?.[c] ?? 1) / Math.sqrt(own + (layer.epsilon ?? 1e-5)))
    );
  }
}
