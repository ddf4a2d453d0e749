import type { NormMode } from '../../network/layers/layer-rule.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { TensorLookup } from '../../network/network-graph.js';

/** What the walk down a network of rectifiers starts from, what it finds at each node, and what it says of each. */

export interface WalkProblem {
  readonly recipe: Recipe;
  /** Index of the head in the recipe. */
  readonly head: number;
  /** Shape of each layer's output, one sample, without the batch. */
  readonly outputShapes: readonly (readonly number[])[];
  readonly parameter: TensorLookup;
  readonly gradient: TensorLookup;
  /** How batch normalisation ran. */
  readonly mode: NormMode;
  /** What the head tells, in the captured gradient's own scale; undefined where it tells nothing. */
  readonly solution: HeadOfBatch | undefined;
  /** Unit roundoff of the stored gradients, or the relative size of noise where that is larger. */
  readonly error: number;
  /** Values of a node that are roughly right, batch x shape, where the choices of a max pooling begin; undefined where nothing is known. */
  readonly guess?: ((node: number) => Float64Array | undefined) | undefined;
  /** Leaves nodes whose equations do not suffice without their values' signs to {@link WalkResult.goOn}, as these cost most. */
  readonly leavesSigns?: boolean | undefined;
}

export interface HeadOfBatch {
  readonly batch: number;
  /** Input of the head: batch x d. */
  readonly features: Float64Array;
  /** dL/dlogits: batch x K. */
  readonly delta: Float64Array;
}

/** How a map was computed. */
export type MapSource = 'head' | 'equations' | 'row space' | 'maxima' | 'signs';

/** Values at one node that follow from the gradient. */
export interface ExactMap {
  /** Layer whose output it is, NETWORK_INPUT for the network's input. */
  readonly node: number;
  /** One sample, without the batch. */
  readonly shape: readonly number[];
  /** batch x shape; exact zeros where a rectifier cut. */
  readonly values: Float64Array;
  /** Whether zeros stand for values that a rectifier has cut. */
  readonly rectified: boolean;
  /** Expected error, relative to the values' size. */
  readonly error: number;
  /** Whether only ratios of a sample's values are known, as below batch normalisation in train mode. */
  readonly upToFactor: boolean;
  /** As long as the values, 1 where nothing is known; undefined when all is. */
  readonly unknown: Uint8Array | undefined;
  /** dL/dvalues, of the same shape; undefined where it was not asked for, or is not known. */
  readonly delta?: Float64Array | undefined;
}

/** One sample's part of values at a node. */
export function sampleOf({ values }: Pick<ExactMap, 'values'>, sample: number, batch: number): Float64Array {
  const size = values.length / batch;
  return values.slice(sample * size, (sample + 1) * size);
}

/** What was done at one node, and how far it can be trusted. */
export interface WalkStep {
  readonly node: number;
  /** Layers whose gradients were used. */
  readonly layers: readonly string[];
  readonly by: MapSource;
  readonly unknowns: number;
  readonly equations: number;
  /** Of the least squares, columns being of length one; null for row spaces and where signs settle them. */
  readonly condition: number | null;
  /** What equations leave unexplained, relative to their size; for row spaces what the bias gradient leaves. */
  readonly residual: number;
  /** Output channels whose delta was wrong somewhere, and left out. */
  readonly outlying: number;
  /** Entries of rectifier masks that were corrected. */
  readonly repaired: number;
  /** Smallest singular value kept over the largest left out; null for equations. */
  readonly gap: number | null;
  /** Of a layer whose row space was enough: more channels than positions of all samples. */
  readonly alone?: { readonly channels: number; readonly positions: number };
}

export interface WalkEnd {
  readonly node: number;
  readonly reason: string;
  /** Whether it is the choices of a max pooling that could not be told: an image that is roughly right may tell them. */
  readonly isUntold: boolean;
}

export interface WalkResult {
  readonly batch: number;
  /** The deepest first. */
  readonly maps: readonly ExactMap[];
  readonly steps: readonly WalkStep[];
  /** Where it could not go on, and why: from the head down. */
  readonly ended: readonly WalkEnd[];
  /** The user stopped it; what was found until then is here. */
  readonly stopped: boolean;
  /** Where nodes were left to their values' signs: these too, and what follows from them. */
  readonly goOn?: (() => Promise<WalkResult>) | undefined;
}

export interface WalkProgress {
  /** What is worked at. */
  readonly layer: string;
  readonly done: number;
  readonly of: number;
  readonly latest: ExactMap | undefined;
}
