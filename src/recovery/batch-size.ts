import type { GradientShape, HeadGradient } from './head-gradient.js';
import { labelFrequencies } from './label-counts.js';
import { norm, singularValues } from './linear-algebra.js';

/** How many samples went into a gradient, from the rank of its head part (science/README.md). */
export interface BatchEstimate {
  /** Undefined when the rank is saturated and only bounds the size. */
  readonly size: number | undefined;
  readonly lowerBound: number;
  readonly singularValues: Float64Array;
  /** Singular values below this are rounding or noise. */
  readonly floor: number;
  readonly reason: string;
}

/** More pivots than this are not worth their time: the size is a bound from there on. */
const MOST_PIVOTS = 384;
/** Rounding is not white: its largest singular value may exceed the white one by this factor. */
const FLOOR_MARGIN = 2.5;
/** Shares below this are the misfit of absent classes. */
const SHARE_MARGIN = 2e-3;

/**
 * Each sample adds one rank, so the number of singular values above the dump's noise floor bounds the
 * batch size from below; it equals it when the rank is below what K classes (whose shares sum to zero)
 * and d features allow, unless two samples are nearly the same.
 */
export async function estimateBatch(
  head: HeadGradient,
  shape: GradientShape,
  pause: (pivots: number) => Promise<void>,
): Promise<BatchEstimate> {
  const g = head.weightGradient;
  const perEntry = Math.max(shape.rounding, noiseOfColumns(shape, g.rows, g.cols));
  const floor = FLOOR_MARGIN * perEntry * (Math.sqrt(g.rows) + Math.sqrt(g.cols));
  const values = await singularValues(g, perEntry * Math.sqrt(g.rows * g.cols), MOST_PIVOTS, pause);
  const rank = Math.max(values.filter((value) => value > floor).length, 1);
  const common = { lowerBound: rank, singularValues: values, floor };
  const counted = await sizeFromFrequencies(head, rank, () => pause(values.length));
  if (counted !== undefined) {
    return {
      ...common,
      size: counted,
      reason: `${counted} samples make every class's share, read from the bias gradient, a whole number of labels; the rank of the gradient says at least ${rank}.`,
    };
  }
  const saturated = rank >= Math.min(g.rows - 1, g.cols) || rank >= MOST_PIVOTS;
  return {
    ...common,
    size: saturated ? undefined : rank,
    reason: saturated
      ? `All ${rank} singular values that ${g.rows} classes and ${g.cols} features allow are above the noise floor, so the batch has at least ${rank} samples.`
      : gapReason(values, rank),
  };
}

/** Hard labels make B times every share a whole number; the smallest such B, not below the rank. */
async function sizeFromFrequencies(
  head: HeadGradient,
  rank: number,
  pause: () => Promise<void>,
): Promise<number | undefined> {
  if (!head.biasGradient || norm(head.biasGradient) === 0) {
    return undefined;
  }
  const shares = (await labelFrequencies(head, head.biasGradient, pause)).filter((share) => share > SHARE_MARGIN);
  // Few shares fit some whole number by chance, so they must fit it better.
  const tolerance = Math.min(0.12, 0.02 * shares.length);
  for (let size = rank; size <= 4 * rank + 16; size++) {
    const counts = shares.map((share) => Math.round(size * share));
    const sum = counts.reduce((total, count) => total + count, 0);
    // Without the sum, one sample too few would pass: its shares miss a whole number only slightly.
    if (
      sum === size &&
      shares.every((share, i) => counts[i]! > 0 && Math.abs(size * share - counts[i]!) <= tolerance)
    ) {
      return size;
    }
  }
  return undefined;
}

function gapReason(values: Float64Array, rank: number): string {
  const last = values[rank - 1] ?? 0;
  const next = values[rank];
  const gap = next === undefined ? 'nothing below it' : `the next is ${next.toExponential(1)}`;
  return `${rank} singular ${rank === 1 ? 'value is' : 'values are'} above the noise floor (the last is ${last.toExponential(1)}, ${gap}); samples of one class with nearly equal features may hide behind one of them.`;
}

/** Samples sum to zero over the classes and noise does not, so the column sums measure the noise alone. */
function noiseOfColumns(shape: GradientShape, rows: number, cols: number): number {
  return (shape.columnSum * shape.rankOne.total) / Math.sqrt(rows * cols);
}
