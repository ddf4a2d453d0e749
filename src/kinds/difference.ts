import type { Dtype } from '../formats/tensor-file.js';
import type { SampledPair } from './sampling.js';
import { roundTo, ulpOf } from './rounding.js';

/**
 * Weights after minus weights before, told by its rounding. Weights are stored on the grid of their
 * type, so each entry of a difference is a whole number of the grid's steps at the weight; a gradient has digits of its
 * own below them.
 */

/** `after-before`: D = after - before; `before-after`: the opposite. */
export type Orientation = 'after-before' | 'before-after';

interface Tally {
  /** Entries other than zero whose D is no difference of two stored weights. */
  violations: number;
  /** Entries whose type could have held at least two binary digits below the weight's grid. */
  telling: number;
  violationsTold: number;
  /** Telling entries that are an odd number of steps: the last digit sits exactly on the grid. */
  odd: number;
  /** Digits below the grid that would have been zero by chance in a gradient. */
  bits: number;
}

export interface DifferenceEvidence {
  /** Null when both fit: then rounding does not tell the sign. */
  readonly orientation: Orientation | null;
  /** Entries looked at that could have told otherwise. */
  readonly telling: number;
  /** Their share that does not fit, 0 to 1. */
  readonly misfit: number;
}

/** Each entry passes by chance with 2^-digits; together less likely than one in 10^30. */
const FEWEST_BITS = 100;
const FEWEST_ENTRIES = 24;
const MOST_MISFIT = 0.02;
/** Half of a difference's entries are odd, fewer of Adam's steps of one size; numbers of few digits, such as bfloat16's, end anywhere. */
const FEWEST_ODD = 0.12;
/** Entries of each tensor that a gradient is told by, and of all tensors that the sign is told by. */
const FIRST_LOOK = 512;
const MOST_LOOKED_AT = 2 ** 18;

/**
 * Whether the captured numbers are a difference of two states of the sampled weights, and in which order.
 *
 * @returns undefined when they are not
 */
export function differenceEvidence(samples: readonly SampledPair[]): DifferenceEvidence | undefined {
  if (!ORIENTATIONS.some((orientation) => isDifference(tallyOf(samples, orientation, FIRST_LOOK)))) {
    return undefined;
  }
  const total = samples.reduce((sum, { gradient }) => sum + gradient.length, 0);
  const longest = samples.reduce((most, { gradient }) => Math.max(most, gradient.length), 0);
  const most = longest * Math.min(1, MOST_LOOKED_AT / total);
  const forward = tallyOf(samples, 'after-before', most);
  const backward = tallyOf(samples, 'before-after', most);
  const better = forward.violations <= backward.violations ? forward : backward;
  const worse = better === forward ? backward : forward;
  if (!isDifference(better)) {
    return undefined;
  }
  const told = worse.violations - better.violations >= 5 && better.violations <= 0.25 * worse.violations;
  return {
    orientation: told ? (better === forward ? 'after-before' : 'before-after') : null,
    telling: better.telling,
    misfit: better.violationsTold / better.telling,
  };
}

const ORIENTATIONS: readonly Orientation[] = ['after-before', 'before-after'];

function isDifference({ telling, violationsTold, odd, bits }: Tally): boolean {
  return (
    telling >= FEWEST_ENTRIES &&
    bits >= FEWEST_BITS &&
    violationsTold <= MOST_MISFIT * telling &&
    odd >= FEWEST_ODD * telling
  );
}

function tallyOf(samples: readonly SampledPair[], orientation: Orientation, most: number): Tally {
  const tally: Tally = { violations: 0, telling: 0, violationsTold: 0, odd: 0, bits: 0 };
  const sign = orientation === 'after-before' ? 1 : -1;
  for (const { gradient, parameter, gradientType, parameterType } of samples) {
    const stride = Math.max(1, Math.floor(gradient.length / most));
    for (let index = 0; index < gradient.length; index += stride) {
      if (gradient[index] !== 0) {
        count(tally, sign * gradient[index]!, parameter[index]!, gradientType, parameterType);
      }
    }
  }
  return tally;
}

function count(tally: Tally, step: number, before: number, stepType: Dtype, weightType: Dtype): void {
  const after = roundTo(before + step, weightType);
  const back = after - before;
  // The subtraction itself rounds where the step is larger than the weight.
  const fits = back === step || roundTo(back, stepType) === step;
  tally.violations += fits ? 0 : 1;
  const grid = ulpOf(after, weightType);
  const digits = Math.log2(grid / ulpOf(step, stepType));
  if (digits >= 2) {
    tally.telling++;
    tally.violationsTold += fits ? 0 : 1;
    tally.bits += digits;
    tally.odd += Math.abs(step / grid) % 2 === 1 ? 1 : 0;
  }
}

/**
 * Root mean square rounding error of one entry of a difference, in its units: each stored weight is off by at most half a
 * grid step, evenly spread, so ulp(after) / sqrt(12). The weights before are known exactly, they were rounded earlier.
 */
export function roundingError({ gradient, parameter, parameterType }: SampledPair, orientation: Orientation): number {
  const sign = orientation === 'after-before' ? 1 : -1;
  let sum = 0;
  for (const [index, step] of gradient.entries()) {
    sum += ulpOf(parameter[index]! + sign * step, parameterType) ** 2 / 12;
  }
  return Math.sqrt(sum / gradient.length);
}

/** The largest of these of any tensor: what every number of the difference errs by at most, as a root mean square. */
export function largestRoundingError(samples: readonly SampledPair[], sign: 1 | -1): number {
  const orientation = sign === -1 ? 'after-before' : 'before-after';
  return samples.reduce((most, own) => Math.max(most, roundingError(own, orientation)), 0);
}

/**
 * The order that labels suggest: of the numbers p - y, few are negative and large (the labels), the others positive and
 * spread over the classes. Not conclusive with soft labels, so it is asked only where rounding does not tell.
 *
 * @param perClass one number per class, K: the head's bias, or row sums for features that are not negative
 */
export function orientationByLabels(perClass: Float64Array): Orientation | null {
  if (perClass.length < 5) {
    return null;
  }
  const negative = concentration(perClass.filter((value) => value < 0));
  const positive = concentration(perClass.filter((value) => value > 0));
  if (2 * negative.count <= positive.count && 2 * negative.effective <= positive.effective) {
    return 'before-after';
  }
  if (2 * positive.count <= negative.count && 2 * positive.effective <= negative.effective) {
    return 'after-before';
  }
  return null;
}

/** How many entries carry the sum: (sum v)^2 / sum v^2. */
function concentration(values: Float64Array): { count: number; effective: number } {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  return { count: values.length, effective: squares === 0 ? Infinity : (sum * sum) / squares };
}
