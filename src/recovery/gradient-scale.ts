import { goldenSection } from './golden-section.js';
import { type LabelFamily, largest } from './label-family.js';
import { dot } from './linear-algebra.js';
import { type ScanMinimum, type ScanProblem, minimumAt, smallestScalar } from './scalar-scan.js';

/**
 * A global factor on the gradient: clipping, a loss multiplied by 0.5, a sum instead of a mean
 * (head.md, section 3). The feature's direction does not change; the label is p - q / c.
 */
export interface ScaledMinimum {
  readonly minimum: ScanMinimum;
  /** The captured gradient is this many times the true one. */
  readonly scale: number;
}

/** A fitted factor this near 1 is 1. */
const NO_SCALE = 1e-4;

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

/** Searches scale and scalar together, for a head without bias gradient; best first. */
export function scanScaled(problem: ScanProblem, families: readonly LabelFamily[]): ScaledMinimum[] {
  const range = Math.max(...problem.a) - Math.min(...problem.a);
  const found: ScaledMinimum[] = [];
  for (const sign of problem.signs) {
    for (const family of families) {
      const residual = (scalar: number): number => fitScale(problem, family, scalar)?.minimum.residual ?? Infinity;
      const grid: number[] = [];
      for (let t = Math.max(0.05, smallestScalar(problem.u) * range * 1e-3); t < 60; t *= 1.01) {
        grid.push((sign * t) / range);
      }
      const curve = grid.map(residual);
      const best = curve
        .map((value, at) => ({ value, at }))
        .filter(({ value, at }) => at > 0 && at < grid.length - 1 && value < curve[at - 1]! && value < curve[at + 1]!)
        .sort((one, other) => one.value - other.value)[0];
      if (best) {
        const scalar = goldenSection(residual, grid[best.at - 1]!, grid[best.at + 1]!);
        const fit = fitScale(problem, family, scalar);
        if (fit) {
          found.push(fit);
        }
      }
    }
  }
  return found.sort((one, other) => one.minimum.score - other.minimum.score);
}

/** True when the fitted factor is a real one and not rounding. */
export function isScaled(scale: number): boolean {
  return Math.abs(scale - 1) > NO_SCALE;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
