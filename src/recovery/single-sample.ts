import { type HeadActivation, softmax } from './activation.js';
import { fitScale, isScaled, scanScaled } from './gradient-scale.js';
import { type HeadFactors, activationOf, factorsOf } from './head-factors.js';
import type { GradientShape, HeadGradient } from './head-gradient.js';
import { type FittedLabel, type LabelFamily, denseLabel, fitLabel, labelFamilies } from './label-family.js';
import { dot, norm, scaled } from './linear-algebra.js';
import { type ScanMinimum, type ScanProblem, minimumAt, minimumNear, scanScalars } from './scalar-scan.js';
import { scanSigmoid } from './sigmoid-head.js';

/** Label and feature of one sample from its head gradient, without ground truth (science/head.md). */

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
}

/**
 * A misfit per flat class below this is harmless even where it exceeds the noise floor (mixed precision).
 * rho must be small as well: any label fits absolutely once the scalar is large enough.
 */
const HARMLESS_MISFIT = 1e-3;
const HARMLESS_RESIDUAL = 1e-4;
const PLAUSIBLE_MISFIT = 2e-2;
const PLAUSIBLE_RESIDUAL = 1e-3;
/** rho may exceed its estimated floor by this factor before the fit counts as failed. */
const FLOOR_MARGIN = 60;
const SURE = 0.95;

/**
 * Recovers one sample. Uses the closed form when the bias gradient is there, the scan otherwise, and
 * the sigmoid variants when the class sum of the gradient rules out softmax.
 *
 * @param shape from {@link shapeOfGradient}; its nature must not be `batch`
 */
export function recoverSingle(head: HeadGradient, shape: GradientShape): RecoveredSample {
  return recoverFromFactors(factorsOf(head, shape), shape);
}

/** The same for a head that is already factored. */
export function recoverFromFactors(factors: HeadFactors, shape: GradientShape): RecoveredSample {
  if (shape.nature === 'hidden') {
    return { ...notFound(factors), reason: HIDDEN };
  }
  const sample = recoverVisible(factors, shape);
  const share = shape.rankOne.residual / shape.rankOne.total;
  return sample.status === 'recovered' && share > MOST_NOISE
    ? {
        ...sample,
        status: 'ambiguous',
        reason: `${(100 * share).toFixed(0)} % of the gradient is noise; the label shown is the best guess.`,
      }
    : sample;
}

/** With more noise than this in the gradient, the kind of label cannot be told reliably. */
const MOST_NOISE = 0.4;

function recoverVisible(factors: HeadFactors, shape: GradientShape): RecoveredSample {
  if (activationOf(factors, shape) === 'sigmoid') {
    return recoverSigmoid(factors);
  }
  return factors.scalar === undefined ? recoverByScan(factors) : recoverInClosedForm(factors, factors.scalar);
}

/** ||p - y||, from u = s (p - y). */
function misfitPerClass(minimum: ScanMinimum, problem: ScanProblem): number {
  const freedom = Math.max(problem.u.length - minimum.family.m - 1, 1);
  return Math.sqrt((minimum.residual * dot(problem.u, problem.u)) / freedom) / Math.abs(minimum.scalar);
}

function fits(minimum: ScanMinimum, problem: ScanProblem): boolean {
  // Without noise, a floor that hides a hundredth of the gradient belongs to a scalar too large to be told.
  const withinFloor = minimum.residual <= FLOOR_MARGIN * minimum.floor;
  const telling = minimum.residual <= 10 * PLAUSIBLE_RESIDUAL || hasNoise(problem);
  return (
    (withinFloor && telling) ||
    (minimum.residual <= HARMLESS_RESIDUAL && misfitPerClass(minimum, problem) <= HARMLESS_MISFIT)
  );
}

/** True when noise was added, beyond the rounding of the dump's numbers. */
function hasNoise({ noise, u, forwardError }: ScanProblem): boolean {
  return noise > 1e3 * forwardError * norm(u) || noise * Math.sqrt(u.length) > 1e-2 * norm(u);
}

