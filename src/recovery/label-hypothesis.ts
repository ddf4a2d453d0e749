import { softmax } from './activation.js';
import { type FittedLabel, type LabelFamily } from './label-family.js';
import { logChoose, logFactorial, logNormal, logSum } from './log-probability.js';
import { LABEL_ROUNDING, type ScanProblem, labelErrors } from './scalar-scan.js';
import { invertSmall, solveSmall } from './small-matrix.js';
import { dot } from './vectors.js';

/**
 * One hypothesis on a label, fitted to the gradient: its numbers, their errors, and the evidence for it (see
 * `label-posterior.ts` for what a hypothesis is).
 */
export interface LabelHypothesis {
  readonly family: LabelFamily;
  /** Classes that the label lifts, largest entry first. */
  readonly classes: readonly number[];
  /** s in x = s v. */
  readonly scalar: number;
  /** c: the captured gradient is this many times the true one; 1 where it is not free, negative for the opposite sign. */
  readonly scale: number;
  readonly isScaled: boolean;
  /** True when one class alone determines a free scale. */
  readonly isScaleLoose: boolean;
  /** K, the measured label e. */
  readonly y: Float64Array;
  readonly label: FittedLabel;
  /** Standard error of the label's largest entry, and of epsilon. */
  readonly topError: number;
  readonly smoothingError: number;
  /** Mean squared misfit in units of the modelled error; about 1 where the model holds. */
  readonly misfit: number;
  /** Equations left over after the free numbers. */
  readonly freedom: number;
  readonly logEvidence: number;
  /** ln of how much likelier this fit is than the same by accident. */
  readonly oddsAgainstAccident: number;
  /** Posterior probability, 0 to 1, among all hypotheses and an accidental fit. */
  readonly probability: number;
}

export interface PosteriorOptions {
  /** Only the best guess is wanted: no free scale, and no family but where it fits best. */
  readonly isPlain?: boolean;
  /** What the bias gradient says of s: its value and relative standard error. */
  readonly scalar?: { readonly value: number; readonly error: number } | undefined;
  /** False where the gradient's scale is unknown beforehand, as a weight difference's is. */
  readonly isScaleKnown?: boolean;
}

export interface Draft extends Omit<LabelHypothesis, 'probability' | 'label'> {
  /** ln of the evidence that the same numbers have when their fit is an accident. */
  readonly logAccident: number;
}

export interface Start {
  readonly scalar: number;
  readonly scale: number;
  readonly isScaled: boolean;
}

/** Prior probabilities of families: hard, smoothed, mixed, both; a few pipelines mix three or four samples. */
const FAMILY_PRIOR = [
  [0.3, 0.25],
  [0.2, 0.2],
  [0.02, 0.01],
  [0.01, 0.01],
] as const;
/** Gradients that were scaled, among those whose scale is not known to be free. */
const SCALED_PRIOR = 0.25;
const REVERSED_PRIOR = 0.1;
/** ln of the range over which c and s are uniform in their logarithm. */
const LOG_RANGE = Math.log(1e9);
/** Epsilon is uniform up to this, with a tenth of its probability spread up to 1. */
const USUAL_SMOOTHING = 0.6;
/** Errors may be larger than modelled: each factor with its prior. */
const MISMODELLED: readonly (readonly [number, number])[] = [
  [1, 0.86],
  [2, 0.06],
  [5, 0.03],
  [20, 0.02],
  [100, 0.02],
  [1000, 0.01],
];
/** How far a foreign gradient's numbers typically are off, as a share of their size, and how many independent trials a free number is worth. */
const ACCIDENTAL_SHARE = 0.3;
const TRIALS_PER_FREE_NUMBER = 20;
/** Errors of probabilities are correlated between classes, which the likelihood does not model: it counts for less. */
const TEMPER = 0.7;
/** rho above this explains nothing, unless noise is as large. */
const MOST_RESIDUAL = 0.02;
/** A Gauss-Newton step that promises less of chi squared than this is not worth taking. */
const LEAST_GAIN = 1e-5;
const MOST_ITERATIONS = 12;

