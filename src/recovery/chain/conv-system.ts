import { convolve, convolveFilter, convolveInput } from '../../graph/convolution.js';
import type { ConvGeometry } from '../../graph/tensor-graph.js';
import { gaussian } from '../gaussian.js';
import { generator } from '../paper-method.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { type Cholesky, factorise, solveLower, solveUpper } from '../cholesky.js';
import { dot, norm } from '../vectors.js';

/**
 * The unknown input x of a convolution of one sample, from two sets of linear equations (Zhu and Blaschko, R-GAP,
 * arXiv 2010.07733, here with exact soft labels and an error model):
 * forward, conv(x, W) + b = z, and gradient, sum over positions of delta[o, pos] x[patch(pos)] = dL/dW[o].
 */
export interface ConvSystem {
  readonly geometry: ConvGeometry;
  /** 1 x channels x height x width */
  readonly inputShape: readonly number[];
  /** OIHW */
  readonly filter: Float64Array;
  readonly filterShape: readonly number[];
  readonly outputShape: readonly number[];
  /** z - b of every output; entries of weight 0 are ignored. */
  readonly forward: Float64Array;
  /** 1 / standard error of each. */
  readonly forwardWeight: Float64Array;
  /** dL/dz, shape of the output. */
  readonly delta: Float64Array;
  /** dL/dW, OIHW. */
  readonly gradient: Float64Array;
  readonly gradientWeight: Float64Array;
  /** What inputs look like before anything is measured; decides only what the equations leave open. */
  readonly prior: { readonly mean: number; readonly deviation: number };
}

export interface SolvedSystem {
  readonly x: Float64Array;
  /** Estimated standard error of each entry of x. */
  readonly error: Float64Array;
  readonly unknowns: number;
  readonly equations: number;
  readonly rank: number;
  /** Of the weighted system, estimated by power iteration. */
  readonly condition: number;
  /** Root mean square of the weighted residuals: 1 where the error model holds. */
  readonly residual: number;
  readonly iterations: number;
  readonly converged: boolean;
}

/** More unknowns than this make a factorisation too large; 6000^2 numbers are 288 MB. */
export const MOST_UNKNOWNS = 6000;
const MOST_REFINEMENTS = 60;
const ERROR_PROBES = 8;
const PIVOT_ROUNDING = 1e-12;
/** Enough for the leading digit of a condition number. */
const POWER_ITERATIONS = 5;

/**
 * Weighted least squares: Cholesky of the normal equations, then conjugate gradients on the equations themselves with
 * that factor as preconditioner, which restores the accuracy that squaring the condition had cost.
 *
 * @throws RangeError when there are more unknowns than a factorisation can take
 */
export async function solveConv(system: ConvSystem, product: ProductKernel): Promise<SolvedSystem> {
  const size = system.inputShape.reduce((all, own) => all * own, 1);
  if (size > MOST_UNKNOWNS) {
    throw new RangeError(`${size} unknowns are more than the ${MOST_UNKNOWNS} that can be factorised.`);
  }
  const normal = await normalMatrix(system, product);
  const priorWeight = 1 / system.prior.deviation ** 2;
  const bare = Float64Array.from({ length: size }, (_, at) => normal[at * size + at]!);
  for (let at = 0; at < size; at++) {
    normal[at * size + at]! += priorWeight + 1e-15 * bare[at]!;
  }
  const factor = await factorise(normal, size, product);
  const { x, iterations, converged } = refine(system, factor, priorWeight);
  const weighted = residuals(system, x);
  const used = countUsed(system);
  return {
    x,
    error: errorOf(factor),
    unknowns: size,
    equations: used,
    rank: Math.min(size - undetermined(factor, priorWeight, bare), used),
    condition: conditionOf(factor),
    residual: Math.sqrt(dot(weighted, weighted) / Math.max(used, 1)),
    iterations,
    converged,
  };
}

function countUsed({ forwardWeight, gradientWeight }: ConvSystem): number {
  const positive = (sum: number, weight: number): number => sum + (weight > 0 ? 1 : 0);
  return forwardWeight.reduce(positive, 0) + gradientWeight.reduce(positive, 0);
}

/** Pivots that are no larger than the prior alone, or the rounding of their diagonal entry, would make them. */
function undetermined({ size, lower, deficiency }: Cholesky, priorWeight: number, diagonal: Float64Array): number {
  let count = 0;
  for (let at = 0; at < size; at++) {
    if (lower[at * size + at]! ** 2 <= 2 * priorWeight + PIVOT_ROUNDING * diagonal[at]!) {
      count++;
    }
  }
  return Math.max(count, deficiency);
}

