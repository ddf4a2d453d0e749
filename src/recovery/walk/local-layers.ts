import type { ProductKernel } from '../../graph/product-kernel.js';
import { evaluateWithProduct } from '../../graph/evaluate-with-product.js';
import { foldConstant } from '../../graph/evaluate.js';
import { vjp } from '../../graph/jacobian.js';
import { type ConvGeometry, TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT, inputsOfLayers, layersBelow } from '../../network/layer-graph.js';
import { geometryOf } from '../../network/layers/conv.js';
import { type Layer, layerName } from '../../network/layers/recipe.js';
import { buildLayer } from '../../network/network-graph.js';
import type { WalkProblem } from './walk-state.js';

/** A network taken layer by layer: forward, backward, and its weight gradients as those of convolutions. */

/** A layer with a weight gradient; a linear layer is a convolution of one pixel. */
export interface ConvPlace {
  readonly index: number;
  readonly name: string;
  /** Output channels x input channels of a group x kernel rows x kernel columns. */
  readonly gradient: Float64Array;
  /** Output channels. */
  readonly filters: number;
  /** channels, rows, columns */
  readonly input: readonly [number, number, number];
  readonly kernel: readonly [number, number];
  /** rows, columns */
  readonly output: readonly [number, number];
  readonly geometry: ConvGeometry;
}

export interface Consumer {
  readonly layer: number;
  /** Which of its inputs. */
  readonly at: number;
}

const ONE_PIXEL: ConvGeometry = { strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], groups: 1 };

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
    return node === NETWORK_INPUT ? 'the input' : layerName(this.layer(node), node);
  }

  shape(node: number): readonly number[] {
    return node === NETWORK_INPUT ? this.problem.recipe.input : this.problem.outputShapes[node]!;
  }

  size(node: number): number {
    return sizeOf(this.shape(node));
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
    const [values] = await evaluateWithProduct(
      [output],
      Object.fromEntries(variables.map((own, at) => [nameOf(own), inputs[at] ?? new Float64Array()])),
      this.product,
    );
    return values!;
  }

  /**
   * dL/dinput of a layer from dL/doutput.
   *
   * @param values its inputs; not needed where the layer is linear, and then zeros stand for them
   */
  pull(
    index: number,
    at: number,
    upstream: Float64Array,
    batch: number,
    values?: readonly (Float64Array | undefined)[],
  ): Promise<Float64Array> {
    return this.pullOf(this.layer(index), index, at, upstream, batch, values);
  }

  /** The same through a maximum as if every entry of a window were the largest. */
  async pullOpen(index: number, at: number, upstream: Float64Array, batch: number): Promise<Float64Array> {
    const layer = this.layer(index);
    if (layer.op !== 'max-pool') {
      return this.pullOf(layer, index, at, upstream, batch);
    }
    const window = typeof layer.kernel === 'number' ? layer.kernel ** 2 : layer.kernel[0] * layer.kernel[1];
    const averaged = await this.pullOf({ ...layer, op: 'average-pool' }, index, at, upstream, batch);
    return averaged.map((own) => own * window);
  }

  private async pullOf(
    layer: Layer,
    index: number,
    at: number,
    upstream: Float64Array,
    batch: number,
    values?: readonly (Float64Array | undefined)[],
  ): Promise<Float64Array> {
    const { graph, variables, output } = this.built(layer, index, batch);
    const x = variables[at]!;
    const slope = vjp(graph, output, x, graph.constant(upstream, output.shape));
    const [pulled] = await evaluateWithProduct(
      [slope],
      Object.fromEntries(
        variables.map((own, which) => [nameOf(own), values?.[which] ?? new Float64Array(sizeOf(own.shape))]),
      ),
      this.product,
    );
    return pulled!;
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
      this.places.set(index, this.placeOf(index));
    }
    return this.places.get(index);
  }

  private placeOf(index: number): ConvPlace | undefined {
    const layer = this.layer(index);
    if (layer.op !== 'conv' && layer.op !== 'linear') {
      return undefined;
    }
    const stored = this.problem.gradient(layer.weight);
    const input = this.shape(this.sources[index]![0]!);
    const output = this.shape(index);
    if (!stored || input.length !== (layer.op === 'conv' ? 3 : 1)) {
      return undefined;
    }
    const name = layer.weight.replace(/\.weight$/, '');
    if (layer.op === 'linear') {
      const [rows, cols] = [output[0]!, input[0]!];
      const gradient =
        layer.layout === 'dxk' ? permuted(stored.data, stored.shape, [1, 0]) : Float64Array.from(stored.data);
      return {
        index,
        name,
        gradient,
        filters: rows,
        input: [cols, 1, 1],
        kernel: [1, 1],
        output: [1, 1],
        geometry: ONE_PIXEL,
      };
    }
    const isHwio = layer.layout === 'hwio';
    const kernel: [number, number] = isHwio
      ? [stored.shape[0]!, stored.shape[1]!]
      : [stored.shape[2]!, stored.shape[3]!];
    const image = input as [number, number, number];
    return {
      index,
      name,
      gradient: isHwio ? permuted(stored.data, stored.shape, [3, 2, 0, 1]) : Float64Array.from(stored.data),
      filters: output[0]!,
      input: image,
      kernel,
      output: [output[1]!, output[2]!],
      geometry: geometryOf(layer, [image[1], image[2]], kernel),
    };
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

function nameOf(node: TensorNode): string {
  return node.operation.kind === 'variable' ? node.operation.name : '';
}

/** A tensor's data with its axes in another order. */
function permuted(data: ArrayLike<number>, shape: readonly number[], axes: readonly number[]): Float64Array {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const after = axes.map((axis) => shape[axis]!);
  const out = new Float64Array(data.length);
  const place = new Array<number>(axes.length).fill(0);
  for (let at = 0; at < out.length; at++) {
    let from = 0;
    axes.forEach((axis, i) => {
      from += place[i]! * strides[axis]!;
    });
    out[at] = data[from]!;
    for (let axis = axes.length - 1; axis >= 0; axis--) {
      if (++place[axis]! < after[axis]!) {
        break;
      }
      place[axis] = 0;
    }
  }
  return out;
}