export function labelAt(
  { u, a, b }: ScanProblem,
  scalar: number,
  inverse: number,
): { p: Float64Array; y: Float64Array } {
  const logits = new Float64Array(u.length);
  for (let i = 0; i < logits.length; i++) {
    logits[i] = scalar * a[i]! + b[i]!;
  }
  const p = softmax(logits);
  const y = new Float64Array(u.length);
  const factor = inverse / scalar;
  for (let i = 0; i < y.length; i++) {
    y[i] = p[i]! - factor * u[i]!;
  }
  return { p, y };
}
/** Gauss-Newton over s, 1/c and f, then Laplace's approximation around the optimum. */
export function fitHypothesis(
  problem: ScanProblem,
  family: LabelFamily,
  classes: readonly number[],
  start: Start,
  { scalar: known }: PosteriorOptions,
): Draft | undefined {
  const { u, a } = problem;
  const count = u.length;
  const lifted = new Set(classes);
  const flat = [...u.keys()].filter((i) => !lifted.has(i));
  const scalarFree = known === undefined || known.error > 1e-9;
  const names = [
    ...(scalarFree ? (['s'] as const) : []),
    ...(start.isScaled ? (['g'] as const) : []),
    ...(family.smoothed ? (['f'] as const) : []),
  ];
  let s = start.scalar;
  let g = 1 / start.scale;
  let f = 0;
  const evaluate = (own: { s: number; g: number; f: number }): Evaluation => {
    const { p, y } = labelAt(problem, own.s, own.g);
    const each = labelErrors(problem, p, own.s).own;
    const common = ((own.g * problem.noise) / own.s) ** 2 + (LABEL_ROUNDING * own.f) ** 2;
    let mean = 0;
    for (let i = 0; i < count; i++) {
      mean += p[i]! * a[i]!;
    }
    let chi = 0;
    let logs = 0;
    const free = names.length;
    const products = new Float64Array(free * free);
    const slope = new Float64Array(free);
    const row = new Float64Array(free);
    // Called hundreds of times with thousands of classes: plain indices, and no closure in the loop.
    for (const i of flat) {
      const variance = common + each[i]!;
      const misfit = y[i]! - own.f;
      chi += (misfit * misfit) / variance;
      logs += Math.log(variance);
      let at = 0;
      if (scalarFree) {
        row[at++] = p[i]! * (a[i]! - mean) + (own.g * u[i]!) / (own.s * own.s);
      }
      if (start.isScaled) {
        row[at++] = -u[i]! / own.s;
      }
      if (family.smoothed) {
        row[at] = -1;
      }
      for (let j = 0; j < free; j++) {
        const weighted = row[j]! / variance;
        slope[j]! += weighted * misfit;
        for (let k = 0; k < free; k++) {
          products[j * free + k]! += weighted * row[k]!;
        }
      }
    }
    logs += flat.length * Math.log(2 * Math.PI);
    const hessian = Array.from({ length: free }, (_, j) => products.slice(j * free, (j + 1) * free));
    // The data are u, not e: each of the K - 1 independent numbers is stretched by |ds/du| = 1 / |c s|.
    logs -= 2 * (count - 1) * Math.log(Math.abs(own.g / own.s));
    if (known && scalarFree) {
      const deviation = Math.abs(known.value) * known.error;
      const misfit = (own.s - known.value) / deviation;
      chi += misfit * misfit;
      logs += Math.log(2 * Math.PI * deviation * deviation);
      slope[0]! += misfit / deviation;
      hessian[0]![0]! += 1 / (deviation * deviation);
    }
    return { p, y, chi, logs, hessian, slope, common, each };
  };
  if (family.smoothed) {
    const { y } = labelAt(problem, s, g);
    f = flat.reduce((sum, i) => sum + y[i]!, 0) / Math.max(flat.length, 1);
  }
  let now = evaluate({ s, g, f });
  for (let iteration = 0; iteration < MOST_ITERATIONS && names.length > 0; iteration++) {
    const step = solveSmall(now.hessian, now.slope);
    if (!step) {
      return undefined;
    }
    if (now.slope.reduce((sum, value, at) => sum + value * step[at]!, 0) < LEAST_GAIN) {
      break;
    }
    let length = 1;
    let better: Evaluation | undefined;
    for (; length > 1e-3; length /= 3) {
      const next = { s, g, f };
      names.forEach((name, at) => {
        next[name] -= length * step[at]!;
      });
      if (next.s * s <= 0 || next.g * g <= 0) {
        continue;
      }
      const trial = evaluate(next);
      // The variance depends on the parameters as well, so the whole likelihood must gain.
      if (trial.chi + trial.logs < now.chi + now.logs) {
        ({ s, g, f } = next);
        better = trial;
        break;
      }
    }
    if (!better) {
      break;
    }
    const gain = now.chi + now.logs - better.chi - better.logs;
    now = better;
    if (gain < 1e-4) {
      break;
    }
  }
  const covariance = invertSmall(now.hessian);
  if (!covariance || !Number.isFinite(now.chi)) {
    return undefined;
  }
  const at = (name: 's' | 'g' | 'f'): number => names.findIndex((own) => own === name);
  const deviationOf = (name: 's' | 'g' | 'f'): number =>
    at(name) < 0 ? 0 : Math.sqrt(Math.max(covariance.inverse[at(name)]![at(name)]!, 0));
  const entries = classes.map((index) => now.y[index]!);
  const spread = Math.sqrt(now.common + classes.reduce((most, index) => Math.max(most, now.each[index]!), 0));
  const tolerance = Math.max(1e-2, 4 * spread);
  const lowest = flat.reduce((least, i) => Math.min(least, now.y[i]!), 0);
  const squares = flat.reduce((total, i) => total + (now.y[i]! - f) ** 2, 0);
  const modelled = flat.reduce((total, i) => total + now.common + now.each[i]!, 0);
  // rho, the misfit in the gradient's own units: a tiny s or 1 / c makes any label flat, and rho large.
  if (squares > Math.max(25 * modelled, (MOST_RESIDUAL * dot(u, u) * g * g) / (s * s))) {
    return undefined;
  }
  if (entries.some((value) => value < f - tolerance || value > 1 + tolerance) || lowest < -Math.max(0.05, tolerance)) {
    return undefined;
  }
  const epsilon = f * count;
  const inRange =
    (family.smoothed ? logNormal(f / Math.max(deviationOf('f'), 1e-300)) : 0) +
    (family.m > 1 ? logNormal(Math.min(...entries.map((value) => value - Math.max(f, 0))) / spread) : 0);
  const smoothingDensity = epsilon <= USUAL_SMOOTHING ? 0.9 / USUAL_SMOOTHING + 0.1 : epsilon <= 1.02 ? 0.1 : 1e-6;
  const prior =
    Math.log(FAMILY_PRIOR[family.m - 1]?.[family.smoothed ? 1 : 0] ?? 1e-3) -
    logChoose(count, family.m) +
    logFactorial(family.m - 1) +
    (scalarFree && known === undefined ? -Math.log(Math.abs(s) * LOG_RANGE) : 0) +
    (start.isScaled ? -Math.log(Math.abs(g) * LOG_RANGE) : 0) +
    (family.smoothed ? Math.log(count * smoothingDensity) : 0) +
    Math.log(g < 0 ? REVERSED_PRIOR : 1 - REVERSED_PRIOR) +
    Math.log(start.isScaled ? SCALED_PRIOR : 1 - SCALED_PRIOR);
  const data = flat.length + (known && scalarFree ? 1 : 0);
  const freedom = data - names.length;
  const width = (names.length / 2) * Math.log(2 * Math.PI) - 0.5 * covariance.logDeterminant;
  const likelihood = logSum(
    MISMODELLED.map(
      ([kappa, share]) =>
        Math.log(share) - (TEMPER * now.chi) / (2 * kappa * kappa) - Math.max(freedom, 0) * Math.log(kappa),
    ),
  );
  const common = -0.5 * now.logs + width + prior + inRange;
  const accident = logAccident(problem, now, g / s, flat, names.length, freedom);
  const top = classes.reduce((best, index) => (now.y[index]! > now.y[best]! ? index : best), classes[0] ?? 0);
  const kappa = Math.sqrt(Math.max(1, now.chi / Math.max(freedom, 1)));
  const alongScalar = now.p[top]! * (a[top]! - now.p.reduce((sum, value, i) => sum + value * a[i]!, 0));
  const topVariance =
    now.common +
    now.each[top]! +
    ((alongScalar + (g * u[top]!) / (s * s)) * deviationOf('s')) ** 2 +
    ((u[top]! / s) * deviationOf('g')) ** 2;
  return {
    family,
    classes: [...classes].sort((one, other) => now.y[other]! - now.y[one]!),
    scalar: s,
    scale: 1 / g,
    isScaled: start.isScaled,
    isScaleLoose: start.isScaled && isLoose(problem, now, { s, g }, flat, family),
    y: now.y,
    topError: kappa * Math.sqrt(topVariance),
    smoothingError: kappa * count * deviationOf('f'),
    misfit: now.chi / Math.max(freedom, 1),
    freedom,
    logEvidence: likelihood + common,
    logAccident: accident + common,
    oddsAgainstAccident: likelihood - accident,
  };
}

