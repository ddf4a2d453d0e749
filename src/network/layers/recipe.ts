/**
 * A network as a list of layers. Every importer ends here, users can write one by hand
 * (`media/recipe.schema.json` is made from this file), and the tensor graph is built from it.
 * Images are channels x height x width; a layer takes the previous layer's output unless `inputs` says otherwise.
 */
export interface Recipe {
  schemaVersion: 1;
  name?: string;
  /**
   * Shape of one input without the batch: channels, height, width for images.
   *
   * @minItems 1
   */
  input: number[];
  /** @minItems 1 */
  layers: Layer[];
}

/** One number for both directions, or rows and columns. */
export type Extent = number | [number, number];
/** One number for all sides, rows and columns, or top, left, bottom, right; `same` as Keras and TensorFlow mean it. */
export type Padding = number | [number, number] | [number, number, number, number] | 'same';

interface Common {
  /** Name by which later layers can refer to this one's output. */
  id?: string;
  /** Ids of the layers whose outputs this one takes; `input` is the network's input. */
  inputs?: string[];
}

export interface ConvLayer extends Common {
  op: 'conv';
  /** Name of the filter in the checkpoint. */
  weight: string;
  bias?: string;
  stride?: Extent;
  padding?: Padding;
  dilation?: Extent;
  groups?: number;
  /** How the filter is stored: out, in, height, width as in PyTorch, or height, width, in, out as in Keras. */
  layout?: 'oihw' | 'hwio';
}

export interface LinearLayer extends Common {
  op: 'linear';
  /** Name of the weight in the checkpoint. */
  weight: string;
  bias?: string;
  /** Outputs x inputs as in PyTorch, or inputs x outputs as in Keras. */
  layout?: 'kxd' | 'dxk';
}

export interface BatchNormLayer extends Common {
  op: 'batch-norm';
  weight?: string;
  bias?: string;
  /** Names of the running statistics; needed in eval mode. */
  mean?: string;
  variance?: string;
  epsilon?: number;
}

export interface LayerNormLayer extends Common {
  op: 'layer-norm';
  weight?: string;
  bias?: string;
  epsilon?: number;
  /** How many of the last axes are normalised together. */
  axes?: number;
}

export interface GroupNormLayer extends Common {
  op: 'group-norm';
  weight?: string;
  bias?: string;
  epsilon?: number;
  /** Channels are parted into so many groups, each normalised by itself in every sample; as many as channels: instance norm. */
  groups: number;
}

export interface ActivationLayer extends Common {
  op:
    | 'relu'
    | 'sigmoid'
    | 'tanh'
    | 'silu'
    | 'erf'
    | 'identity'
    | 'dropout'
    | 'flatten'
    | 'global-average-pool'
    | 'add'
    | 'mul';
}

export interface LeakyReluLayer extends Common {
  op: 'leaky-relu';
  slope?: number;
}

export interface ClipLayer extends Common {
  op: 'clip';
  /** No bound where left out; 0 and 6 are ReLU6. */
  low?: number;
  high?: number;
}

export interface EluLayer extends Common {
  op: 'elu';
  alpha?: number;
}

export interface GeluLayer extends Common {
  op: 'gelu';
  /** The approximation by tanh instead of erf. */
  approximate?: boolean;
}

export interface AxisLayer extends Common {
  op: 'softmax' | 'concat';
  /** Counted with the batch as axis 0; negative from the end. */
  axis?: number;
}

export interface PoolLayer extends Common {
  op: 'max-pool' | 'average-pool';
  kernel: Extent;
  /** The kernel's size by default. */
  stride?: Extent;
  padding?: Padding;
  /** Whether an average counts padded zeros, as PyTorch does by default. */
  countPadding?: boolean;
}

export interface AdaptivePoolLayer extends Common {
  op: 'adaptive-average-pool';
  size: Extent;
}

export interface ReshapeLayer extends Common {
  op: 'reshape';
  /** Shape of one sample without the batch; one entry may be -1. */
  shape: number[];
}

export interface TransposeLayer extends Common {
  op: 'transpose';
  /** Order of the axes, with the batch as axis 0. */
  order: number[];
}

export interface PadLayer extends Common {
  op: 'pad';
  /** top, left, bottom, right */
  padding: Padding;
}

/** A parameter or fixed tensor as a layer of its own, for additions and multiplications. */
export interface TensorLayer extends Common {
  op: 'parameter';
  name: string;
}

export interface ConstantLayer extends Common {
  op: 'constant';
  values: number[];
  shape: number[];
}

export type Layer =
  | ConvLayer
  | LinearLayer
  | BatchNormLayer
  | LayerNormLayer
  | GroupNormLayer
  | ActivationLayer
  | LeakyReluLayer
  | ClipLayer
  | EluLayer
  | GeluLayer
  | AxisLayer
  | PoolLayer
  | AdaptivePoolLayer
  | ReshapeLayer
  | TransposeLayer
  | PadLayer
  | TensorLayer
  | ConstantLayer;

export type LayerOp = Layer['op'];

/** What a layer is called in messages. */
export function layerName(layer: Layer, index: number): string {
  const own = layer.id ?? ('weight' in layer ? layer.weight : undefined);
  return own === undefined ? `layer ${index} (${layer.op})` : `layer ${index} (${layer.op} "${own}")`;
}

/** Names of the checkpoint's tensors that a layer uses. */
export function tensorsOf(layer: Layer): string[] {
  const names = [
    'weight' in layer ? layer.weight : undefined,
    'bias' in layer ? layer.bias : undefined,
    'mean' in layer ? layer.mean : undefined,
    'variance' in layer ? layer.variance : undefined,
    layer.op === 'parameter' ? layer.name : undefined,
  ];
  return names.filter((name) => name !== undefined);
}

/** True when a layer takes nothing but the output of the one before it. */
export function followsPrevious({ layers }: Recipe, index: number): boolean {
  const { inputs, op } = layers[index]!;
  const before = index === 0 ? 'input' : layers[index - 1]!.id;
  return (
    op !== 'parameter' && op !== 'constant' && (inputs === undefined || (inputs.length === 1 && inputs[0] === before))
  );
}

/** rows, columns */
export function pairOf(extent: Extent | undefined, fallback: number): [number, number] {
  return extent === undefined ? [fallback, fallback] : typeof extent === 'number' ? [extent, extent] : extent;
}

/**
 * top, left, bottom, right
 *
 * @param size rows and columns of the input, for `same`
 */
export function padsOf(
  padding: Padding | undefined,
  size: readonly [number, number],
  kernel: readonly [number, number],
  stride: readonly [number, number],
  dilation: readonly [number, number] = [1, 1],
): [number, number, number, number] {
  if (padding === undefined) {
    return [0, 0, 0, 0];
  }
  if (typeof padding === 'number') {
    return [padding, padding, padding, padding];
  }
  if (padding === 'same') {
    const need = [0, 1].map((axis) => {
      const out = Math.ceil(size[axis]! / stride[axis]!);
      return Math.max((out - 1) * stride[axis]! + dilation[axis]! * (kernel[axis]! - 1) + 1 - size[axis]!, 0);
    });
    const [top, left] = need.map((own) => Math.floor(own / 2)) as [number, number];
    return [top, left, need[0]! - top, need[1]! - left];
  }
  return padding.length === 4 ? padding : [padding[0], padding[1], padding[0], padding[1]];
}
