import { sigmoid } from './activation.js';
import { goldenSection } from './golden-section.js';
import { dot } from './vectors.js';

/**
 * Heads trained with binary cross-entropy, one sigmoid per class.
 *
 * sigma(z) - y = c u / s with x = s v, c = 1 when the loss sums over classes and K when it averages.
 * Each y_i is near 0 or 1, or near eps/2 and 1 - eps/2 when smoothed; that is the evidence.
 */
export interface SigmoidProblem {
  /** K, left factor of the gradient G = u v^T, ||v|| = 1. */
  readonly u: Float64Array;
  /** K, W v. */
  readonly a: Float64Array;
  /** K, the head's bias (zeros without one). */
  readonly b: Float64Array;
  readonly signs: readonly (1 | -1)[];
  /** Known scalar, when a bias gradient fixes it; then nothing is searched. */
  readonly scalar?: number;
}

export interface SigmoidMinimum {
  readonly scalar: number;
  /** 1 or K, the factor by which the loss's reduction over classes divided the gradient. */
  readonly classFactor: number;
  /** K numbers, each near 0 or 1. */
  readonly y: Float64Array;
  readonly smoothing: number;
  /** s^2 times the squared distance of y from the nearest such label, over ||c u||^2. */
  readonly residual: number;
}

const LOGIT_RANGE = 80;

/** Local minima over the scalar, both reductions, best residual first; empty when no scalar gives a label. */
export function scanSigmoid(problem: SigmoidProblem): SigmoidMinimum[] {
  const factors = problem.u.length > 1 ? [1, problem.u.length] : [1];
  const found = factors.flatMap((factor) =>
    problem.scalar === undefined ? scanFactor(problem, factor) : [minimumAt(problem, factor, problem.scalar)],
  );
  return found
    .filter(({ y }) => y.every((value) => value > -0.05 && value < 1.05))
    .sort((one, other) => one.residual - other.residual);
}

function scanFactor(problem: SigmoidProblem, factor: number): SigmoidMinimum[] {
  const { a, u } = problem;
  const reach = a.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  const least = factor * u.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * 0.999;
  const minima: SigmoidMinimum[] = [];
  for (const sign of problem.signs) {
    const scalars: number[] = [];
    for (let s = least; s * reach < 1; s *= 1.02) {
      scalars.push(sign * s);
    }
    for (let t = Math.max(1, least * reach); t < LOGIT_RANGE; t += 0.04) {
      scalars.push((sign * t) / reach);
    }
    const curve = scalars.map((s) => misfit(problem, factor, s).residual);
    const lowest = curve
      .map((value, at) => ({ value, at }))
      .filter(({ value, at }) => value <= (curve[at - 1] ?? Infinity) && value <= (curve[at + 1] ?? Infinity))
      .sort((one, other) => one.value - other.value)
      .slice(0, 6);
    for (const { at } of lowest) {
      const low = scalars[Math.max(at - 1, 0)]!;
      const high = scalars[Math.min(at + 1, scalars.length - 1)]!;
      minima.push(
        minimumAt(
          problem,
          factor,
          goldenSection((s) => misfit(problem, factor, s).residual, low, high),
        ),
      );
    }
  }
  return minima;
}

function minimumAt(problem: SigmoidProblem, classFactor: number, scalar: number): SigmoidMinimum {
  return { scalar, classFactor, ...misfit(problem, classFactor, scalar) };
}

function misfit(
  { u, a, b }: SigmoidProblem,
  factor: number,
  scalar: number,
): Pick<SigmoidMinimum, 'y' | 'smoothing' | 'residual'> {
  const y = sigmoid(a.map((value, i) => scalar * value + b[i]!)).map((p, i) => p - (factor * u[i]!) / scalar);
  // Distance of every entry from its nearer end; their mean is eps / 2.
  const ends = y.map((value) => (value > 0.5 ? 1 - value : value));
  const half = ends.reduce((sum, value) => sum + value, 0) / y.length;
  const smoothing = half > 0 && half < 0.45 ? 2 * half : 0;
  const spread = ends.reduce((sum, value) => sum + (value - smoothing / 2) ** 2, 0);
  const plain = dot(ends, ends);
  // One number, epsilon, must earn its place: K entries near 0 and 1 alike are hard labels.
  const smoothed = spread < plain / 100;
  const scale = (scalar * scalar) / (factor * factor * dot(u, u));
  return { y, smoothing: smoothed ? smoothing : 0, residual: scale * (smoothed ? spread : plain) };
}
