import type { HeadActivation } from './activation.js';
import {
  FLOAT32_ROUNDOFF,
  type GradientShape,
  HALF_PRECISION,
  type HeadGradient,
  reweighted,
} from './head-gradient.js';
import { multiply, rowNorms, withColumn } from './linear-algebra.js';
import { type RankOne, rankOneWithColumn } from './rank-one.js';
import type { ScanProblem } from './scalar-scan.js';
import { norm, scaled } from './vectors.js';

/** How the gradient factors, G = u v^T, and what is known of the scalar. */
export interface HeadFactors {
  readonly problem: ScanProblem;
  readonly v: Float64Array;
  /**
   * u as it was captured. Where a prediction is so sure that float32 rounds its p - 1, `problem.u` holds what that was before; what is
   * below the head was computed with the rounded one.
   */
  readonly captured: Float64Array;
  /** Known from the bias gradient, undefined without one. */
  readonly scalar: number | undefined;
  /** Relative standard error of the scalar. */
  readonly scalarError: number;
  /** Row of the largest |row sum|, the paper's choice. */
  readonly row: number;
  /** Relative distance of [G | g_b] from rank one; large when the bias gradient does not belong to G. */
  readonly biasMisfit: number;
}

/** Above this the bias gradient contradicts the weight gradient and is not used. */
export const MAX_BIAS_MISFIT = 8;

/** Standard errors of a sum over the classes, above which it is none of noise. */
const CLEAR_ROUNDING = 5;

/** Factors G, with g_b as one more column when it agrees, so that noise averages over all of them. */
export function factorsOf(head: HeadGradient, shape: GradientShape): HeadFactors {
  const { weight, biasGradient } = head;
  const classes = weight.rows;
  let { u, v } = shape.rankOne;
  let scalar: number | undefined;
  let biasMisfit = 0;
  if (biasGradient && norm(biasGradient) > 0) {
    const joint = factorJointly(head, biasGradient, shape.rankOne);
    const expected = shape.noise * Math.sqrt((classes - 1) * weight.cols || 1);
    biasMisfit = joint.residual / Math.max(expected, 1e-300);
    const last = joint.v[weight.cols]!;
    const length = norm(joint.v.subarray(0, weight.cols));
    if (biasMisfit <= MAX_BIAS_MISFIT && last !== 0 && length > 0) {
      u = scaled(joint.u, length);
      v = scaled(joint.v.subarray(0, weight.cols), 1 / length);
      scalar = length / last;
    }
  }
  let captured = u;
  if (scalar !== undefined && shape.nature === 'single') {
    u = withRoundedLabel(u, scalar) ?? u;
    const moved = u.reduce((most, own, at) => Math.max(most, Math.abs(own - captured[at]!)), 0);
    if (moved <= CLEAR_ROUNDING * shape.noise * Math.sqrt(classes)) {
      // What does not sum to zero by its own noise was not computed so; the sum makes it more exact.
      captured = u;
    }
  }
  const size = norm(u);
  const problem: ScanProblem = {
    u,
    a: multiply(weight, v),
    b: head.bias ?? new Float64Array(classes),
    signs: signsOf(v),
    noise: shape.noise,
    rowNorms: rowNorms(weight),
    forwardError: Math.max(2 * Math.min(FLOAT32_ROUNDOFF, head.roundoff), head.roundoff / 64),
  };
  return {
    problem,
    v,
    captured,
    scalar,
    scalarError: scalar === undefined ? 0 : (shape.noise / size) * Math.abs(scalar),
    row: indexOfLargest(u),
    biasMisfit,
  };
}

/** [G | g_b] as one column more; half precision wants its entries reweighted, which needs them side by side. */
function factorJointly(head: HeadGradient, biasGradient: Float64Array, start: RankOne): RankOne {
  const joint = rankOneWithColumn(head.weightGradient, biasGradient, start);
  return head.roundoff > HALF_PRECISION
    ? reweighted(withColumn(head.weightGradient, biasGradient), joint, head.underflow)
    : joint;
}

/** Features after ReLU or a sigmoid are non-negative, and then x = s v leaves one sign for s. */
function signsOf(v: Float64Array): (1 | -1)[] {
  let positive = 0;
  let negative = 0;
  for (const value of v) {
    if (value > 0) {
      positive += value * value;
    } else {
      negative += value * value;
    }
  }
  if (v.length >= 8 && Math.min(positive, negative) < 1e-6) {
    return positive > negative ? [1] : [-1];
  }
  return positive >= negative ? [1, -1] : [-1, 1];
}

function indexOfLargest(u: Float64Array): number {
  return u.reduce((best, value, index) => (Math.abs(value) > Math.abs(u[best]!) ? index : best), 0);
}

/** A sum of p - y over the classes, in float32, that a p near 1 leaves by its own rounding: half a unit in its last place, four times. */
export const ROUNDED_SUM = 2 ** -22;

/**
 * A sure prediction loses the last digits of its label's p - 1, which is small beside p: the other classes' p tell it better.
 *
 * @param u K, left factor of one sample's gradient
 * @param scalar the number that makes p - y of it, u / scalar
 * @returns undefined where the sum over the classes is not such rounding
 */
export function withRoundedLabel(u: Float64Array, scalar: number): Float64Array | undefined {
  const apart = [...u.keys()].filter((index) => u[index]! / scalar < 0);
  const [label] = apart;
  return label === undefined || apart.length > 1 || !(Math.abs(sumOf(u) / scalar) <= ROUNDED_SUM)
    ? undefined
    : balancedBy(u, label);
}

/** One class's entry as those of all others have it, so that they sum to zero. */
export function balancedBy(u: Float64Array, label: number): Float64Array {
  return u.with(label, u[label]! - sumOf(u));
}

function sumOf(u: Float64Array): number {
  return u.reduce((total, value) => total + value, 0);
}

/** Softmax's share of every sample sums to zero over the classes; what does not is a sigmoid's. */
export function activationOf({ problem }: HeadFactors, shape: GradientShape): HeadActivation {
  const sum = sumOf(problem.u);
  const floor = shape.noise * Math.sqrt(problem.u.length);
  return Math.abs(sum) > 12 * floor && Math.abs(sum) > 2e-3 * norm(problem.u) ? 'sigmoid' : 'softmax';
}
