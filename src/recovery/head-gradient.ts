import { type Matrix, multiplyTransposed } from './linear-algebra.js';
import { type RankOne, deflate, rankOne, residualNorm } from './rank-one.js';
import { norm } from './vectors.js';

/**
 * The head's part of a captured gradient: z = W x + b, G = dL/dW, g_b = dL/db.
 */
export interface HeadGradient {
  /** K x d. */
  readonly weight: Matrix;
  /** K; absent for a head without bias. */
  readonly bias: Float64Array | undefined;
  /** dL/dW, K x d. */
  readonly weightGradient: Matrix;
  /** dL/db, K; absent when the dump does not hold it. */
  readonly biasGradient: Float64Array | undefined;
  /** Unit roundoff of the stored gradient numbers: 2^-24 for float32. */
  readonly roundoff: number;
  /** Smallest step that the stored type can make near 0 (float16 loses small gradients): 0 when it does not matter. */
  readonly underflow: number;
}

/** Unit roundoff of the type that the forward pass was probably computed in. */
export const FLOAT32_ROUNDOFF = 2 ** -24;

/** Coarser than this, rounding is worth modelling entry by entry. */
export const HALF_PRECISION = 2 ** -16;
const OWN_ROUNDOFF = 2 ** -49;

/** `hidden`: not even the largest singular value stands out of the noise, so nothing can be told. */
export type GradientNature = 'single' | 'single-noisy' | 'hidden' | 'batch';

export interface GradientShape {
  readonly nature: GradientNature;
  readonly rankOne: RankOne;
  /** Standard deviation of what is not rank one, per entry of G, in G's units: noise or rounding. */
  readonly noise: number;
  /** Standard deviation that the dump's own number type explains, per entry of G. */
  readonly rounding: number;
  /** ||1^T G|| / ||G||: zero for softmax cross-entropy up to noise. */
  readonly columnSum: number;
  /** What noise and rounding alone would make of it. */
  readonly columnSumFloor: number;
}

/**
 * Tells one sample from a batch, and noise from samples.
 *
 * One sample's gradient is rank one. What is left over is rounding, noise, or other samples. Noise is
 * told from samples by two marks: its spectrum is flat (second singular value about
 * sigma (sqrt K + sqrt d)), and it does not sum to zero over the classes, as every sample's share does.
 *
 * @throws RangeError when G is all zero
 */
export function shapeOfGradient(head: HeadGradient): GradientShape {
  const g = head.weightGradient;
  const one = head.roundoff > HALF_PRECISION ? reweighted(g, rankOne(g), head.underflow) : rankOne(g);
  // Our own sums round too, which only shows beside float64 numbers.
  const roundoff = Math.max(head.roundoff, OWN_ROUNDOFF);
  const rounding = (roundoff * one.total) / Math.sqrt(3 * g.rows * g.cols) + head.underflow / Math.sqrt(12);
  const freedom = Math.max((g.rows - 1) * (g.cols - 1), 1);
  const left = one.residual / Math.sqrt(freedom);
  const noise = Math.max(left, rounding);
  const entries = Math.sqrt(g.rows * g.cols);
  const columnSum = columnSumNorm(g);
  const columnNoise = columnSum / entries;
  const common = {
    rankOne: one,
    noise,
    rounding,
    columnSum: columnSum / one.total,
    columnSumFloor: (noise * entries) / one.total,
  };
  if (left <= 6 * rounding) {
    return { ...common, nature: 'single' };
  }
  const flat = left * (Math.sqrt(g.rows) + Math.sqrt(g.cols));
  const second = norm(rankOne(deflate(g, one)).u);
  const isNoise = second <= 1.6 * flat && columnNoise >= 0.5 * left;
  const isHidden = isNoise && norm(one.u) <= 1.3 * flat;
  return { ...common, nature: isHidden ? 'hidden' : isNoise ? 'single-noisy' : 'batch' };
}

/**
 * Improves a rank-one factorisation of rounded numbers. Rounding errs in proportion to each entry, so every
 * entry should count by its relative error; plain least squares listens to the largest rows alone.
 *
 * @param underflow absolute rounding step near zero
 */
export function reweighted(g: Matrix, start: RankOne, underflow: number): RankOne {
  let { u, v } = start;
  const weight = (value: number): number => 1 / (value * value + underflow * underflow + 1e-300);
  for (let iteration = 0; iteration < 4; iteration++) {
    const nextV = new Float64Array(g.cols);
    const sums = new Float64Array(g.cols);
    const nextU = new Float64Array(g.rows);
    for (let row = 0; row < g.rows; row++) {
      for (let col = 0; col < g.cols; col++) {
        const value = g.data[row * g.cols + col]!;
        const w = value === 0 ? 0 : weight(value) * u[row]!;
        nextV[col]! += w * value;
        sums[col]! += w * u[row]!;
      }
    }
    for (let col = 0; col < g.cols; col++) {
      nextV[col] = sums[col]! > 0 ? nextV[col]! / sums[col]! : v[col]!;
    }
    const length = norm(nextV);
    v = nextV.map((value) => value / length);
    for (let row = 0; row < g.rows; row++) {
      let sum = 0;
      let total = 0;
      for (let col = 0; col < g.cols; col++) {
        const value = g.data[row * g.cols + col]!;
        const w = value === 0 ? 0 : weight(value) * v[col]!;
        sum += w * value;
        total += w * v[col]!;
      }
      nextU[row] = total > 0 ? sum / total : u[row]!;
    }
    u = nextU;
  }
  return { u, v, residual: residualNorm(g, u, v), total: start.total };
}

/** ||1^T G||: length d vector of sums over the classes. */
export function columnSumNorm(g: Matrix): number {
  return norm(multiplyTransposed(g, new Float64Array(g.rows).fill(1)));
}

/**
 * Unit roundoff that the numbers themselves show: gradients computed in half precision are often stored
 * as float32, and then carry half precision's error. Looks at the trailing zero bits of the mantissas.
 *
 * @param stored unit roundoff of the type they are stored in
 */
export function effectiveRoundoff(values: Float64Array, stored: number): number {
  const step = Math.max(1, Math.floor(values.length / 4096));
  const words = new Uint32Array(1);
  const floats = new Float32Array(words.buffer);
  let used = 0;
  let seen = 0;
  for (let index = 0; index < values.length; index += step) {
    const value = values[index]!;
    floats[0] = value;
    if (floats[0] !== value) {
      return stored;
    }
    if (value !== 0) {
      used |= words[0]! & 0x7fffff;
      seen++;
    }
  }
  if (seen < 32) {
    return stored;
  }
  // bits of the 23-bit mantissa that no value uses, counted from the least significant
  const unused = used === 0 ? 23 : 31 - Math.clz32(used & -used);
  return Math.max(stored, 2 ** -(24 - unused));
}