function isPlausible(minimum: ScanMinimum, problem: ScanProblem): boolean {
  return minimum.residual <= PLAUSIBLE_RESIDUAL && misfitPerClass(minimum, problem) <= PLAUSIBLE_MISFIT;
}

/** Posterior odds of two scores that are -2 log likelihoods. */
function oddsConfidence(best: number, second: number | undefined): number {
  return second === undefined ? 1 : 1 / (1 + Math.exp(Math.max(-700, -(second - best) / 2)));
}

function recoverInClosedForm(factors: HeadFactors, scalar: number): RecoveredSample {
  const { problem } = factors;
  const byFamily = labelFamilies(problem.u.length)
    .map((family) => closedFormMinimum(factors, family, scalar))
    .sort((one, other) => one.score - other.score);
  const [best] = byFamily;
  if (best && fits(best, problem)) {
    const confidence = confidenceOf(best, byFamily);
    return finish(factors, best, {
      method: 'closed-form-bias',
      status: statusOf(best, confidence),
      confidence,
      reason:
        statusOf(best, confidence) === 'recovered'
          ? 'The bias gradient gives p - y, its ratio to the weight gradient gives the feature; the label that follows is flat but for the classes that stand out.'
          : `The bias gradient gives p - y and the feature, but ${blurred(best)}`,
    });
  }
  const rescaled = scaledInClosedForm(factors, scalar);
  if (rescaled) {
    return rescaled;
  }
  return denseInClosedForm(factors, scalar, best);
}

/** With noise, the scalar that makes the label flattest within the bias gradient's error is the better one. */
function closedFormMinimum({ problem, scalarError }: HeadFactors, family: LabelFamily, scalar: number): ScanMinimum {
  const exact = minimumAt(problem, family, scalar);
  const margin = 3 * scalarError;
  if (margin < 1e-6 || margin > 0.5) {
    return exact;
  }
  const near = minimumNear(problem, family, scalar * (1 - margin), scalar * (1 + margin));
  const isNear = Math.abs(near.scalar - scalar) <= 2 * margin * Math.abs(scalar);
  return isNear && near.residual < exact.residual ? near : exact;
}

/** Labels this far apart are two answers, not one. */
const DISTINCT_LABEL = 0.02;

/** Odds of the best minimum against the best one that says something else: another scalar or another label. */
function confidenceOf(best: ScanMinimum, all: readonly ScanMinimum[]): number {
  const label = fitLabel(best.y, best.family).probabilities;
  const rival = all.find((other) => {
    if (Math.abs(other.scalar - best.scalar) > 1e-2 * Math.abs(best.scalar)) {
      return true;
    }
    const theirs = fitLabel(other.y, other.family).probabilities;
    return theirs.some((value, i) => Math.abs(value - label[i]!) > DISTINCT_LABEL);
  });
  return oddsConfidence(best.score, rival?.score);
}

function scaledInClosedForm(factors: HeadFactors, scalar: number): RecoveredSample | undefined {
  const { problem } = factors;
  const [fit] = labelFamilies(problem.u.length)
    .flatMap((family) => fitScale(problem, family, scalar) ?? [])
    .sort((one, other) => one.minimum.score - other.minimum.score);
  if (!fit || !isScaled(fit.scale) || !fits(fit.minimum, problem) || !isSimplex(fit.minimum.y, 1e-2)) {
    return undefined;
  }
  return finish(factors, fit.minimum, {
    method: 'closed-form-bias',
    status: 'recovered',
    confidence: 0.99,
    scale: fit.scale,
    reason: `The gradient is ${fit.scale.toPrecision(4)} times the one this loss gives (clipping, a factor in the loss, or another reduction); the factor was fitted on the classes that do not stand out.`,
  });
}

