import { type HeadGradient } from './head-gradient.js';
import { paperCurve } from './paper-method.js';
import { residualCurve, smallestScalar } from './scalar-scan.js';
import type { RecoveredSample } from './recovered-sample.js';

/** The search as a picture: both losses over lambda, with the solution between the points. */
export interface Landscape {
  /** Ascending; x = lambda G_r. */
  readonly lambda: number[];
  /** rho(lambda) of the family that was chosen. */
  readonly residual: number[];
  /** The paper's L_label(lambda). */
  readonly paperLoss: number[];
}

const POINTS_FAR = 120;
const POINTS_NEAR = 81;

/** Samples both curves over the scan's whole range and, densely, around the solution. Softmax heads only. */
export function landscapeOf(head: HeadGradient, sample: RecoveredSample, row: number): Landscape | undefined {
  if (sample.activation !== 'softmax') {
    return undefined;
  }
  const perLambda = sample.problem.u[row]! * sample.scale;
  const lambdas = lambdaGrid(sample, perLambda);
  const curve = paperCurve(head, row, sample.family.m === 1 ? 'label-smoothing' : 'mixup');
  const scalars = lambdas.map((lambda) => lambda * perLambda);
  return {
    lambda: lambdas,
    residual: residualCurve(sample.problem, sample.family, scalars),
    paperLoss: lambdas.map((lambda) => curve.loss(lambda)),
  };
}

function lambdaGrid(sample: RecoveredSample, perLambda: number): number[] {
  const solution = sample.scalar / perLambda;
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
