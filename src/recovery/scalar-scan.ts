import { goldenSection } from './golden-section.js';
import { type LabelFamily, MAX_STANDING_OUT, familyScore, labelFamilies, largest } from './label-family.js';
import { dot, norm } from './vectors.js';

/**
 * The one-dimensional search of a head without bias gradient (Theorem 1 of Wang, Liang, He,
 * ICLR 2024, arXiv 2402.03124).
 *
 * With G = u v^T, ||v|| = 1, the feature is x = s v for an unknown scalar s, the logits are z = s a + b
 * with a = W v, and the label is y(s) = softmax(s a + b) - c u / s, where c = 1 unless the gradient was
 * scaled. A trial costs O(K). The residual is scale-free, rho(s) = s^2 SS(y(s)) / ||u||^2: unlike the paper's
 * variance it does not vanish as |s| grows.
 */
export interface ScanProblem {
  /** K, left factor of the gradient. */
  readonly u: Float64Array;
  /** K, W v. */
  readonly a: Float64Array;
  /** K, the head's bias (zeros without one). */
  readonly b: Float64Array;
  /** Signs of s to try; the features' sign fixes it when they are all non-negative. */
  readonly signs: readonly (1 | -1)[];
  /** Standard deviation of noise per entry of u. */
  readonly noise: number;
  /** K, norm of each row of W: how noise in v spreads to the logits. */
  readonly rowNorms: Float64Array;
  /** Relative error of the forward pass that produced the gradient. */
  readonly forwardError: number;
}

export interface ScanMinimum {
  readonly scalar: number;
  readonly family: LabelFamily;
  /** rho at the minimum. */
  readonly residual: number;
  /** rho that noise and rounding alone would leave. */
  readonly floor: number;
  readonly score: number;
  /** Standard error of the least certain entry of the label. */
  readonly labelError: number;
  /** K, y(s). */
  readonly y: Float64Array;
}

/** s-range of the scan in units of the logit range t = |s| (max a - min a). */
const SMALLEST_RANGE = 1e-3;
const LINEAR_UNTIL = 120;
const LARGEST_RANGE = 1e4;
const LABEL_TOLERANCE = 1e-2;
/** A residual this small is a solution's, give or take noise. */
const SOLVED = 1e-4;
/** Labels are float32 tensors even in float64 training, so no family is told from another below this. */
export const LABEL_ROUNDING = 2 ** -24;

/**
 * All local minima of every family's residual with a label inside [0, 1], best score first.
 * Empty when no scalar gives a label.
 */
export function scanScalars(problem: ScanProblem): ScanMinimum[] {
  const trial = new Trial(problem);
  const families = labelFamilies(problem.u.length);
  const minima: ScanMinimum[] = [];
  for (const sign of problem.signs) {
    const scalars = scanGrid(problem, sign);
    if (scalars.length < 3) {
      continue;
    }
    const curves = families.map(() => new Float64Array(scalars.length));
    scalars.forEach((scalar, at) => {
      trial.evaluate(scalar);
      families.forEach((family, index) => {
        curves[index]![at] = trial.residual(family);
      });
    });
    families.forEach((family, index) => {
      lowestLocalMinima(curves[index]!).forEach((at, rank) => {
        const low = scalars[Math.max(at - 1, 0)]!;
        const high = scalars[Math.min(at + 1, scalars.length - 1)]!;
        // Only the lowest can be the solution of its family; the others are there to be compared with.
        minima.push(minimumOf(problem, trial, family, refine(trial, family, low, high, rank === 0)));
      });
    });
  }
  return minima.filter(({ y }) => isLabel(y, problem)).sort((one, other) => one.score - other.score);
}

/** The minimum of one family nearest to a scalar that is already known well, such as a bias gradient's. */
export function minimumNear(problem: ScanProblem, family: LabelFamily, low: number, high: number): ScanMinimum {
  const trial = new Trial(problem);
  return minimumOf(problem, trial, family, refine(trial, family, low, high));
}

/** What the family's residual is at a given scalar. */
export function minimumAt(problem: ScanProblem, family: LabelFamily, scalar: number): ScanMinimum {
  return minimumOf(problem, new Trial(problem), family, scalar);
}

/** rho(s) for plotting. */
export function residualCurve(problem: ScanProblem, family: LabelFamily, scalars: readonly number[]): number[] {
  const trial = new Trial(problem);
  return scalars.map((scalar) => {
    trial.evaluate(scalar);
    return trial.residual(family);
  });
}

