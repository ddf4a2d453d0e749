import {
  type ConvGeometry,
  type TensorData,
  type TensorGraph,
  type TensorNode,
  sizeOf,
} from '../graph/tensor-graph.js';
import { type Layer, type PoolLayer, type Recipe, layerName, padsOf, pairOf } from './recipe.js';

/** A recipe as nodes of a tensor graph: the forward pass of a batch. */

export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** Finds a tensor by its name in the checkpoint. */
export type TensorLookup = (name: string) => StoredTensor | undefined;

export type NormMode = 'eval' | 'train';

export interface NetworkGraph {
  /** batch x channels x height x width, or batch x features */
  readonly input: TensorNode;
  /** batch x classes */
  readonly logits: TensorNode;
  /** Every parameter that has been used, in the layout of its file. */
  readonly parameters: ReadonlyMap<string, TensorNode>;
  /** Output of each layer, in the recipe's order. */
  readonly outputs: readonly TensorNode[];
  /** Inputs of every batch normalisation, whose statistics are known to an attacker. */
  readonly normalised: readonly { readonly input: TensorNode; readonly mean: string; readonly variance: string }[];
}

/** A recipe that does not fit the checkpoint or itself. */
export class RecipeError extends Error {
  override readonly name = 'RecipeError';
}

/**
 * @param batch number of samples
 * @param mode whether batch normalisation uses running statistics or those of the batch
 * @throws RecipeError naming the layer that does not fit
 */
export function buildNetwork(
  graph: TensorGraph,
  recipe: Recipe,
  lookup: TensorLookup,
  batch: number,
  mode: NormMode,
): NetworkGraph {
  const builder = new Builder(graph, lookup, mode, batch);
  const input = graph.variable('x', [batch, ...recipe.input]);
  const named = new Map<string, TensorNode>([['input', input]]);
  const outputs: TensorNode[] = [];
  recipe.layers.forEach((layer, index) => {
    try {
      const inputs =
        layer.inputs?.map((id) => named.get(id) ?? fail(`there is no earlier layer with the id "${id}"`)) ??
        (layer.op === 'parameter' || layer.op === 'constant' ? [] : [outputs[index - 1] ?? input]);
      const output = builder.layer(layer, inputs);
      outputs.push(output);
      if (layer.id !== undefined) {
        named.set(layer.id, output);
      }
    } catch (error) {
      throw error instanceof RecipeError || error instanceof RangeError
        ? new RecipeError(`${layerName(layer, index)}: ${error.message}`)
        : error;
    }
  });
  const logits = outputs[outputs.length - 1]!;
  if (logits.shape.length !== 2) {
    throw new RecipeError(`the last layer gives out [${logits.shape.join(', ')}], not one row of logits per sample`);
  }
  return { input, logits, outputs, parameters: builder.parameters, normalised: builder.normalised };
}

function fail(message: string): never {
  throw new RecipeError(message);
}

class Builder {
  readonly parameters = new Map<string, TensorNode>();
  readonly normalised: { input: TensorNode; mean: string; variance: string }[] = [];

  constructor(
    private readonly g: TensorGraph,
    private readonly lookup: TensorLookup,
    private readonly mode: NormMode,
    private readonly batch: number,
  ) {}

