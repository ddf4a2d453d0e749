import { norm } from '../vectors.js';
import type { Evidence } from './evidence.js';
import { type Evaluated, type SampleProblem, alongSpan } from './sample-problem.js';

/** Whether a solution can be a sample of the batch. */

/** A candidate worth polishing. */
const PROMISING_COST = 1e-8;

/** Nor one whose weight in the gradient is known worse: others of its class may be in it. Noise is more patient. */
export const MOST_COEFFICIENT_ERROR = 0.02;

/** More samples than this that one gradient cannot tell apart are not believed. */
const MOST_MULTIPLICITY = 32;

/** A first sieve, generous: what remains is polished and judged. */
export function mayBeSample(problem: SampleProblem, { q, e, size, cost }: Evaluated): boolean {
  if (!Number.isFinite(cost) || !q.every(Number.isFinite)) {
    return false;
  }
  const { classes, values, sigma } = problem;
  const dual = alongSpan(problem, e).reduce((sum, along, at) => sum + (along / values[at]!) ** 2, 0);
  return cost < Math.max(PROMISING_COST, 100 * ((sigma * sigma * dual) / (size * size)) * classes);
}

export function isSame(one: Evaluated, other: Evaluated): boolean {
  if (!other.classes.every((row) => one.classes.includes(row))) {
    return false;
  }
  const difference = one.q.map((value, at) => value - other.q[at]!);
  return norm(difference) < 1e-2 * norm(one.q);
}

/** Tolerance of a coefficient ratio, relative. */
export function toleranceOf({ coefficientError }: Evidence): number {
  return Math.min(Math.max(5 * coefficientError, 2e-3), coefficientError > MOST_COEFFICIENT_ERROR ? 0.1 : 0.05);
}

/** The whole number that a ratio is within tolerance of, 0 when there is none. */
export function multiple(ratio: number, tolerance: number): number {
  const whole = Math.round(ratio);
  return whole >= 1 && whole <= MOST_MULTIPLICITY && Math.abs(ratio - whole) <= tolerance * Math.min(whole, 3)
    ? whole
    : 0;
}

/** 1 / B for a whole number B, as a mean over the batch gives. */
export function isNaturalShare(coefficient: number): boolean {
  const size = 1 / coefficient;
  return size < 40 && Math.abs(size - Math.round(size)) < 0.1 && size > 0.9;
}
