import type { TensorGraph, TensorNode } from '../../graph/tensor-graph.js';
import type { Layer, LayerOp } from './recipe.js';

/** What one kind of layer is: the fields that a recipe gives it, and its forward pass as nodes of the tensor graph. */

export type FieldKind = 'string' | 'number' | 'boolean' | 'extent' | 'padding' | 'numbers' | 'strings';

export interface Field {
  readonly kind: FieldKind;
  readonly required?: true;
  /** The only values taken, where any word will not do. */
  readonly words?: readonly string[];
}

/** A layer of one operation. */
export type LayerOf<Op extends LayerOp> = Layer & { readonly op: Op };

export interface LayerRule<Op extends LayerOp> {
  readonly fields: Readonly<Record<string, Field>>;
  /**
   * The layer's output, batch first.
   *
   * @param inputs outputs of the layers that it takes; none for a parameter or a constant
   * @throws RecipeError or RangeError when they do not fit
   */
  forward(layer: LayerOf<Op>, inputs: readonly TensorNode[], network: NetworkBuilder): TensorNode;
}

/** Whether batch normalisation uses running statistics or those of the batch. */
export type NormMode = 'eval' | 'train';

/** What a layer's forward pass may ask of the network that it becomes part of. */
export interface NetworkBuilder {
  readonly graph: TensorGraph;
  /** Number of samples. */
  readonly batch: number;
  readonly mode: NormMode;
  /** Where maxima are to be smooth: their softmax weights' temperature, relative to the values' root mean square. */
  readonly temperature: TensorNode | undefined;
  /** Notes the weights of a smooth maximum's entries. */
  readonly chooses: (weights: readonly TensorNode[]) => void;
  /**
   * A tensor of the checkpoint, which gradients can be taken by.
   *
   * @param rank number of axes that it must have
   * @param size length that its first axis must have
   * @throws RecipeError when there is none, or of another shape
   */
  readonly parameter: (name: string, rank?: number, size?: number) => TensorNode;
  /** A tensor that takes part in no derivative. @throws RecipeError when it does not hold `size` numbers */
  readonly statistic: (name: string | undefined, size: number) => TensorNode;
  /** Notes what a batch normalisation takes in, with the names of its running statistics. */
  readonly normalises: (input: TensorNode, mean: string, variance: string) => void;
}

/** A recipe that does not fit the checkpoint or itself. */
export class RecipeError extends Error {
  override readonly name = 'RecipeError';
}

/** @throws RecipeError when the value is not batch x channels x height x width */
export function requireImage(x: TensorNode): void {
  if (x.shape.length !== 4) {
    throw new RecipeError(`an image is needed, but its input is of shape [${x.shape.join(', ')}]`);
  }
}

/** An axis counted from the front. */
export function axisOf(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
