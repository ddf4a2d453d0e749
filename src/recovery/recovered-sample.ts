import type { HeadActivation } from './activation.js';
import type { HeadFactors } from './head-factors.js';
import { type FittedLabel, type LabelFamily, type LabelKind, denseLabel, fitLabel } from './label-family.js';
import { type ScanMinimum, type ScanProblem, minimumAt } from './scalar-scan.js';
import { norm, scaled } from './vectors.js';

/** Label and feature of one sample, whichever search found them. */

export type SampleStatus = 'recovered' | 'ambiguous' | 'not-identifiable';

export type RecoveryMethod =
  | 'closed-form-bias'
  | 'scalar-scan'
  | 'closed-form-bias-sigmoid'
  | 'scalar-scan-sigmoid'
  | 'paper-lbfgs'
  | 'paper-pso'
  | 'paper-pso-noise';

export interface RecoveredSample {
  readonly status: SampleStatus;
  readonly method: RecoveryMethod;
  readonly activation: HeadActivation;
  readonly label: FittedLabel;
  /** d, the head's input. */
  readonly feature: Float64Array;
  /** s in x = s v, v the unit right factor of G. */
  readonly scalar: number;
  /** The paper's lambda = 1 / (p_r - y_r): x = lambda G_r with r the row of the largest |row sum|. */
  readonly lambda: number;
  /** rho: squared misfit of the label's family, in the gradient's own units. */
  readonly residual: number;
  /** rho that noise and rounding alone would leave. */
  readonly residualFloor: number;
  /** Probability, 0 to 1, of this solution against the second best distinct one. */
  readonly confidence: number;
  /** The captured gradient is this many times the true one; 1 unless it was scaled. */
  readonly scale: number;
  /** What a plot of the search needs. */
  readonly problem: ScanProblem;
  readonly family: LabelFamily;
  /** One sentence on why the status is what it is. */
  readonly reason: string;
  /** Posterior probability of the label's largest class, and of its kind. */
  readonly classConfidence: number;
  readonly kindConfidence: number;
  /** Kinds that stay open when the label's kind is undetermined, most probable first. */
  readonly openKinds: readonly LabelKind[];
  /** 95 % intervals of the label's largest entry and of smoothing's epsilon. */
  readonly topRange: readonly [number, number];
  readonly smoothingRange: readonly [number, number];
  /** True when the numbers explain a label only with the opposite sign. */
  readonly isReversed: boolean;
  /** False where nothing tells that the gradient is of one sample. */
  readonly isOneTold: boolean;
}

const NOT_FOUND =
  'No hard, smoothed or mixed label explains this gradient under this checkpoint: either it was captured from another checkpoint, or the label is a dense soft one, which cannot be told without a bias gradient.';

/** No label is made up: it is uniform, no class stands out, and the feature is known only up to its length. */
export function notFound(factors: HeadFactors, best?: ScanMinimum): RecoveredSample {
  const { problem, v } = factors;
  const sign = problem.signs[0] ?? 1;
  const minimum = best ?? minimumAt(problem, { m: 1, smoothed: false }, sign * norm(problem.u));
  const sample = finish(factors, minimum, {
    method: 'scalar-scan',
    status: 'not-identifiable',
    confidence: 0,
    reason: NOT_FOUND,
  });
  return { ...sample, label: unknownLabel(problem.u.length), feature: scaled(v, sign) };
}

/** A label of which nothing is known: uniform, no class standing out. */
export function unknownLabel(classes: number): FittedLabel {
  return { ...denseLabel(new Float64Array(classes).fill(1 / classes)), classes: [] };
}

interface Verdict {
  readonly method: RecoveryMethod;
  readonly status: SampleStatus;
  readonly confidence: number;
  readonly reason: string;
  readonly scale?: number;
}

/** The sample that a minimum stands for; the label takes its family's exact form. */
export function finish(factors: HeadFactors, minimum: ScanMinimum, verdict: Verdict): RecoveredSample {
  const scale = verdict.scale ?? 1;
  return {
    status: verdict.status,
    method: verdict.method,
    activation: 'softmax',
    label: fitLabel(minimum.y, minimum.family),
    feature: scaled(factors.v, minimum.scalar),
    scalar: minimum.scalar,
    lambda: lambdaOf(factors, minimum.scalar) * scale,
    residual: minimum.residual,
    residualFloor: minimum.floor,
    confidence: verdict.confidence,
    scale,
    problem: scale === 1 ? factors.problem : { ...factors.problem, u: scaled(factors.problem.u, 1 / scale) },
    family: minimum.family,
    reason: verdict.reason,
    classConfidence: verdict.confidence,
    kindConfidence: verdict.confidence,
    openKinds: [],
    topRange: [0, 1],
    smoothingRange: [0, 1],
    isReversed: false,
    isOneTold: true,
  };
}

/** The paper's lambda: feature = lambda times the gradient row of the largest |row sum|. */
export function lambdaOf({ problem, row }: HeadFactors, scalar: number): number {
  return scalar / problem.u[row]!;
}
