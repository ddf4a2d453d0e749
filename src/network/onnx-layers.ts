import type { OnnxNode } from '../formats/onnx-protobuf.js';
import type { UnusableInputError } from '../protocol/errors.js';
import { type Attributes, pair } from './onnx-node.js';
import type { Layer, PoolLayer } from './layers/recipe.js';

/** ONNX operations that are one layer of the recipe: what each one's attributes and initializers say. */

export interface OnnxCall {
  readonly node: OnnxNode;
  readonly attr: Attributes;
  /** The initializer at a position of the node's inputs. @throws UnusableInputError when it is none of that rank */
  readonly weight: (position: number, rank?: number) => { readonly name: string; readonly rank: number };
  /** Whether there is an input at a position, other than zeros that exporters add. */
  readonly has: (position: number) => boolean;
  /** Of the operations of ONNX itself. */
  readonly opset: number;
  /** Numbers that an initializer or the graph itself fixes; undefined for others. */
  readonly numbers: (position: number) => readonly (number | undefined)[] | undefined;
  readonly unsupported: (what: string) => UnusableInputError;
}

export const ONNX_LAYERS: Readonly<Record<string, (call: OnnxCall) => Layer>> = {
  Conv: ({ attr, weight, has, unsupported }) => ({
    op: 'conv',
    weight: weight(1, 4).name,
    ...(has(2) ? { bias: weight(2, 1).name } : {}),
    stride: pair(attr.ints('strides')) ?? 1,
    padding: attr.padding(() => unsupported(`auto_pad "${attr.text('auto_pad')}"`)),
    dilation: pair(attr.ints('dilations')) ?? 1,
    groups: attr.int('group', 1),
  }),
  BatchNormalization: ({ attr, weight }) => ({
    op: 'batch-norm',
    weight: weight(1, 1).name,
    bias: weight(2, 1).name,
    mean: weight(3, 1).name,
    variance: weight(4, 1).name,
    epsilon: attr.float('epsilon', 1e-5),
  }),
  LayerNormalization: ({ attr, weight, has }) => ({
    op: 'layer-norm',
    weight: weight(1).name,
    ...(has(2) ? { bias: weight(2).name } : {}),
    epsilon: attr.float('epsilon', 1e-5),
    axes: weight(1).rank,
  }),
  // Below opset 21 its scale and bias are of groups, not of channels.
  GroupNormalization({ attr, weight, unsupported, numbers, opset }) {
    if (opset < 21) {
      throw unsupported('scales of groups, as before opset 21');
    }
    return {
      op: 'group-norm',
      groups: attr.int('num_groups', 1),
      ...(isAll(numbers(1), 1) ? {} : { weight: weight(1, 1).name }),
      ...(isAll(numbers(2), 0) ? {} : { bias: weight(2, 1).name }),
      epsilon: attr.float('epsilon', 1e-5),
    };
  },
  InstanceNormalization: ({ attr, weight, numbers }) => ({
    op: 'group-norm',
    groups: numbers(1)?.length ?? 1,
    // Exporters write group normalisation as this with ones and zeros, which are nobody's parameters.
    ...(isAll(numbers(1), 1) ? {} : { weight: weight(1, 1).name }),
    ...(isAll(numbers(2), 0) ? {} : { bias: weight(2, 1).name }),
    epsilon: attr.float('epsilon', 1e-5),
  }),
  Clip({ attr, numbers, has, unsupported }) {
    const bound = (position: number, name: string): number | undefined => {
      const given = has(position) || attr.raw(name) !== undefined;
      const own = numbers(position)?.[0] ?? (attr.raw(name) ? attr.float(name, 0) : undefined);
      if (given && own === undefined) {
        throw unsupported('a bound that is computed');
      }
      return own !== undefined && Math.abs(own) < 3e38 ? own : undefined;
    };
    const [low, high] = [bound(1, 'min'), bound(2, 'max')];
    return low === 0 && high === undefined
      ? { op: 'relu' }
      : { op: 'clip', ...(low === undefined ? {} : { low }), ...(high === undefined ? {} : { high }) };
  },
  Relu: () => ({ op: 'relu' }),
  Sigmoid: () => ({ op: 'sigmoid' }),
  Tanh: () => ({ op: 'tanh' }),
  Erf: () => ({ op: 'erf' }),
  LeakyRelu: ({ attr }) => ({ op: 'leaky-relu', slope: attr.float('alpha', 0.01) }),
  Elu: ({ attr }) => ({ op: 'elu', alpha: attr.float('alpha', 1) }),
  Gelu: ({ attr }) => ({ op: 'gelu', approximate: attr.text('approximate') === 'tanh' }),
  Swish: () => ({ op: 'silu' }),
  Softmax: ({ attr }) => ({ op: 'softmax', axis: attr.int('axis', -1) }),
  LogSoftmax: ({ attr }) => ({ op: 'softmax', axis: attr.int('axis', -1) }),
  MaxPool: (call) => pool(call, 'max-pool'),
  AveragePool: (call) => ({
    ...pool(call, 'average-pool'),
    countPadding: call.attr.int('count_include_pad', 0) === 1,
  }),
  GlobalAveragePool: () => ({ op: 'global-average-pool' }),
  Flatten({ attr, unsupported }) {
    if (attr.int('axis', 1) !== 1) {
      throw unsupported('an axis other than 1');
    }
    return { op: 'flatten' };
  },
};

function isAll(numbers: readonly (number | undefined)[] | undefined, value: number): boolean {
  return numbers?.every((own) => own === value) === true;
}

function pool({ attr, unsupported }: OnnxCall, op: PoolLayer['op']): PoolLayer {
  const kernel = pair(attr.ints('kernel_shape'));
  const dilated = attr.ints('dilations')?.some((own) => own !== 1) === true;
  if (kernel === undefined || dilated || attr.int('ceil_mode', 0) === 1) {
    throw unsupported('ceil_mode, dilations or a kernel that is not two-dimensional');
  }
  return {
    op,
    kernel,
    stride: pair(attr.ints('strides')) ?? 1,
    padding: attr.padding(() => unsupported('auto_pad')),
  };
}
