import { sigmoid, softmax } from './activation.js';
import { type HeadFactors, activationOf } from './head-factors.js';
import type { GradientShape } from './head-gradient.js';
import { type RecoveredSample, notFound } from './recovered-sample.js';

/**
 * Whether a head's gradient of rank one is of one sample: a head of two classes has that rank for every batch, and coarse
 * numbers have it where the samples' features differ by less than their rounding.
 */

/** Rounding above this share of the gradient, as of half precision, hides samples whose features are nearly equal. */
const MOST_ROUNDING = 1e-5;

/**
 * The sample as it is where something tells that it is one: the rank, its label, or who made the dump. Otherwise no label,
 * and what it would need to be told.
 *
 * @param stated samples in the batch, where that was stated
 */
export function asOneSample(
  sample: RecoveredSample,
  factors: HeadFactors,
  shape: GradientShape,
  stated: number | undefined,
): RecoveredSample {
  if (stated === 1 || shape.nature === 'hidden') {
    return sample;
  }
  const activation = activationOf(factors, shape);
  const { u, v, total } = shape.rankOne;
  const classes = factors.problem.u.length;
  // Softmax's p - y sum to zero, so K classes leave K - 1 directions. Without a bias gradient, two sure predictions look like sigmoids.
  const isRankTelling = classes > 2 || (activation === 'sigmoid' && factors.scalar !== undefined);
  // What a sigmoid head's gradient has beside rank one may be noise or further samples: its sums over the classes tell neither.
  const isTold = isRankTelling && (shape.nature === 'single' || activation === 'softmax');
  const isCoarse = shape.rounding * Math.sqrt(u.length * v.length) > MOST_ROUNDING * total;
  if (isTold && isCoarse && stated === undefined && !isLabelOfOne(sample)) {
    return notOne(sample, factors, activation, NEARLY_EQUAL);
  }
  const isLabelTelling = !isRankTelling && stated === undefined && isLabelExact(sample, factors);
  return isTold || isLabelTelling
    ? sample
    : notOne(
        sample,
        factors,
        activation,
        isRankTelling ? NOISE_OR_SAMPLES : reasonOf(factors.scalar !== undefined, stated),
      );
}

function notOne(
  { method }: RecoveredSample,
  factors: HeadFactors,
  activation: RecoveredSample['activation'],
  reason: string,
): RecoveredSample {
  return { ...notFound(factors), method, activation, isOneTold: false, reason };
}

/** Labels of several samples average to neither of these, but for samples of one class. */
function isLabelOfOne({ label, status }: RecoveredSample): boolean {
  return status === 'recovered' && (label.kind === 'hard' || label.kind === 'smoothed');
}

const NEARLY_EQUAL =
  "This gradient's numbers are so coarse that samples with nearly equal features look like one, and the label that one sample would have is not a hard one: it is of several samples, of one with a soft label, or of another checkpoint. If it is of one sample, state a batch size of 1.";

const NOISE_OR_SAMPLES =
  'What this gradient has beside its largest direction may be noise on one sample or further samples: with one sigmoid per class, nothing in the head tells which. If it is of one sample, state a batch size of 1.';

function reasonOf(hasBias: boolean, stated: number | undefined): string {
  const rank = 'A head of two classes has a gradient of rank one whatever the number of samples';
  if (stated !== undefined) {
    return `${rank}, so the ${stated} samples that were stated cannot be told apart.`;
  }
  const why = hasBias
    ? 'and the label that one sample would have is not a hard one: it is of several samples, of one with a soft label, or of another checkpoint'
    : 'and without a bias gradient nothing tells one sample from several';
  return `${rank}, ${why}. If it is of one sample, state a batch size of 1.`;
}

/** Above this relative error of p - y, several samples of one class whose logits differ by a percent look alike. */
const MOST_ERROR = 1e-5;

/** Predictions that are sure and wrong have p - y of one whatever their features are. */
const LEAST_SLOPE = 0.05;

/**
 * Whether the label came out as hard down to the rounding of the forward pass. Features of several samples average to one
 * whose p - y is not their mean, but for samples of one class with almost equal logits.
 */
function isLabelExact(
  { label, status, scalar, activation, scale }: RecoveredSample,
  { problem: { u, a, b }, scalar: known }: HeadFactors,
): boolean {
  if (status !== 'recovered' || label.kind !== 'hard' || known === undefined) {
    return false;
  }
  const logits = a.map((value, index) => scalar * value + b[index]!);
  const p = activation === 'softmax' ? softmax(logits) : sigmoid(logits);
  return u.every((value, index) => {
    const error = value / (scalar * scale);
    const slope = p[index]! * (1 - p[index]!);
    const left = Math.abs(p[index]! - error - label.probabilities[index]!);
    return left <= MOST_ERROR * Math.abs(error) && slope > LEAST_SLOPE * Math.abs(error);
  });
}