  layer(layer: Layer, inputs: readonly TensorNode[]): TensorNode {
    const { g } = this;
    const x = inputs[0]!;
    switch (layer.op) {
      case 'conv': {
        const stored = this.parameter(layer.weight, 4);
        const filter = layer.layout === 'hwio' ? g.transpose(stored, [3, 2, 0, 1]) : stored;
        requireImage(x);
        const strides = pairOf(layer.stride, 1);
        const dilations = pairOf(layer.dilation, 1);
        const [, , kernelH, kernelW] = filter.shape as [number, number, number, number];
        const pads = padsOf(layer.padding, [x.shape[2]!, x.shape[3]!], [kernelH, kernelW], strides, dilations);
        const geometry: ConvGeometry = { strides, pads, dilations, groups: layer.groups ?? 1 };
        return this.withBias(g.conv(x, filter, geometry), layer.bias);
      }
      case 'linear': {
        const weight = this.parameter(layer.weight, 2);
        const rows = g.reshape(x, [sizeOf(x.shape.slice(0, -1)), x.shape[x.shape.length - 1]!]);
        const product = g.matmul(rows, weight, false, layer.layout !== 'dxk');
        const withBias =
          layer.bias === undefined ? product : g.add(product, this.parameter(layer.bias, 1, product.shape[1]));
        return g.reshape(withBias, [...x.shape.slice(0, -1), product.shape[1]!]);
      }
      case 'batch-norm':
        return this.batchNorm(layer, x);
      case 'layer-norm': {
        const count = layer.axes ?? 1;
        const axes = x.shape.map((_, axis) => axis).slice(-count);
        const normal = this.normalise(x, axes, layer.epsilon ?? 1e-5);
        const scaled = layer.weight === undefined ? normal : g.mul(normal, this.parameter(layer.weight, count));
        return layer.bias === undefined ? scaled : g.add(scaled, this.parameter(layer.bias, count));
      }
      case 'relu':
      case 'sigmoid':
      case 'tanh':
      case 'erf':
        return g.unary(layer.op, x);
      case 'silu':
        return g.mul(x, g.unary('sigmoid', x));
      case 'leaky-relu':
        return g.sub(g.unary('relu', x), g.scale(g.unary('relu', g.neg(x)), layer.slope ?? 0.01));
      case 'elu': {
        const below = g.neg(g.unary('relu', g.neg(x)));
        const bent = g.scale(g.sub(g.unary('exp', below), g.scalar(1)), layer.alpha ?? 1);
        return g.add(g.unary('relu', x), bent);
      }
      case 'gelu':
        return this.gelu(x, layer.approximate === true);
      case 'softmax':
        return g.unary('exp', logSoftmax(g, x, axisOf(layer.axis ?? -1, x.shape.length)));
      case 'identity':
      case 'dropout':
        return x;
      case 'flatten':
        return g.reshape(x, [this.batch, sizeOf(x.shape) / this.batch]);
      case 'global-average-pool':
        requireImage(x);
        return g.mean(x, [2, 3]);
      case 'adaptive-average-pool':
        return this.adaptivePool(x, pairOf(layer.size, 1));
      case 'max-pool':
      case 'average-pool':
        return this.pool(layer, x);
      case 'add':
        return inputs.reduce((sum, one) => g.add(sum, one));
      case 'mul':
        return inputs.reduce((product, one) => g.mul(product, one));
      case 'concat':
        return g.concat(inputs, axisOf(layer.axis ?? 1, x.shape.length));
      case 'pad': {
        requireImage(x);
        const pads = padsOf(layer.padding, [x.shape[2]!, x.shape[3]!], [1, 1], [1, 1]);
        return this.pad(x, pads);
      }
      case 'reshape': {
        const known = layer.shape.filter((size) => size !== -1).reduce((product, size) => product * size, 1);
        const rest = sizeOf(x.shape) / this.batch / known;
        return g.reshape(x, [this.batch, ...layer.shape.map((size) => (size === -1 ? rest : size))]);
      }
      case 'transpose':
        return g.transpose(x, layer.order);
      case 'parameter':
        return this.parameter(layer.name);
      case 'constant':
        return g.constant(Float64Array.from(layer.values), layer.shape);
    }
  }

  private parameter(name: string, rank?: number, size?: number): TensorNode {
    const known = this.parameters.get(name);
    if (known) {
      return known;
    }
    const stored = this.lookup(name) ?? fail(`the checkpoint holds no tensor "${name}"`);
    if ((rank !== undefined && stored.shape.length !== rank) || (size !== undefined && stored.shape[0] !== size)) {
      fail(`"${name}" is of shape [${stored.shape.join(', ')}] in the checkpoint, which does not fit here`);
    }
    const node = this.g.parameter(name, stored.data, stored.shape);
    this.parameters.set(name, node);
    return node;
  }