/** A x: weighted forward rows, then weighted gradient rows. */
function apply(system: ConvSystem, x: Float64Array): Float64Array {
  const { geometry, inputShape, filter, filterShape, outputShape, forwardWeight, delta, gradientWeight } = system;
  const forward = convolve(x, inputShape, filter, filterShape, geometry, outputShape);
  const gradient = convolveFilter(x, inputShape, delta, outputShape, geometry, filterShape);
  const out = new Float64Array(forward.length + gradient.length);
  forward.forEach((value, at) => {
    out[at] = value * forwardWeight[at]!;
  });
  gradient.forEach((value, at) => {
    out[forward.length + at] = value * gradientWeight[at]!;
  });
  return out;
}

/** A^T r */
function applyTransposed(system: ConvSystem, r: Float64Array): Float64Array {
  const { geometry, inputShape, filter, filterShape, outputShape, forwardWeight, delta, gradientWeight } = system;
  const count = forwardWeight.length;
  const forward = forwardWeight.map((weight, at) => weight * r[at]!);
  const gradient = gradientWeight.map((weight, at) => weight * r[count + at]!);
  const x = convolveInput(forward, outputShape, filter, filterShape, geometry, inputShape);
  const other = convolveInput(delta, outputShape, gradient, filterShape, geometry, inputShape);
  return x.map((value, at) => value + other[at]!);
}

/** Weighted right-hand side minus A x. */
function residuals(system: ConvSystem, x: Float64Array): Float64Array {
  const { forward, forwardWeight, gradient, gradientWeight } = system;
  const product = apply(system, x);
  return product.map((value, at) =>
    at < forward.length
      ? (forwardWeight[at]! > 0 ? forward[at]! * forwardWeight[at]! : 0) - value
      : gradient[at - forward.length]! * gradientWeight[at - forward.length]! - value,
  );
}

function refine(
  system: ConvSystem,
  factor: Cholesky,
  priorWeight: number,
): { x: Float64Array; iterations: number; converged: boolean } {
  const { mean } = system.prior;
  const x = new Float64Array(factor.size).fill(mean);
  const precondition = (r: Float64Array): Float64Array => solveUpper(factor, solveLower(factor, r.slice()));
  let r = residuals(system, x);
  let gradient = applyTransposed(system, r).map((value, at) => value - priorWeight * (x[at]! - mean));
  let z = precondition(gradient);
  let p = z;
  let size = dot(gradient, z);
  const first = size;
  let iterations = 0;
  let best = size;
  for (; iterations < MOST_REFINEMENTS && size > 1e-28 * first; iterations++) {
    const ap = apply(system, p);
    const step = size / (dot(ap, ap) + priorWeight * dot(p, p));
    for (let at = 0; at < x.length; at++) {
      x[at]! += step * p[at]!;
    }
    // Recomputed rather than updated: the updated residual drifts away from the true one.
    r = residuals(system, x);
    gradient = applyTransposed(system, r).map((value, at) => value - priorWeight * (x[at]! - mean));
    z = precondition(gradient);
    const next = dot(gradient, z);
    const share = next / size;
    p = z.map((value, at) => value + share * p[at]!);
    size = next;
    if (iterations > 4 && next > 0.5 * best) {
      // Rounding is reached.
      break;
    }
    best = Math.min(best, next);
  }
  return { x, iterations, converged: size <= 1e-16 * first };
}

/** Standard error of each unknown, from random draws of N(0, (A^T A)^-1). */
function errorOf(factor: Cholesky): Float64Array {
  const random = generator(1);
  const sums = new Float64Array(factor.size);
  for (let probe = 0; probe < ERROR_PROBES; probe++) {
    const draw = solveUpper(
      factor,
      Float64Array.from({ length: factor.size }, () => gaussian(random)),
    );
    draw.forEach((value, at) => {
      sums[at]! += value * value;
    });
  }
  return sums.map((sum) => Math.sqrt(sum / ERROR_PROBES));
}

