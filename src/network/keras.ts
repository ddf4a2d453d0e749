import { UnusableInputError } from '../protocol/errors.js';
import { KERAS_LAYERS } from './keras-layers.js';
import type { Layer, Recipe } from './layers/recipe.js';

/**
 * Keras models (Keras 2 and 3, TensorFlow.js LayersModel) as recipes. Keras is channels-last; the recipe is
 * channels-first, so that flattening is preceded by a transposition.
 */

interface KerasLayer {
  readonly className: string;
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly inbound: readonly string[];
}

/**
 * @param value the architecture: `model.json`, or the configuration inside of `.keras` and `.h5`
 * @param file named in messages
 * @throws UnusableInputError naming the layer that is not supported
 */
export function importKeras(value: unknown, file: string): Recipe {
  const bad = (found: string, expected: string): UnusableInputError =>
    new UnusableInputError({
      code: 'unsupported-operation',
      file,
      found,
      expected,
      advice: 'Describe the network by a recipe instead, or audit labels only.',
    });
  const model = modelOf(value);
  const config = record(model?.config);
  const listed = Array.isArray(model?.config) ? model.config : config?.layers;
  if (!model || !Array.isArray(listed)) {
    throw bad('no Keras architecture', 'a Sequential or Functional model');
  }
  const layers = readLayers(listed, textOf(model.class_name));
  const input = inputShape(layers, config, bad);
  const importer = new KerasImporter(bad);
  for (const layer of layers) {
    importer.layer(layer);
  }
  importer.trimSoftmax();
  return {
    schemaVersion: 1,
    name: `Keras ${textOf(model.class_name)} model`,
    input,
    layers: importer.layers,
  };
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function modelOf(value: unknown): Record<string, unknown> | undefined {
  const top = record(value);
  const topology = record(top?.modelTopology) ?? top;
  return record(topology?.model_config) ?? topology;
}

function readLayers(listed: readonly unknown[], kind: string): KerasLayer[] {
  let before = '';
  return listed.map((item) => {
    const layer = record(item) ?? {};
    const config = record(layer.config) ?? {};
    const named = layer.name ?? config.name;
    const name = textOf(named);
    const inbound = kind === 'Sequential' ? (before === '' ? [] : [before]) : inboundOf(layer.inbound_nodes);
    before = name;
    return { className: textOf(layer.class_name), name, config, inbound };
  });
}

/** Keras 2 lists [[name, node, tensor, {}], ...]; Keras 3 nests tensors with a `keras_history`. */
function inboundOf(nodes: unknown): string[] {
  const names: string[] = [];
  const collect = (value: unknown): void => {
    if (Array.isArray(value)) {
      if (typeof value[0] === 'string' && typeof value[1] === 'number') {
        names.push(value[0]);
        return;
      }
      value.forEach(collect);
      return;
    }
    const own = record(value);
    const history = record(own?.config)?.keras_history;
    if (Array.isArray(history) && typeof history[0] === 'string') {
      names.push(history[0]);
      return;
    }
    Object.values(own ?? {}).forEach(collect);
  };
  collect(nodes);
  return names;
}

function inputShape(
  layers: readonly KerasLayer[],
  config: Record<string, unknown> | undefined,
  bad: (found: string, expected: string) => UnusableInputError,
): number[] {
  const [first] = layers;
  const shape = first?.config.batch_input_shape ?? first?.config.batch_shape ?? config?.build_input_shape ?? undefined;
  const sizes = Array.isArray(shape) ? shape.slice(1) : [];
  if (sizes.length === 0 || !sizes.every((size) => typeof size === 'number' && size > 0)) {
    throw bad('an input whose shape is not fixed', 'one input of fixed size');
  }
  const [height, width, channels] = sizes as number[];
  return sizes.length === 3 ? [channels!, height!, width!] : (sizes as number[]);
}

const ACTIVATIONS: Readonly<Record<string, Layer>> = {
  relu: { op: 'relu' },
  sigmoid: { op: 'sigmoid' },
  tanh: { op: 'tanh' },
  elu: { op: 'elu' },
  gelu: { op: 'gelu' },
  silu: { op: 'silu' },
  swish: { op: 'silu' },
  softmax: { op: 'softmax' },
};

class KerasImporter {
  readonly layers: Layer[] = [];
  /** Keras names of layers that add nothing, to what they pass on. */
  private readonly outputs = new Map<string, string>();
  /** Whether a value is an image, which flattening has to turn first. */
  private readonly images = new Set<string>();

  constructor(private readonly bad: (found: string, expected: string) => UnusableInputError) {}

  trimSoftmax(): void {
    if (this.layers[this.layers.length - 1]?.op === 'softmax') {
      this.layers.pop();
    }
  }

  layer({ className, name, config, inbound }: KerasLayer): void {
    const inputs = inbound.map((own) => this.outputs.get(own) ?? own);
    const [first = 'input'] = inputs;
    const image = inbound.length === 0 || this.images.has(inbound[0]!);
    const unsupported = (what?: string): UnusableInputError =>
      this.bad(
        `the layer ${className} "${name}"${what === undefined ? '' : ` with ${what}`}`,
        'layers of image classifiers',
      );
    if (config.data_format === 'channels_first') {
      throw unsupported('channels first');
    }
    const pass = (): void => {
      this.outputs.set(name, first);
    };
    const push = (layer: Layer, from: readonly string[] = [first], isImage = image): void => {
      this.layers.push({ ...layer, id: name, inputs: [...from] });
      this.outputs.set(name, name);
      this.activate(name, config.activation, unsupported);
      if (isImage) {
        this.images.add(name);
      }
    };
    switch (className) {
      case 'InputLayer':
        this.outputs.set(name, 'input');
        this.images.add(name);
        return;
      case 'Dropout':
      case 'SpatialDropout2D':
        pass();
        if (image) {
          this.images.add(name);
        }
        return;
      case 'Activation':
        pass();
        this.activate(name, config.activation, unsupported, first);
        if (image) {
          this.images.add(name);
        }
        return;
      case 'GlobalAveragePooling2D':
        this.layers.push({ op: 'global-average-pool', id: `${name}.pooled`, inputs: [first] });
        push({ op: 'flatten' }, [`${name}.pooled`], false);
        return;
      case 'Flatten': {
        if (!image) {
          pass();
          return;
        }
        this.layers.push({ op: 'transpose', order: [0, 2, 3, 1], id: `${name}.last`, inputs: [first] });
        push({ op: 'flatten' }, [`${name}.last`], false);
        return;
      }
      default: {
        const make = Object.hasOwn(KERAS_LAYERS, className) ? KERAS_LAYERS[className] : undefined;
        if (!make) {
          throw unsupported();
        }
        const layer = make({ name, config, unsupported });
        const takesAll = layer.op === 'add' || layer.op === 'mul' || layer.op === 'concat';
        push(layer, takesAll ? inputs : [first], image && layer.op !== 'linear');
      }
    }
  }

  private activate(
    name: string,
    activation: unknown,
    unsupported: (what?: string) => UnusableInputError,
    from = name,
  ): void {
    if (activation === undefined || activation === null || activation === 'linear') {
      return;
    }
    const layer = typeof activation === 'string' ? ACTIVATIONS[activation] : undefined;
    if (!layer) {
      throw unsupported(`the activation ${JSON.stringify(activation)}`);
    }
    const id = `${name}.${layer.op}`;
    this.layers.push({ ...layer, id, inputs: [from] });
    this.outputs.set(name, id);
  }
}