function denseInClosedForm(factors: HeadFactors, scalar: number, best: ScanMinimum | undefined): RecoveredSample {
  const { problem } = factors;
  const logits = problem.a.map((value, i) => scalar * value + problem.b[i]!);
  const y = softmax(logits).map((p, i) => p - problem.u[i]! / scalar);
  const family: LabelFamily = best?.family ?? { m: 1, smoothed: false };
  const minimum: ScanMinimum = best ?? { ...minimumAt(problem, family, scalar), residual: 0 };
  const tolerance = Math.max(1e-5, 8 * (problem.noise / norm(problem.u)));
  const possible = isSimplex(y, tolerance);
  // With two or three classes nothing is left to check a label against, but it is still exact.
  const unchecked = labelFamilies(problem.u.length).length === 0;
  const sample = finish(
    factors,
    { ...minimum, y },
    {
      method: 'closed-form-bias',
      status: possible ? (unchecked ? 'recovered' : 'ambiguous') : 'not-identifiable',
      confidence: possible ? 0.5 : 0,
      reason: possible
        ? 'Either the label is a dense soft one (distillation), then it is exactly this, or the gradient was captured from another checkpoint: both look alike.'
        : 'The bias gradient and this checkpoint give label entries outside 0 to 1: the gradient was captured from another checkpoint (for instance after the optimiser step) or with another loss.',
    },
  );
  const oneHot = fitLabel(y, { m: 1, smoothed: false });
  const isHard = y.every((value, i) => Math.abs(value - oneHot.probabilities[i]!) <= tolerance);
  return { ...sample, label: possible ? (isHard ? oneHot : denseLabel(y)) : unknownLabel(y.length) };
}

function isSimplex(y: Float64Array, tolerance: number): boolean {
  return y.every((value) => value >= -tolerance && value <= 1 + tolerance);
}

function recoverByScan(factors: HeadFactors): RecoveredSample {
  const { problem } = factors;
  const minima = scanScalars(problem);
  const [best] = minima;
  if (!best || !fits(best, problem)) {
    const rescaled = scaledByScan(factors);
    if (rescaled) {
      return rescaled;
    }
  }
  if (!best) {
    return notFound(factors);
  }
  const confidence = confidenceOf(best, minima);
  const fit = fits(best, problem);
  if (!fit && !isPlausible(best, problem)) {
    return notFound(factors, best);
  }
  const status = fit ? statusOf(best, confidence) : 'ambiguous';
  return finish(factors, best, {
    method: 'scalar-scan',
    status,
    confidence: fit ? confidence : 0,
    reason: scanReason(status, fit, best),
  });
}

const NOT_FOUND =
  'No hard, smoothed or mixed label explains this gradient under this checkpoint: either it was captured from another checkpoint, or the label is a dense soft one, which cannot be told without a bias gradient.';

/** A label known worse than this is not called recovered, however well it beats its rivals. */
const MOST_LABEL_ERROR = 0.03;

function statusOf(minimum: ScanMinimum, confidence: number): SampleStatus {
  return confidence >= SURE && minimum.labelError <= MOST_LABEL_ERROR ? 'recovered' : 'ambiguous';
}

function blurred({ labelError }: ScanMinimum): string {
  return labelError > MOST_LABEL_ERROR
    ? `the noise blurs the label by about ${labelError.toPrecision(1)}; the one shown fits best.`
    : 'the noise leaves room for another label; the one shown fits best.';
}

const HIDDEN =
  'Noise hides everything: not even the largest singular value of the gradient stands out of what noise alone gives.';

function scanReason(status: SampleStatus, fit: boolean, minimum: ScanMinimum): string {
  if (status === 'recovered') {
    return 'One scalar, and no other, makes the label flat but for the classes that stand out, down to the noise of the dump.';
  }
  return fit
    ? `A label fits within the noise, but ${blurred(minimum)}`
    : 'The label shown is the nearest to flat, but it misses by more than the noise explains: a soft label of another kind, or a gradient from a slightly different checkpoint.';
}

