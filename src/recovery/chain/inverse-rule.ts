import type { ProductKernel } from '../../graph/product-kernel.js';
import type { LayerOf } from '../../network/layers/layer-rule.js';
import type { LayerOp } from '../../network/layers/recipe.js';
import type { ChainProblem, LayerEvidence, NodeEstimate } from './chain-state.js';

/** One layer on the way down, with all that is known around it. */
export interface Place<Op extends LayerOp> {
  readonly problem: ChainProblem;
  readonly layer: LayerOf<Op>;
  readonly index: number;
  /** Shapes of the values that the layer takes, one sample, without the batch. */
  readonly inputShapes: readonly (readonly number[])[];
  /** Which layers they are the outputs of; NETWORK_INPUT for the network's input. */
  readonly inputs: readonly number[];
  /** What is known of its output; undefined below a layer that has no inverse. */
  readonly output: NodeEstimate | undefined;
  readonly product: ProductKernel;
}

/** What a layer's equations say of the values that it takes, one estimate for each; evidence where it solved for them. */
export interface Inverted {
  readonly inputs: readonly NodeEstimate[];
  readonly evidence?: LayerEvidence;
}

interface Common<Op extends LayerOp> {
  /** Why it cannot be done, as far as can be told before the work. */
  obstacle?(place: Place<Op>): string | undefined;
}

/** A layer without unknowns of its own: its input follows from its output. */
export interface ElementRule<Op extends LayerOp> extends Common<Op> {
  readonly solves: false;
  /** @param output what is known of the layer's output */
  invert(place: Place<Op>, output: NodeEstimate): Inverted | string;
}

/** A layer with weights, whose input is the unknown of a system of equations. */
export interface SolvingRule<Op extends LayerOp> extends Common<Op> {
  readonly solves: true;
  /** Whether the layer's own gradients suffice, whatever is known of its output. */
  needsNoOutput?(place: Place<Op>): boolean;
  /** `place.output` is there unless `needsNoOutput` has said that it need not be. */
  invert(place: Place<Op>): Inverted | string | Promise<Inverted | string>;
}

/** From a layer's output to its inputs; a sentence where they do not follow. */
export type InverseRule<Op extends LayerOp> = ElementRule<Op> | SolvingRule<Op>;
