import type { UnusableInputError } from '../protocol/errors.js';
import type { Layer, Padding } from './layers/recipe.js';

/** Keras layers that are one layer of the recipe: what each one's configuration says. */

export interface KerasCall {
  /** Prefix of its weights' names in the file. */
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly unsupported: (what: string) => UnusableInputError;
}

export const KERAS_LAYERS: Readonly<Record<string, (call: KerasCall) => Layer>> = {
  Conv2D: (call) => ({
    op: 'conv',
    weight: `${call.name}/kernel`,
    ...biasOf(call),
    layout: 'hwio',
    stride: pair(call.config.strides),
    dilation: pair(call.config.dilation_rate),
    padding: padding(call.config.padding),
    groups: typeof call.config.groups === 'number' ? call.config.groups : 1,
  }),
  Dense: (call) => ({ op: 'linear', weight: `${call.name}/kernel`, ...biasOf(call), layout: 'dxk' }),
  BatchNormalization: ({ name, config }) => ({
    op: 'batch-norm',
    ...(config.scale === false ? {} : { weight: `${name}/gamma` }),
    ...(config.center === false ? {} : { bias: `${name}/beta` }),
    mean: `${name}/moving_mean`,
    variance: `${name}/moving_variance`,
    epsilon: typeof config.epsilon === 'number' ? config.epsilon : 1e-3,
  }),
  ReLU({ config, unsupported }) {
    if (config.max_value !== null && config.max_value !== undefined) {
      throw unsupported('max_value');
    }
    return { op: 'relu' };
  },
  LeakyReLU({ config }) {
    const slope = config.negative_slope ?? config.alpha;
    return { op: 'leaky-relu', slope: typeof slope === 'number' ? slope : 0.3 };
  },
  ELU: ({ config }) => ({ op: 'elu', alpha: typeof config.alpha === 'number' ? config.alpha : 1 }),
  Softmax: () => ({ op: 'softmax' }),
  MaxPooling2D: ({ config }) => ({ op: 'max-pool', ...windowsOf(config) }),
  AveragePooling2D: ({ config }) => ({ op: 'average-pool', ...windowsOf(config), countPadding: false }),
  ZeroPadding2D({ config }) {
    const [rows, cols] = Array.isArray(config.padding)
      ? (config.padding as unknown[])
      : [config.padding, config.padding];
    const [top, bottom] = pair(rows);
    const [left, right] = pair(cols);
    return { op: 'pad', padding: [top, left, bottom, right] };
  },
  Add: () => ({ op: 'add' }),
  Multiply: () => ({ op: 'mul' }),
  Concatenate: () => ({ op: 'concat', axis: 1 }),
};

function biasOf({ name, config }: KerasCall): { bias?: string } {
  return config.use_bias === false ? {} : { bias: `${name}/bias` };
}

function windowsOf(config: Record<string, unknown>): {
  kernel: [number, number];
  stride: [number, number];
  padding: Padding;
} {
  const kernel = pair(config.pool_size);
  return { kernel, stride: config.strides === null ? kernel : pair(config.strides), padding: padding(config.padding) };
}

function pair(value: unknown): [number, number] {
  if (typeof value === 'number') {
    return [value, value];
  }
  return Array.isArray(value) && value.length === 2 ? (value as [number, number]) : [1, 1];
}

function padding(value: unknown): Padding {
  return value === 'same' ? 'same' : 0;
}