  /** Statistics take part in no derivative. */
  private statistic(name: string | undefined, channels: number): TensorNode {
    const stored =
      (name === undefined ? undefined : this.lookup(name)) ?? fail('eval mode needs the running statistics');
    if (stored.data.length !== channels) {
      fail(`"${name}" holds ${stored.data.length} numbers for ${channels} channels`);
    }
    return this.g.constant(stored.data, [channels]);
  }

  private withBias(x: TensorNode, bias: string | undefined): TensorNode {
    return bias === undefined
      ? x
      : this.g.add(x, this.g.reshape(this.parameter(bias, 1, x.shape[1]), [1, x.shape[1]!, 1, 1]));
  }

  private batchNorm(layer: Extract<Layer, { op: 'batch-norm' }>, x: TensorNode): TensorNode {
    const { g } = this;
    const channels = x.shape[1]!;
    const perChannel = [1, channels, ...x.shape.slice(2).map(() => 1)];
    const epsilon = layer.epsilon ?? 1e-5;
    if (layer.mean !== undefined && layer.variance !== undefined) {
      this.normalised.push({ input: x, mean: layer.mean, variance: layer.variance });
    }
    let normal: TensorNode;
    if (this.mode === 'train') {
      normal = this.normalise(x, [0, ...x.shape.slice(2).map((_, axis) => axis + 2)], epsilon);
    } else {
      const mean = g.reshape(this.statistic(layer.mean, channels), perChannel);
      const variance = g.reshape(this.statistic(layer.variance, channels), perChannel);
      const deviation = g.unary('sqrt', g.add(variance, g.scalar(epsilon)));
      normal = g.div(g.sub(x, mean), deviation);
    }
    const scaled =
      layer.weight === undefined
        ? normal
        : g.mul(normal, g.reshape(this.parameter(layer.weight, 1, channels), perChannel));
    return layer.bias === undefined
      ? scaled
      : g.add(scaled, g.reshape(this.parameter(layer.bias, 1, channels), perChannel));
  }

  private normalise(x: TensorNode, axes: readonly number[], epsilon: number): TensorNode {
    const { g } = this;
    const centred = g.sub(x, g.mean(x, axes));
    const variance = g.mean(g.square(centred), axes);
    return g.div(centred, g.unary('sqrt', g.add(variance, g.scalar(epsilon))));
  }

  private gelu(x: TensorNode, approximate: boolean): TensorNode {
    const { g } = this;
    const half = g.scale(x, 0.5);
    const inner = approximate
      ? g.unary('tanh', g.scale(g.add(x, g.scale(g.mul(g.square(x), x), 0.044715)), Math.sqrt(2 / Math.PI)))
      : g.unary('erf', g.scale(x, Math.SQRT1_2));
    return g.mul(half, g.add(inner, g.scalar(1)));
  }

  private pad(x: TensorNode, [top, left, bottom, right]: readonly [number, number, number, number]): TensorNode {
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    return this.g.embed(x, [0, 0, top, left], [batch, channels, height + top + bottom, width + left + right]);
  }