function scaledByScan(factors: HeadFactors): RecoveredSample | undefined {
  const { problem } = factors;
  const families = labelFamilies(problem.u.length).filter(({ m }) => m <= 2 && problem.u.length - m >= 5);
  const candidates = scanScaled(problem, families);
  const [fit] = candidates;
  if (!fit || !isScaled(fit.scale) || !isSimplex(fit.minimum.y, 1e-2)) {
    return undefined;
  }
  const second = candidates.find(
    ({ minimum }) => Math.abs(minimum.scalar - fit.minimum.scalar) > 1e-2 * Math.abs(fit.minimum.scalar),
  );
  const confidence = oddsConfidence(fit.minimum.score, second?.minimum.score);
  // Two fitted numbers can imitate a label, so only a fit down to the floor counts here.
  if (fit.minimum.residual > FLOOR_MARGIN * fit.minimum.floor || confidence < SURE) {
    return undefined;
  }
  return finish(factors, fit.minimum, {
    method: 'scalar-scan',
    status: 'recovered',
    confidence,
    scale: fit.scale,
    reason: `The gradient is ${fit.scale.toPrecision(4)} times the one this loss gives (clipping, a factor in the loss, or another reduction); scalar and factor were searched together.`,
  });
}

/** No label is made up: it is uniform, no class stands out, and the feature is known only up to its length. */
function notFound(factors: HeadFactors, best?: ScanMinimum): RecoveredSample {
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

function unknownLabel(classes: number): FittedLabel {
  return { ...denseLabel(new Float64Array(classes).fill(1 / classes)), classes: [] };
}

function recoverSigmoid(factors: HeadFactors): RecoveredSample {
  const { problem, scalar } = factors;
  const method = scalar === undefined ? 'scalar-scan-sigmoid' : 'closed-form-bias-sigmoid';
  const minima = scanSigmoid(scalar === undefined ? problem : { ...problem, scalar });
  const [best] = minima;
  const size = dot(problem.u, problem.u);
  const floor = (problem.u.length * problem.noise * problem.noise) / size + problem.forwardError ** 2;
  if (!best) {
    return { ...notFound(factors), method, activation: 'sigmoid', reason: SIGMOID_FAILED };
  }
  const second = minima.find(
    (other) =>
      other.classFactor !== best.classFactor || Math.abs(other.scalar - best.scalar) > 1e-2 * Math.abs(best.scalar),
  );
  const classes = problem.u.length;
  const score = (residual: number): number => classes * Math.log(residual / classes + floor);
  const confidence = oddsConfidence(score(best.residual), second && score(second.residual));
  const perClass = Math.sqrt((best.residual * best.classFactor ** 2 * size) / classes) / Math.abs(best.scalar);
  const fit =
    best.residual <= FLOOR_MARGIN * classes * floor ||
    (best.residual <= HARMLESS_RESIDUAL && perClass < HARMLESS_MISFIT);
  const plausible = best.residual <= PLAUSIBLE_RESIDUAL && perClass < PLAUSIBLE_MISFIT;
  const status = fit && confidence >= SURE ? 'recovered' : fit || plausible ? 'ambiguous' : 'not-identifiable';
  if (status === 'not-identifiable') {
    return { ...notFound(factors), method, activation: 'sigmoid', reason: SIGMOID_FAILED };
  }
  return {
    status,
    method,
    activation: 'sigmoid',
    label: sigmoidLabel(best.y, best.smoothing),
    feature: scaled(factors.v, best.scalar),
    scalar: best.scalar,
    lambda: lambdaOf(factors, best.scalar),
    residual: best.residual,
    residualFloor: floor * classes,
    confidence: fit ? confidence : 0,
    scale: 1,
    problem,
    family: { m: 1, smoothed: false },
    reason: `The gradient does not sum to zero over the classes, so the head is a sigmoid one; with this feature every class is labelled on or off${best.classFactor > 1 ? ' (loss averaged over the classes)' : ''}.`,
  };
}

const SIGMOID_FAILED =
  'The gradient does not sum to zero over the classes, which rules out softmax cross-entropy, and no on-or-off labels explain it either: another loss, pruning, or another checkpoint.';

function sigmoidLabel(y: Float64Array, smoothing: number): FittedLabel {
  const on = [...y.keys()].filter((index) => y[index]! > 0.5);
  return {
    kind: smoothing > 0 ? 'smoothed' : 'hard',
    probabilities: y.map((value) => (value > 0.5 ? 1 - smoothing / 2 : smoothing / 2)),
    smoothing,
    classes: on.map((index) => ({ index, weight: 1 })),
  };
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
  };
}

function lambdaOf({ problem, row }: HeadFactors, scalar: number): number {
  return scalar / problem.u[row]!;
}
