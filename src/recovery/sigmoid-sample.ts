import type { HeadFactors } from './head-factors.js';
import type { FittedLabel } from './label-family.js';
import { type RecoveredSample, lambdaOf, notFound } from './recovered-sample.js';
import { scanSigmoid } from './sigmoid-head.js';
import { dot, scaled } from './vectors.js';

/** Labels and feature of one sample under one sigmoid per class. */

/** A sigmoid head's misfit per class below this is harmless even where it exceeds the noise floor; rho must be small as well. */
const HARMLESS_MISFIT = 1e-3;
const HARMLESS_RESIDUAL = 1e-4;
const PLAUSIBLE_MISFIT = 2e-2;
const PLAUSIBLE_RESIDUAL = 1e-3;
/** rho may exceed its estimated floor by this factor before a sigmoid head's fit counts as failed. */
const FLOOR_MARGIN = 60;
const SURE = 0.95;

export function recoverSigmoid(factors: HeadFactors): RecoveredSample {
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
    classConfidence: fit ? confidence : 0,
    kindConfidence: fit ? confidence : 0,
    openKinds: [],
    topRange: [0, 1],
    smoothingRange: [0, 1],
    isReversed: false,
    isOneTold: true,
    reason: `The gradient does not sum to zero over the classes, so the head is a sigmoid one; with this feature every class is labelled on or off${best.classFactor > 1 ? ' (loss averaged over the classes)' : ''}.`,
  };
}

const SIGMOID_FAILED =
  'The gradient does not sum to zero over the classes, as that of softmax cross-entropy does, and no on-or-off labels explain it either: another loss, pruning, another checkpoint, or a prediction so sure that little but its rounding is left.';

function sigmoidLabel(y: Float64Array, smoothing: number): FittedLabel {
  const on = [...y.keys()].filter((index) => y[index]! > 0.5);
  return {
    kind: smoothing > 0 ? 'smoothed' : 'hard',
    probabilities: y.map((value) => (value > 0.5 ? 1 - smoothing / 2 : smoothing / 2)),
    smoothing,
    classes: on.map((index) => ({ index, weight: 1 })),
  };
}

/** Posterior odds of two scores that are -2 log likelihoods. */
function oddsConfidence(best: number, second: number | undefined): number {
  return second === undefined ? 1 : 1 / (1 + Math.exp(Math.max(-700, -(second - best) / 2)));
}
