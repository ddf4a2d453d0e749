import { type HeadGradient } from './head-gradient.js';
import { paperCurve } from './paper-method.js';
import { residualCurve, smallestScalar } from './scalar-scan.js';
import type { RecoveredSample } from './recovered-sample.js';

/** The search as a picture: both losses over lambda, with the solution among the points. */
export interface Landscape {
  /** Ascending; x = lambda G_r. */
  readonly lambda: number[];
  /** rho(lambda) of the family that was chosen. */
  readonly residual: number[];
  /** The paper's L_label(lambda). */
  readonly paperLoss: number[];
  /** lambda of the solution; where no label was told, that of the lowest residual. */
  readonly solution: number;
}

const POINTS_FAR = 120;
const POINTS_NEAR = 81;

/**
 * Samples both curves over the scan's whole range and, densely, around the solution, of the gradient at the scale that was
 * found for it. Undefined but for softmax heads, and for a dense label, which no search has found.
 */
export function landscapeOf(head: HeadGradient, sample: RecoveredSample, row: number): Landscape | undefined {
  const isTold = sample.status !== 'not-identifiable';
  if (sample.activation !== 'softmax' || (isTold && sample.label.kind === 'other')) {
    return undefined;
  }
  const perLambda = sample.problem.u[row]!;
  const lambda = lambdaGrid(sample, perLambda);
  const curve = paperCurve(unscaled(head, sample.scale), row, sample.family.m === 1 ? 'label-smoothing' : 'mixup');
  const residual = residualCurve(
    sample.problem,
    sample.family,
    lambda.map((own) => own * perLambda),
  );
  const lowest = residual.reduce((best, value, at) => (value < residual[best]! ? at : best), 0);
  return {
    lambda,
    residual,
    paperLoss: lambda.map((own) => curve.loss(own)),
    solution: isTold ? sample.lambda : lambda[lowest]!,
  };
}

function unscaled(head: HeadGradient, scale: number): HeadGradient {
  const { weightGradient } = head;
  return scale === 1
    ? head
    : { ...head, weightGradient: { ...weightGradient, data: weightGradient.data.map((value) => value / scale) } };
}

function lambdaGrid(sample: RecoveredSample, perLambda: number): number[] {
  const solution = sample.lambda;
  const least = smallestScalar(sample.problem.u) / Math.abs(perLambda);
  const far = Math.max(Math.abs(solution) * 6, least * 20);
  const grid = [solution];
  for (let step = 0; step <= POINTS_FAR; step++) {
    const lambda = least * (far / least) ** (step / POINTS_FAR);
    grid.push(lambda, -lambda);
  }
  for (let step = 0; step < POINTS_NEAR; step++) {
    // Quadratic spacing resolves the minimum itself and still shows its basin.
    const offset = (2 * step) / (POINTS_NEAR - 1) - 1;
    grid.push(solution * (1 + 0.3 * offset * Math.abs(offset)));
  }
  return [...new Set(grid)].sort((one, other) => one - other);
}