/** The relative error of the scale without its most telling class is above this where that class decides alone. */
const LOOSE_SCALE = 0.05;

function isLoose(
  { u }: ScanProblem,
  { common, each }: Evaluation,
  { s, g }: { s: number; g: number },
  flat: readonly number[],
  family: LabelFamily,
): boolean {
  const weights = flat.map((i) => 1 / (common + each[i]!));
  const values = flat.map((i) => u[i]! / s);
  const information = (skip: number): number => {
    let total = 0;
    let sum = 0;
    let squares = 0;
    values.forEach((value, at) => {
      if (at !== skip) {
        total += weights[at]!;
        sum += weights[at]! * value;
        squares += weights[at]! * value * value;
      }
    });
    return family.smoothed ? squares - (sum * sum) / Math.max(total, 1e-300) : squares;
  };
  const all = values
    .map((value, at) => ({ at, size: weights[at]! * value * value }))
    .sort((one, other) => other.size - one.size);
  const least = Math.min(...all.slice(0, 3).map(({ at }) => information(at)));
  return !(1 / Math.sqrt(Math.max(least, 0)) < LOOSE_SCALE * Math.abs(g));
}

/**
 * An accidental fit leaves a misfit in proportion to each number's own size instead of to its error, but for as many
 * numbers as there are free ones to absorb it, each of which is worth some independent trials.
 */
function logAccident(
  { u }: ScanProblem,
  { p, common, each }: Evaluation,
  factor: number,
  flat: readonly number[],
  free: number,
  freedom: number,
): number {
  const improbable = flat
    .map((i) =>
      Math.log(
        Math.max(1, (ACCIDENTAL_SHARE * Math.max(p[i]!, Math.abs(factor * u[i]!))) / Math.sqrt(common + each[i]!)),
      ),
    )
    .sort((one, other) => other - one)
    .slice(free)
    .reduce((total, value) => total + value, 0);
  return free * Math.log(TRIALS_PER_FREE_NUMBER) - 0.5 * TEMPER * Math.max(freedom, 0) - improbable;
}

interface Evaluation {
  readonly p: Float64Array;
  readonly y: Float64Array;
  readonly chi: number;
  readonly logs: number;
  readonly hessian: Float64Array[];
  readonly slope: Float64Array;
  readonly common: number;
  readonly each: Float64Array;
}