/** The smallest |s| that a label allows: |p - y| <= 1 for every class. */
export function smallestScalar(u: Float64Array): number {
  return u.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function scanGrid(problem: ScanProblem, sign: number): number[] {
  const { a, u } = problem;
  const range = spread(a);
  // A head that gives every class the same logit tells nothing; the bound below still gives a grid.
  const unit = range > 0 ? range : 1 / smallestScalar(u);
  // Many classes smooth the residual, so a coarser grid still finds every basin.
  const fineness = a.length > 200 ? 2 : 1;
  const least = smallestScalar(u) * 0.999;
  const grid: number[] = [];
  const add = (t: number): void => {
    const scalar = t / unit;
    if (scalar >= least) {
      grid.push(sign * scalar);
    }
  };
  for (let t = Math.max(SMALLEST_RANGE, least * unit); t < 1; t *= 1.023) {
    add(t);
  }
  // Basins widen with t once softmax saturates, so the step grows with it.
  for (let t = 1; t < LINEAR_UNTIL; t += fineness * Math.max(0.05, 0.005 * t)) {
    add(t);
  }
  for (let t = LINEAR_UNTIL; t < LARGEST_RANGE; t *= 1.04) {
    add(t);
  }
  return grid;
}

function spread(a: Float64Array): number {
  let low = Infinity;
  let high = -Infinity;
  for (const value of a) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return high - low;
}

function lowestLocalMinima(curve: Float64Array): number[] {
  const found: number[] = [];
  for (let at = 0; at < curve.length; at++) {
    const value = curve[at]!;
    if (value <= (curve[at - 1] ?? Infinity) && value <= (curve[at + 1] ?? Infinity)) {
      found.push(at);
    }
  }
  return found.sort((one, other) => curve[one]! - curve[other]!).slice(0, 4);
}

function refine(trial: Trial, family: LabelFamily, from: number, to: number, thorough = true): number {
  const reach = Math.abs(to - from);
  const fast = polish(trial, family, (from + to) / 2, reach);
  if (fast.settled || !thorough) {
    return fast.scalar;
  }
  const residual = (scalar: number): number => {
    trial.evaluate(scalar);
    return trial.residual(family);
  };
  return polish(trial, family, goldenSection(residual, from, to, 24), reach).scalar;
}

/**
 * Gauss-Newton on the flat entries, which near a true label converges quadratically: the misfit there is
 * zero. Not settled when it leaves the neighbourhood or stops improving, as around a minimum that is no solution.
 */
function polish(trial: Trial, family: LabelFamily, start: number, reach: number): { scalar: number; settled: boolean } {
  let scalar = start;
  trial.evaluate(scalar);
  let residual = trial.residual(family);
  for (let iteration = 0; iteration < 10; iteration++) {
    const next = scalar + trial.gaussNewtonStep(family, scalar);
    if (!(Math.abs(next - start) <= reach)) {
      return { scalar, settled: false };
    }
    trial.evaluate(next);
    const value = trial.residual(family);
    if (!(value < residual)) {
      return { scalar, settled: residual < SOLVED && iteration > 0 };
    }
    const settled = Math.abs(next - scalar) < 1e-9 * Math.abs(next);
    scalar = next;
    residual = value;
    if (settled) {
      return { scalar, settled: true };
    }
  }
  return { scalar, settled: true };
}

function minimumOf(problem: ScanProblem, trial: Trial, family: LabelFamily, scalar: number): ScanMinimum {
  trial.evaluate(scalar);
  const { u } = problem;
  const residual = trial.residual(family, true);
  const errors = labelErrors(problem, trial.p, scalar);
  const toRho = (scalar * scalar) / dot(u, u);
  const mean = errors.common + errors.own.reduce((sum, value) => sum + value, 0) / u.length;
  const freedom = Math.max(u.length - family.m - (family.smoothed ? 1 : 0), 1);
  const misfit = weightedMisfit(trial.y, family, errors);
  return {
    scalar,
    family,
    residual,
    floor: mean * toRho * freedom,
    labelError: Math.sqrt(errors.common + errors.own.reduce((most, value) => Math.max(most, value), 0)),
    score: familyScore(misfit * toRho, errors.common * toRho, family, u.length),
    y: trial.y.slice(),
  };
}

/** Expected squared errors of y: one that all classes share, and what each adds. */
export interface LabelErrors {
  readonly common: number;
  /** K */
  readonly own: Float64Array;
}

/**
 * Noise in u and the label's own rounding reach every class alike; noise in v and the forward pass's rounding
 * reach y through p, so they blur the classes that the network believes in.
 */
export function labelErrors(problem: ScanProblem, p: Float64Array, scalar: number): LabelErrors {
  const { u, noise, rowNorms, forwardError, a, b } = problem;
  // v carries the same noise as u, divided by ||u||.
  const logitNoise = (Math.abs(scalar) * noise) / norm(u);
  const own = p.map((probability, i) => {
    const logit = Math.abs(scalar * a[i]! + b[i]!);
    const fromFeature = probability * (1 - probability) * rowNorms[i]! * logitNoise;
    const fromForward = probability * forwardError * (1 + logit);
    return fromFeature * fromFeature + fromForward * fromForward;
  });
  return { common: (noise / scalar) ** 2 + LABEL_ROUNDING * LABEL_ROUNDING, own };
}

/**
 * Squared deviations of the flat entries, each weighed by how well it is known. Without the weights, the
 * error of one probable class would pass for a class that stands out.
 */
function weightedMisfit(y: Float64Array, family: LabelFamily, { common, own }: LabelErrors): number {
  const out = new Set(largest(y, family.m));
  let weights = 0;
  let sum = 0;
  for (let i = 0; i < y.length; i++) {
    if (!out.has(i)) {
      const weight = common / (common + own[i]!);
      weights += weight;
      sum += weight * y[i]!;
    }
  }
  const mean = family.smoothed ? sum / weights : 0;
  let deviations = 0;
  for (let i = 0; i < y.length; i++) {
    if (!out.has(i)) {
      deviations += (common / (common + own[i]!)) * (y[i]! - mean) ** 2;
    }
  }
  return deviations;
}

function isLabel(y: Float64Array, problem: ScanProblem): boolean {
  const tolerance = Math.max(LABEL_TOLERANCE, Math.min(0.2, (8 * problem.noise) / smallestScalar(problem.u)));
  return y.every((value) => value >= -tolerance && value <= 1 + tolerance);
}

/** y(s) and its residuals for one scalar after another, in memory that is taken once. */
class Trial {
  readonly p: Float64Array;
  readonly y: Float64Array;
  private readonly size: number;
  private scalar = 0;
  private sum = 0;
  private squares = 0;
  private readonly top = new Float64Array(MAX_STANDING_OUT);

  constructor(private readonly problem: ScanProblem) {
    this.p = new Float64Array(problem.u.length);
    this.y = new Float64Array(problem.u.length);
    this.size = dot(problem.u, problem.u);
  }

  evaluate(scalar: number): void {
    const { a, b, u } = this.problem;
    const { p, y, top } = this;
    const classes = u.length;
    this.scalar = scalar;
    let highest = -Infinity;
    for (let i = 0; i < classes; i++) {
      const z = scalar * a[i]! + b[i]!;
      p[i] = z;
      if (z > highest) {
        highest = z;
      }
    }
    let total = 0;
    for (let i = 0; i < classes; i++) {
      const e = Math.exp(p[i]! - highest);
      p[i] = e;
      total += e;
    }
    const inverse = 1 / total;
    const step = 1 / scalar;
    let sum = 0;
    let squares = 0;
    top.fill(-Infinity);
    for (let i = 0; i < classes; i++) {
      const probability = p[i]! * inverse;
      p[i] = probability;
      const value = probability - u[i]! * step;
      y[i] = value;
      sum += value;
      squares += value * value;
      if (value > top[MAX_STANDING_OUT - 1]!) {
        this.insert(value);
      }
    }
    this.sum = sum;
    this.squares = squares;
  }

  private insert(value: number): void {
    const { top } = this;
    let at = MAX_STANDING_OUT - 1;
    while (at > 0 && top[at - 1]! < value) {
      top[at] = top[at - 1]!;
      at--;
    }
    top[at] = value;
  }

  /**
   * rho for a family.
   *
   * @param exact sums deviations entry by entry; otherwise from running sums, good to about 1e-16 s^2 / ||u||^2
   */
  residual(family: LabelFamily, exact = false): number {
    const { top, y } = this;
    let sum = this.sum;
    let squares = this.squares;
    for (let i = 0; i < family.m; i++) {
      sum -= top[i]!;
      squares -= top[i]! * top[i]!;
    }
    const count = y.length - family.m;
    const mean = family.smoothed ? sum / count : 0;
    let deviation = squares - (family.smoothed ? sum * mean : 0);
    // Cancellation eats the difference near a solution; there the entries are summed one by one.
    if (exact || deviation < 1e-7 * this.squares) {
      deviation = 0;
      const least = top[family.m - 1]!;
      let skipped = 0;
      for (const value of y) {
        if (value >= least && skipped < family.m) {
          skipped++;
        } else {
          deviation += (value - mean) * (value - mean);
        }
      }
    }
    return (this.scalar * this.scalar * Math.max(deviation, 0)) / this.size;
  }

  /** The step that would make the flat entries flat if y were linear in s; needs a preceding evaluate(s). */
  gaussNewtonStep(family: LabelFamily, scalar: number): number {
    const { a, u } = this.problem;
    const { p, y, top } = this;
    let meanLogit = 0;
    for (let i = 0; i < y.length; i++) {
      meanLogit += p[i]! * a[i]!;
    }
    const least = top[family.m - 1]!;
    const count = y.length - family.m;
    let sumY = 0;
    let sumD = 0;
    let sumYD = 0;
    let sumDD = 0;
    let skipped = 0;
    for (let i = 0; i < y.length; i++) {
      if (y[i]! >= least && skipped < family.m) {
        skipped++;
        continue;
      }
      const derivative = p[i]! * (a[i]! - meanLogit) + u[i]! / (scalar * scalar);
      sumY += y[i]!;
      sumD += derivative;
      sumYD += y[i]! * derivative;
      sumDD += derivative * derivative;
    }
    const share = family.smoothed ? 1 / count : 0;
    const step = -(sumYD - sumY * sumD * share) / (sumDD - sumD * sumD * share);
    return Number.isFinite(step) ? step : 0;
  }
}