/** Largest over smallest singular value, by power iteration with L and its inverse. */
function conditionOf(factor: Cholesky): number {
  const { size, lower } = factor;
  let largest = 0;
  let v: Float64Array = Float64Array.from({ length: size }, (_, at) => Math.cos(at));
  for (let iteration = 0; iteration < POWER_ITERATIONS; iteration++) {
    const length = norm(v);
    v = v.map((value) => value / length);
    const inner = new Float64Array(size);
    for (let row = 0; row < size; row++) {
      for (let k = 0; k <= row; k++) {
        inner[k]! += lower[row * size + k]! * v[row]!;
      }
    }
    const next = new Float64Array(size);
    for (let row = 0; row < size; row++) {
      let sum = 0;
      for (let k = 0; k <= row; k++) {
        sum += lower[row * size + k]! * inner[k]!;
      }
      next[row] = sum;
    }
    largest = norm(next);
    v = next;
  }
  let smallest = 0;
  v = Float64Array.from({ length: size }, (_, at) => Math.cos(3 * at));
  for (let iteration = 0; iteration < POWER_ITERATIONS; iteration++) {
    const length = norm(v);
    const next = solveUpper(
      factor,
      solveLower(
        factor,
        v.map((value) => value / length),
      ),
    );
    smallest = norm(next);
    v = next;
  }
  return Math.sqrt(largest * smallest);
}

/** Lower triangle of A^T A, row-major. */
async function normalMatrix(system: ConvSystem, product: ProductKernel): Promise<Float64Array> {
  const { geometry, inputShape, filter, filterShape, outputShape, forwardWeight, delta, gradientWeight } = system;
  const { strides, pads, dilations, groups } = geometry;
  const [, channels, height, width] = inputShape as [number, number, number, number];
  const [out, perGroup, kernelH, kernelW] = filterShape as [number, number, number, number];
  const [, , rows, cols] = outputShape as [number, number, number, number];
  const size = channels * height * width;
  const normal = new Float64Array(size * size);
  const outPerGroup = out / groups;
  const kernel = kernelH * kernelW;
  // Forward rows: every output position adds the outer products of its filters over its patch.
  for (let group = 0; group < groups; group++) {
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const places: number[] = [];
        const taps: number[] = [];
        for (let tap = 0; tap < perGroup * kernel; tap++) {
          const channel = group * perGroup + Math.floor(tap / kernel);
          const y = row * strides[0] - pads[0] + Math.floor((tap % kernel) / kernelW) * dilations[0];
          const x = col * strides[1] - pads[1] + (tap % kernelW) * dilations[1];
          if (y >= 0 && y < height && x >= 0 && x < width) {
            places.push((channel * height + y) * width + x);
            taps.push(tap);
          }
        }
        const count = places.length;
        const block = new Float64Array(count * outPerGroup);
        for (let o = 0; o < outPerGroup; o++) {
          const own = group * outPerGroup + o;
          const weight = forwardWeight[(own * rows + row) * cols + col]!;
          for (let at = 0; at < count; at++) {
            block[at * outPerGroup + o] = weight * filter[own * perGroup * kernel + taps[at]!]!;
          }
        }
        for (let i = 0; i < count; i++) {
          const line = places[i]! * size;
          for (let j = 0; j <= i; j++) {
            let sum = 0;
            for (let o = 0; o < outPerGroup; o++) {
              sum += block[i * outPerGroup + o]! * block[j * outPerGroup + o]!;
            }
            normal[line + places[j]!]! += sum;
          }
        }
      }
    }
  }
  // Gradient rows touch one channel each; the rows of all channels of a group share their coefficients.
  const plane = height * width;
  for (let channel = 0; channel < channels; channel++) {
    const group = Math.floor(channel / perGroup);
    const own = channel % perGroup;
    const equations = outPerGroup * kernel;
    const coefficients = new Float64Array(plane * equations);
    for (let o = 0; o < outPerGroup; o++) {
      const from = group * outPerGroup + o;
      for (let tap = 0; tap < kernel; tap++) {
        const weight = gradientWeight[(from * perGroup + own) * kernel + tap]!;
        const equation = o * kernel + tap;
        for (let row = 0; row < rows; row++) {
          const y = row * strides[0] - pads[0] + Math.floor(tap / kernelW) * dilations[0];
          if (y < 0 || y >= height) {
            continue;
          }
          for (let col = 0; col < cols; col++) {
            const x = col * strides[1] - pads[1] + (tap % kernelW) * dilations[1];
            if (x >= 0 && x < width) {
              coefficients[(y * width + x) * equations + equation]! +=
                weight * delta[(from * rows + row) * cols + col]!;
            }
          }
        }
      }
    }
    const block = await product(coefficients, coefficients, plane, plane, equations);
    for (let i = 0; i < plane; i++) {
      const line = (channel * plane + i) * size + channel * plane;
      for (let j = 0; j <= i; j++) {
        normal[line + j]! += block[i * plane + j]!;
      }
    }
  }
  return normal;
}
