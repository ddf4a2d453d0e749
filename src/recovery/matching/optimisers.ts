import { dot } from '../vectors.js';

/** First-order optimisers over one flat vector. A step may ask for the loss and slope several times. */

export interface Evaluation {
  readonly loss: number;
  readonly slope: Float64Array;
}

export type Objective = (x: Float64Array) => Promise<Evaluation>;

export interface Optimiser {
  /** Moves `x` in place; returns the loss at the point it started from. */
  step(x: Float64Array, learningRate: number, objective: Objective): Promise<number>;
}

/**
 * Adam (Kingma and Ba, arXiv 1412.6980) with PyTorch's defaults.
 *
 * @param signed uses the slope's sign only (Geiping et al. 2020)
 */
export function adam(size: number, signed: boolean): Optimiser {
  const first = new Float64Array(size);
  const second = new Float64Array(size);
  let steps = 0;
  return {
    async step(x, learningRate, objective) {
      const { loss, slope } = await objective(x);
      steps++;
      const firstScale = 1 - 0.9 ** steps;
      const secondScale = 1 - 0.999 ** steps;
      for (let at = 0; at < size; at++) {
        const d = signed ? Math.sign(slope[at]!) : slope[at]!;
        first[at] = 0.9 * first[at]! + 0.1 * d;
        second[at] = 0.999 * second[at]! + 0.001 * d * d;
        x[at]! -= (learningRate * (first[at]! / firstScale)) / (Math.sqrt(second[at]! / secondScale) + 1e-8);
      }
      return loss;
    },
  };
}

const INNER_STEPS = 20;
const HISTORY = 100;

/**
 * L-BFGS as published attacks use it: PyTorch's without line search, up to 20 inner steps and 25 evaluations a step,
 * 100 pairs of history, stopping an inner loop at slopes below 1e-7 or changes below 1e-9.
 */
export function lbfgs(): Optimiser {
  const steps: Float64Array[] = [];
  const changes: Float64Array[] = [];
  const curvatures: number[] = [];
  let direction: Float64Array | undefined;
  let previous: Float64Array | undefined;
  let length = 1;
  let scale = 1;
  let count = 0;
  return {
    async step(x, learningRate, objective) {
      let { loss, slope } = await objective(x);
      const start = loss;
      if (largest(slope) <= 1e-7) {
        return start;
      }
      for (let inner = 0; inner < INNER_STEPS; inner++) {
        count++;
        if (!direction || !previous) {
          direction = slope.map((value) => -value);
        } else {
          const change = slope.map((value, at) => value - previous![at]!);
          const step = direction.map((value) => value * length);
          const curvature = dot(change, step);
          if (curvature > 1e-10) {
            if (steps.length === HISTORY) {
              steps.shift();
              changes.shift();
              curvatures.shift();
            }
            steps.push(step);
            changes.push(change);
            curvatures.push(1 / curvature);
            scale = curvature / dot(change, change);
          }
          direction = twoLoops(slope, steps, changes, curvatures, scale);
        }
        previous = slope.slice();
        const earlier = loss;
        length = count === 1 ? Math.min(1, 1 / sumOfSizes(slope)) * learningRate : learningRate;
        if (dot(slope, direction) > -1e-9) {
          break;
        }
        for (let at = 0; at < x.length; at++) {
          x[at]! += length * direction[at]!;
        }
        if (inner === INNER_STEPS - 1) {
          break;
        }
        ({ loss, slope } = await objective(x));
        if (largest(slope) <= 1e-7 || largest(direction) * length <= 1e-9 || Math.abs(loss - earlier) < 1e-9) {
          break;
        }
      }
      return start;
    },
  };
}

function twoLoops(
  slope: Float64Array,
  steps: readonly Float64Array[],
  changes: readonly Float64Array[],
  curvatures: readonly number[],
  scale: number,
): Float64Array {
  const q = slope.map((value) => -value);
  const weights = new Array<number>(steps.length);
  for (let at = steps.length - 1; at >= 0; at--) {
    weights[at] = dot(steps[at]!, q) * curvatures[at]!;
    add(q, changes[at]!, -weights[at]!);
  }
  for (let at = 0; at < q.length; at++) {
    q[at]! *= scale;
  }
  for (let at = 0; at < steps.length; at++) {
    add(q, steps[at]!, weights[at]! - dot(changes[at]!, q) * curvatures[at]!);
  }
  return q;
}

function add(x: Float64Array, y: Float64Array, factor: number): void {
  for (let at = 0; at < x.length; at++) {
    x[at]! += factor * y[at]!;
  }
}

function largest(x: Float64Array): number {
  return x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function sumOfSizes(x: Float64Array): number {
  return x.reduce((sum, value) => sum + Math.abs(value), 0);
}
