import { softmax } from './activation.js';
import { type LabelFamily, largest } from './label-family.js';
import { type ScanMinimum, type ScanProblem, minimumAt, smallestScalar } from './scalar-scan.js';
import { dot } from './vectors.js';

/**
 * A global factor on the gradient: clipping, a loss multiplied by 0.5, a sum instead of a mean.
 * The feature's direction does not change; the label is p - q / c.
 */
export interface ScaledMinimum {
  readonly minimum: ScanMinimum;
  /** The captured gradient is this many times the true one. */
  readonly scale: number;
}

/**
 * Fits scale and smoothing on the classes that do not stand out, q_i = c (p_i - eps / K), at one scalar.
 *
 * @param scalar x = scalar v; with a bias gradient it is known exactly whatever the scale is
 * @returns undefined when the probabilities of the flat classes are too alike to tell scale from smoothing
 */
export function fitScale(problem: ScanProblem, family: LabelFamily, scalar: number): ScaledMinimum | undefined {
  const { u } = problem;
  const unscaled = minimumAt(problem, family, scalar);
  const p = unscaled.y.map((value, i) => value + u[i]! / scalar);
  const q = u.map((value) => value / scalar);
  const out = new Set(
    largest(
      q.map((value) => -value),
      family.m,
    ),
  );
  const rest = [...u.keys()].filter((i) => !out.has(i));
  const meanP = family.smoothed ? mean(rest.map((i) => p[i]!)) : 0;
  const meanQ = family.smoothed ? mean(rest.map((i) => q[i]!)) : 0;
  let pp = 0;
  let pq = 0;
  for (const i of rest) {
    pp += (p[i]! - meanP) ** 2;
    pq += (p[i]! - meanP) * (q[i]! - meanQ);
  }
  const scale = pq / pp;
  if (!(scale > 0) || !Number.isFinite(scale) || pp < 1e-9 * dot(p, p)) {
    return undefined;
  }
  const rescaled = { ...problem, u: u.map((value) => value / scale), noise: problem.noise / scale };
  return { minimum: minimumAt(rescaled, family, scalar), scale };
}

/** A basin of the search over scalar and scale, not yet refined. */
export interface ScaledBasin {
  readonly scalar: number;
  readonly family: LabelFamily;
  readonly scale: number;
  /** rho at this point of the grid. */
  readonly residual: number;
}

const MOST_BASINS = 4;

/** Searches scale and scalar together, for a head without bias gradient; deepest first. */
export function scanScaled(problem: ScanProblem, families: readonly LabelFamily[]): ScaledBasin[] {
  const { a, u } = problem;
  const range =
    a.reduce((most, value) => Math.max(most, value), -Infinity) -
    a.reduce((least, value) => Math.min(least, value), Infinity);
  const found: ScaledBasin[] = [];
  for (const sign of problem.signs) {
    const grid: number[] = [];
    for (let t = Math.max(0.05, smallestScalar(u) * range * 1e-3); t < 60; t *= 1.01) {
      grid.push((sign * t) / range);
    }
    // The label's classes have the most negative p - y, whatever the scalar's size is.
    const order = [...u.keys()].sort((one, other) => sign * (u[one]! - u[other]!));
    const curves = families.map(() => new Float64Array(grid.length));
    grid.forEach((scalar, at) => {
      const p = softmax(a.map((value, i) => scalar * value + problem.b[i]!));
      families.forEach((family, index) => {
        curves[index]![at] = scaledResidual(problem, p, order, family);
      });
    });
    families.forEach((family, index) => {
      const curve = curves[index]!;
      grid
        .map((_, at) => at)
        .filter((at) => at > 0 && at < grid.length - 1 && curve[at]! < curve[at - 1]! && curve[at]! < curve[at + 1]!)
        .sort((one, other) => curve[one]! - curve[other]!)
        .slice(0, MOST_BASINS)
        .forEach((at) => {
          const scalar = grid[at]!;
          const fit = fitScale(problem, family, scalar);
          if (fit) {
            found.push({ scalar, family, scale: fit.scale, residual: curve[at]! });
          }
        });
    });
  }
  return found.sort((one, other) => one.residual - other.residual);
}

/**
 * rho of the best scale at one scalar: the share of the flat classes' u that p does not explain linearly.
 *
 * @param order classes by rising s u, so that the first are the label's
 */
function scaledResidual({ u }: ScanProblem, p: Float64Array, order: readonly number[], family: LabelFamily): number {
  const count = order.length - family.m;
  let meanP = 0;
  let meanU = 0;
  for (let at = family.m; family.smoothed && at < order.length; at++) {
    meanP += p[order[at]!]! / count;
    meanU += u[order[at]!]! / count;
  }
  let pp = 0;
  let pu = 0;
  let uu = 0;
  for (let at = family.m; at < order.length; at++) {
    const dp = p[order[at]!]! - meanP;
    const du = u[order[at]!]! - meanU;
    pp += dp * dp;
    pu += dp * du;
    uu += du * du;
  }
  return pp > 0 ? (uu - (pu * pu) / pp) / dot(u, u) : Infinity;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