  /** A window's entries are strided slices of the padded image, so a pool needs no operation of its own. */
  private pool(layer: PoolLayer, x: TensorNode): TensorNode {
    const { g } = this;
    requireImage(x);
    const kernel = pairOf(layer.kernel, 1);
    const stride = layer.stride === undefined ? kernel : pairOf(layer.stride, 1);
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const pads = padsOf(layer.padding, [height, width], kernel, stride);
    const rows = Math.floor((height + pads[0] + pads[2] - kernel[0]) / stride[0]) + 1;
    const cols = Math.floor((width + pads[1] + pads[3] - kernel[1]) / stride[1]) + 1;
    if (rows < 1 || cols < 1) {
      fail(`a window of ${kernel.join(' x ')} is larger than its input [${x.shape.join(', ')}]`);
    }
    const padded = this.pad(x, pads);
    const isMax = layer.op === 'max-pool';
    const border = borderOf(height, width, pads);
    const source =
      isMax && border
        ? g.add(
            padded,
            g.constant(
              border.map((inside) => (inside === 1 ? 0 : -1e30)),
              [1, 1, ...padded.shape.slice(2)],
            ),
          )
        : padded;
    const windows: TensorNode[] = [];
    for (let row = 0; row < kernel[0]; row++) {
      for (let col = 0; col < kernel[1]; col++) {
        windows.push(g.slice(source, [0, 0, row, col], [batch, channels, rows, cols], [1, 1, stride[0], stride[1]]));
      }
    }
    if (isMax) {
      return windows.reduce((most, one) => g.max(most, one));
    }
    const sum = windows.reduce((total, one) => g.add(total, one));
    if (!border || layer.countPadding !== false) {
      return g.scale(sum, 1 / (kernel[0] * kernel[1]));
    }
    const counts = new Float64Array(rows * cols);
    const paddedWidth = padded.shape[3]!;
    counts.forEach((_, at) => {
      const top = Math.floor(at / cols) * stride[0];
      const left = (at % cols) * stride[1];
      let inside = 0;
      for (let row = top; row < top + kernel[0]; row++) {
        for (let col = left; col < left + kernel[1]; col++) {
          inside += border[row * paddedWidth + col]!;
        }
      }
      counts[at] = 1 / inside;
    });
    return g.mul(sum, g.constant(counts, [1, 1, rows, cols]));
  }

  private adaptivePool(x: TensorNode, [rows, cols]: readonly [number, number]): TensorNode {
    const { g } = this;
    requireImage(x);
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const alongRows = g.matmul(
      g.reshape(x, [batch * channels * height, width]),
      g.constant(averages(width, cols), [width, cols]),
    );
    const turned = g.transpose(g.reshape(alongRows, [batch, channels, height, cols]), [0, 1, 3, 2]);
    const pooled = g.matmul(
      g.reshape(turned, [batch * channels * cols, height]),
      g.constant(averages(height, rows), [height, rows]),
    );
    return g.transpose(g.reshape(pooled, [batch, channels, cols, rows]), [0, 1, 3, 2]);
  }
}

function requireImage(x: TensorNode): void {
  if (x.shape.length !== 4) {
    fail(`an image is needed, but its input is of shape [${x.shape.join(', ')}]`);
  }
}

function axisOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** 1 inside the image, 0 in its padding; undefined without padding. */
function borderOf(
  height: number,
  width: number,
  pads: readonly [number, number, number, number],
): Float64Array | undefined {
  if (pads.every((pad) => pad === 0)) {
    return undefined;
  }
  const full = width + pads[1] + pads[3];
  const border = new Float64Array((height + pads[0] + pads[2]) * full);
  for (let row = 0; row < height; row++) {
    border.fill(1, (row + pads[0]) * full + pads[1], (row + pads[0]) * full + pads[1] + width);
  }
  return border;
}

/** The matrix that averages `from` entries into `to`, with PyTorch's bounds of the windows. */
function averages(from: number, to: number): Float64Array {
  const matrix = new Float64Array(from * to);
  for (let out = 0; out < to; out++) {
    const start = Math.floor((out * from) / to);
    const end = Math.ceil(((out + 1) * from) / to);
    for (let at = start; at < end; at++) {
      matrix[at * to + out] = 1 / (end - start);
    }
  }
  return matrix;
}

/** log softmax along an axis; the maximum is subtracted first, as a constant. */
export function logSoftmax(g: TensorGraph, x: TensorNode, axis: number): TensorNode {
  const shifted = g.sub(x, g.maxOver(x, [axis]));
  return g.sub(shifted, g.unary('log', g.sum(g.unary('exp', shifted), [axis])));
}

/**
 * Softmax cross-entropy with soft labels, averaged over the batch.
 *
 * @param logits batch x classes
 * @param labels batch x classes
 * @returns a scalar
 */
export function crossEntropy(g: TensorGraph, logits: TensorNode, labels: TensorNode): TensorNode {
  const product = g.total(g.mul(labels, logSoftmax(g, logits, 1)));
  return g.scale(product, -1 / logits.shape[0]!);
}
