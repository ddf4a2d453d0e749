import type { StoredTensor } from '../../network/network-graph.js';
import type { Recipe } from '../../network/layers/recipe.js';

/** What the chain starts from, what it carries from layer to layer, and what it says of each. */

/** What the head's recovery hands over; everything in the captured gradient's own scale. */
export interface HeadSolution {
  /** Input of the head. */
  readonly feature: Float64Array;
  readonly featureError: Float64Array;
  /** dL/dz of the head, p - y for one sample: K. */
  readonly delta: Float64Array;
  /** Standard error of each entry, without the common scale. */
  readonly deltaError: Float64Array;
  /** Relative error of the common scale: feature * k and delta / k fit the head as well. 0 when known. */
  readonly scaleError: number;
}

/** What the numbers of the dump allow. */
export interface Precision {
  /** Unit roundoff of the network's own arithmetic. */
  readonly forward: number;
  /** Unit roundoff of the stored gradients. */
  readonly stored: number;
  /** Standard deviation of noise on every gradient entry. */
  readonly noise: number;
}

export interface ChainProblem {
  readonly recipe: Recipe;
  /** Index of the head in the recipe. */
  readonly head: number;
  /** Shape of each layer's output, one sample, without the batch. */
  readonly outputShapes: readonly (readonly number[])[];
  readonly parameter: (name: string) => StoredTensor | undefined;
  readonly gradient: (name: string) => StoredTensor | undefined;
  readonly solution: HeadSolution;
  readonly precision: Precision;
  /** Share of a layer's gradient that may stay unexplained before the walk ends; that of another network when absent. */
  readonly mostUnexplained?: number;
}

/** What one layer's equations say about themselves. */
export interface LayerEvidence {
  readonly layer: string;
  readonly op: 'linear' | 'conv';
  readonly unknowns: number;
  readonly equations: number;
  readonly rank: number;
  readonly condition: number;
  /** ||dL/dW - what the recovered input makes of it|| / ||dL/dW||. */
  readonly residual: number;
  /** Distance of the bias gradient from the sum of delta, relative; null without a bias gradient. */
  readonly biasMisfit: number | null;
  /** Root mean square of the estimated errors of the recovered input. */
  readonly inputError: number;
  readonly converged: boolean;
}

export interface ChainResult {
  readonly layers: readonly LayerEvidence[];
  /** The network's input, or undefined when the chain ended before it. */
  readonly input: Float64Array | undefined;
  readonly inputError: number | undefined;
  /** Why and where the chain ended early. */
  readonly stopped: string | undefined;
}

/** What comes next, and what the layer above gave. */
export interface ChainProgress {
  readonly layer: string;
  readonly done: number;
  readonly of: number;
  /** Recovered input of the layer solved last, channels x height x width or flat; undefined at first. */
  readonly latest: Recovered | undefined;
}

export interface Recovered {
  readonly values: Float64Array;
  readonly shape: readonly number[];
}

/** What is known of the values at one node of the network, and what that is worth; all arrays of the node's size. */
export interface NodeEstimate {
  readonly values: Float64Array;
  /** Standard errors, in the values' unit. */
  readonly error: Float64Array;
  /** dL/dvalues, from all that takes them. */
  readonly delta: Float64Array;
  readonly deltaError: Float64Array;
  /** 0 where nothing is known of a value (below ReLU's zero). */
  readonly known: Uint8Array;
}
