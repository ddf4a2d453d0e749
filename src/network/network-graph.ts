import { type TensorData, type TensorGraph, type TensorNode, sizeOf } from '../graph/tensor-graph.js';
import { NETWORK_INPUT, inputsOfLayers } from './layer-graph.js';
import { logSoftmax } from './layers/activations.js';
import { type NetworkBuilder, type NormMode, RecipeError } from './layers/layer-rule.js';
import { ruleOf } from './layers/rules.js';
import { type Layer, type Recipe, layerName } from './layers/recipe.js';

/** A recipe as nodes of a tensor graph: the forward pass of a batch. */

export interface StoredTensor {
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** Finds a tensor by its name in the checkpoint. */
export type TensorLookup = (name: string) => StoredTensor | undefined;

export interface NetworkGraph {
  /** batch x channels x height x width, or batch x features */
  readonly input: TensorNode;
  /** batch x classes */
  readonly logits: TensorNode;
  /** Every parameter that has been used, in the layout of its file. */
  readonly parameters: ReadonlyMap<string, TensorNode>;
  /** Output of each layer, in the recipe's order. */
  readonly outputs: readonly TensorNode[];
  /** Weights of the entries of smooth maxima. */
  readonly choices: ReadonlySet<TensorNode>;
  /** Inputs of every batch normalisation, whose statistics are known to an attacker. */
  readonly normalised: readonly { readonly input: TensorNode; readonly mean: string; readonly variance: string }[];
}

/** For each sample: of one layer, and of all layers. ResNet-152 at 224 x 224 has 7e7. */
const MOST_OF_LAYER = 2 ** 25;
const MOST_NUMBERS = 2 ** 28;

/** Numbers for each sample. @throws RecipeError when there are more than any network gives out */
function sizeWithin({ shape }: TensorNode, batch: number): number {
  const size = sizeOf(shape) / batch;
  if (!shape.every((own) => Number.isSafeInteger(own) && own > 0) || size > MOST_OF_LAYER) {
    throw new RecipeError(`[${shape.join(', ')}] numbers are given out, more than ${MOST_OF_LAYER} for each sample`);
  }
  return size;
}

/**
 * @param batch number of samples
 * @param mode whether batch normalisation uses running statistics or those of the batch
 * @param temperature a positive scalar, for a network whose max poolings are smooth; undefined for the network as it is
 * @throws RecipeError naming the layer that does not fit
 */
export function buildNetwork(
  graph: TensorGraph,
  recipe: Recipe,
  lookup: TensorLookup,
  batch: number,
  mode: NormMode,
  temperature?: TensorNode,
): NetworkGraph {
  const builder = new Builder(graph, lookup, mode, batch, temperature);
  const input = graph.variable('x', [batch, ...recipe.input]);
  let total = sizeWithin(input, batch);
  const outputs: TensorNode[] = [];
  const sources = inputsOfLayers(recipe);
  recipe.layers.forEach((layer, index) => {
    try {
      const inputs = sources[index]!.map((source) => (source === NETWORK_INPUT ? input : outputs[source]!));
      const output = ruleOf(layer.op).forward(layer, inputs, builder);
      total += sizeWithin(output, batch);
      if (total > MOST_NUMBERS) {
        throw new RecipeError(`the layers up to this one give out more than ${MOST_NUMBERS} numbers for each sample`);
      }
      outputs.push(output);
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
  return {
    input,
    logits,
    outputs,
    parameters: builder.parameters,
    choices: builder.choices,
    normalised: builder.normalised,
  };
}

/**
 * One layer of a network by itself.
 *
 * @param inputs what it takes, batch first
 * @throws RecipeError or RangeError when they do not fit
 */
export function buildLayer(
  graph: TensorGraph,
  layer: Layer,
  inputs: readonly TensorNode[],
  lookup: TensorLookup,
  batch: number,
  mode: NormMode,
): TensorNode {
  return ruleOf(layer.op).forward(layer, inputs, new Builder(graph, lookup, mode, batch, undefined));
}

function fail(message: string): never {
  throw new RecipeError(message);
}

class Builder implements NetworkBuilder {
  readonly parameters = new Map<string, TensorNode>();
  readonly choices = new Set<TensorNode>();
  readonly normalised: { input: TensorNode; mean: string; variance: string }[] = [];

  constructor(
    readonly graph: TensorGraph,
    private readonly lookup: TensorLookup,
    readonly mode: NormMode,
    readonly batch: number,
    readonly temperature: TensorNode | undefined,
  ) {}

  readonly parameter = (name: string, rank?: number, size?: number): TensorNode => {
    const known = this.parameters.get(name);
    if (known) {
      return known;
    }
    const stored = this.lookup(name) ?? fail(`the checkpoint holds no tensor "${name}"`);
    if ((rank !== undefined && stored.shape.length !== rank) || (size !== undefined && stored.shape[0] !== size)) {
      fail(`"${name}" is of shape [${stored.shape.join(', ')}] in the checkpoint, which does not fit here`);
    }
    const node = this.graph.parameter(name, stored.data, stored.shape);
    this.parameters.set(name, node);
    return node;
  };

  readonly statistic = (name: string | undefined, channels: number): TensorNode => {
    const stored =
      (name === undefined ? undefined : this.lookup(name)) ?? fail('eval mode needs the running statistics');
    if (stored.data.length !== channels) {
      fail(`"${name}" holds ${stored.data.length} numbers for ${channels} channels`);
    }
    return this.graph.constant(stored.data, [channels]);
  };

  readonly chooses = (weights: readonly TensorNode[]): void => {
    weights.forEach((own) => this.choices.add(own));
  };

  readonly normalises = (input: TensorNode, mean: string, variance: string): void => {
    this.normalised.push({ input, mean, variance });
  };
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
