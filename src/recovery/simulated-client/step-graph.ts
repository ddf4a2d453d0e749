import { gradients } from '../../graph/derivative.js';
import { type ConstantFolder, type TensorData, TensorGraph, type TensorNode } from '../../graph/tensor-graph.js';
import type { NormMode } from '../../network/layers/layer-rule.js';
import type { Recipe } from '../../network/layers/recipe.js';
import { type TensorLookup, buildNetwork, crossEntropy } from '../../network/network-graph.js';

/** One step of a client's gradient descent as a graph whose weights are fed, and its adjoint. */

export interface StepGraph {
  /** Weights after the step, in the order of `trained`: w - rate dL/dw. */
  readonly next: readonly TensorNode[];
  /** For adjoints a of the weights after the step, those of the weights before it: a - rate d<dL/dw, a>/dw. */
  readonly adjoints: readonly TensorNode[];
  /** The adjoint of the inputs: -rate d<dL/dw, a>/dx, of the input's shape. */
  readonly slope: TensorNode;
  /** K. */
  readonly classes: number;
}

/** Names of the fed variables; `x` is the batch of inputs, samples first. */
export const LABELS = 'y';
export const RATE = 'rate';
export const weightName = (index: number): string => `weight${index}`;
export const adjointName = (index: number): string => `adjoint${index}`;

/** Trained weights change from step to step, so they are variables and not the parameters that they are elsewhere. */
class GraphOfWeights extends TensorGraph {
  constructor(
    fold: ConstantFolder,
    private readonly places: ReadonlyMap<string, number>,
  ) {
    super(fold);
  }

  override parameter(name: string, data: TensorData, shape: readonly number[]): TensorNode {
    const place = this.places.get(name);
    return place === undefined ? super.parameter(name, data, shape) : this.variable(weightName(place), shape);
  }
}

/**
 * A step on the mean cross-entropy of a batch with one-hot or soft labels, without momentum or decay. As everywhere in the
 * graph, the choices of rectifiers and of maxima count as constants.
 *
 * @param trained names of the weights that the client changes; all others stay as the lookup gives them
 * @param batch samples of this step
 * @param mode how batch normalisation ran
 * @throws RecipeError when the network does not fit its weights; RangeError when a trained weight is none of the network's
 */
export function stepGraph(
  fold: ConstantFolder,
  recipe: Recipe,
  lookup: TensorLookup,
  trained: readonly string[],
  batch: number,
  mode: NormMode,
): StepGraph {
  const g = new GraphOfWeights(fold, new Map(trained.map((name, index) => [name, index])));
  const network = buildNetwork(g, recipe, lookup, batch, mode);
  const weights = trained.map((name) => {
    const node = network.parameters.get(name);
    if (!node) {
      throw new RangeError(`"${name}" is no weight of the network.`);
    }
    return node;
  });
  const labels = g.variable(LABELS, network.logits.shape);
  const rate = g.variable(RATE, [1]);
  const slopes = gradients(g, crossEntropy(g, network.logits, labels), weights);
  const after = (node: TensorNode, slope: TensorNode): TensorNode => g.sub(node, g.mul(rate, slope));
  const adjoints = weights.map(({ shape }, index) => g.variable(adjointName(index), shape));
  const product = slopes
    .map((slope, index) => g.total(g.mul(slope, adjoints[index]!)))
    .reduce((sum, own) => g.add(sum, own));
  const curvature = gradients(g, product, [...weights, network.input]);
  return {
    next: weights.map((node, index) => after(node, slopes[index]!)),
    adjoints: adjoints.map((node, index) => after(node, curvature[index]!)),
    slope: g.neg(g.mul(rate, curvature.at(-1)!)),
    classes: network.logits.shape[1]!,
  };
}
