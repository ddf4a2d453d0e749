import type { HeadFactors } from '../../recovery/head-factors.js';
import type { GradientShape, HeadGradient } from '../../recovery/head-gradient.js';
import { multiplyTransposed } from '../../recovery/linear-algebra.js';
import { type RecoveredSample } from '../../recovery/recovered-sample.js';
import { norm, scaled } from '../../recovery/vectors.js';
import type { RecoveredHead } from './recover-head.js';

/** What an attacker takes for label and feature where nothing confirms any: of updates that were defended. */

/**
 * The class that the gradient lowers most: softmax's p - y is negative for the label alone (iDLG, Zhao et al., arXiv
 * 2001.02610). Without a bias gradient the sign is open, and the largest entry of its first direction is taken.
 */
export function lowestClass({ biasGradient }: HeadGradient, { rankOne }: Pick<GradientShape, 'rankOne'>): number {
  return biasGradient
    ? biasGradient.reduce((best, value, at) => (value < (biasGradient[best] ?? 0) ? at : best), 0)
    : rankOne.u.reduce((best, value, at) => (Math.abs(value) > Math.abs(rankOne.u[best] ?? 0) ? at : best), 0);
}

/** The feature by least squares from G = g_b x^T; undefined without a bias gradient. Any scale of the gradient cancels. */
export function featureByBias({ weightGradient, biasGradient }: HeadGradient): Float64Array | undefined {
  const size = biasGradient ? norm(biasGradient) ** 2 : 0;
  return biasGradient && size > 0 ? scaled(multiplyTransposed(weightGradient, biasGradient), 1 / size) : undefined;
}

/** A defended gradient of one sample is taken for one, whatever its rank says, and one of a batch for a batch. */
export function guessedShape(shape: GradientShape, isBatch: boolean): GradientShape {
  if (isBatch) {
    return { ...shape, nature: 'batch' };
  }
  return { ...shape, nature: shape.nature === 'single' ? 'single' : 'single-noisy' };
}

/** What later methods start from, certain or not. */
export function guessedRecovery(recovered: RecoveredHead, head: HeadGradient, shape: GradientShape): RecoveredHead {
  const { single, factors } = recovered;
  return {
    ...recovered,
    unassessed: undefined,
    complete: recovered.several.length > 0,
    ...(single && factors ? { single: guessedSample(single, factors, head, shape) } : {}),
  };
}

function guessedSample(
  sample: RecoveredSample,
  { v }: HeadFactors,
  head: HeadGradient,
  shape: GradientShape,
): RecoveredSample {
  const known = { ...sample, status: 'recovered' as const, activation: 'softmax' as const, isOneTold: true };
  if (sample.label.classes.length > 0 && !sample.isReversed) {
    return known;
  }
  const index = lowestClass(head, shape);
  const feature = featureByBias(head) ?? sample.feature;
  const size = norm(feature);
  return {
    ...known,
    feature,
    scalar: v.reduce((sum, value, at) => sum + value * (feature[at] ?? 0), 0) < 0 ? -size : size,
    label: {
      kind: 'hard',
      probabilities: sample.label.probabilities.map((_, at) => (at === index ? 1 : 0)),
      smoothing: 0,
      classes: [{ index, weight: 1 }],
    },
  };
}
