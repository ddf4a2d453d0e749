import type { FittedLabel } from '../label-family.js';
import { norm } from '../vectors.js';
import type { WhitenedHead } from './whiten.js';
import type { Pause } from '../pause.js';

/** What a search for a batch's samples gives. */

export interface BatchSample {
  readonly label: FittedLabel;
  /** d, the head's input. */
  readonly feature: Float64Array;
  /** p - y, K. */
  readonly errorVector: Float64Array;
  /** Samples of one class that this gradient cannot tell apart are one entry: the class, how many, their mean feature. */
  readonly multiplicity: number;
  /** c in G = sum c (p - y) x^T. */
  readonly coefficient: number;
  /** Size of c (p - y) x^T against the sum of all samples' and what is unexplained, 0 to 1. */
  readonly share: number;
  /** Squared relative misfit of the sample's equations, and what noise would leave. */
  readonly residual: number;
  readonly residualFloor: number;
  /** Expected relative error of the feature. */
  readonly featureError: number;
  readonly confidence: number;
}

export interface BatchRecovery {
  readonly samples: readonly BatchSample[];
  /** Directions of the gradient above its noise, all or those that were worked with. */
  readonly rank: number;
  /** The weight of one sample in the gradient: 1 / B for a mean over the batch. 0 when nothing was found. */
  readonly coefficient: number;
  /** ||G - what the samples explain|| / ||G||. */
  readonly unexplained: number;
  /** True when nothing above the noise is left. */
  readonly complete: boolean;
  /** Why the search ended. */
  readonly ended: 'complete' | 'exhausted' | 'time' | 'stopped';
}

export interface BatchOptions {
  /** Number of samples, when the user knows it. */
  readonly size?: number | undefined;
  /** How often each class occurs, K, when the bias gradient tells; for groups. */
  readonly counts?: readonly number[] | undefined;
  readonly timeLimitMs: number;
  /** Stopping keeps what was found. */
  readonly pause: Pause<{ found: number; rank: number }>;
}

export interface Part {
  /** In the model's units, with the bias column's 1 where there is one. */
  readonly feature: Float64Array;
  readonly errorVector: Float64Array;
  /** Norm of the part of the gradient. */
  readonly size: number;
  readonly about: Omit<BatchSample, 'feature' | 'errorVector' | 'share'>;
}

/** Samples in the order of their size, and what they leave of the gradient. */
export function describe(head: WhitenedHead, parts: readonly Part[]): Pick<BatchRecovery, 'samples' | 'unexplained'> {
  const { classes, columns, gradient, hasBiasColumn } = head;
  const rest = gradient.data.slice();
  for (const { feature, errorVector, about } of parts) {
    for (let row = 0; row < classes; row++) {
      const weight = about.coefficient * errorVector[row]!;
      for (let col = 0; col < columns; col++) {
        rest[row * columns + col]! -= weight * feature[col]!;
      }
    }
  }
  const left = norm(rest);
  const whole = parts.reduce((sum, { size }) => sum + size, left);
  const samples = parts.map(({ feature, errorVector, size, about }) => ({
    ...about,
    feature: hasBiasColumn ? feature.slice(0, columns - 1) : feature,
    errorVector,
    share: size / whole,
  }));
  return {
    samples: samples.sort((one, other) => other.share - one.share),
    unexplained: left / norm(gradient.data),
  };
}
