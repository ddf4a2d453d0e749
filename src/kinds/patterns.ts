import type { SampledPair } from './sampling.js';
import { zeroPattern } from './structure.js';

/** Updates whose magnitudes were changed on purpose or by an optimiser: one size, few levels, or many zeros. */

export interface ConstantSize {
  /** `exact`: -c, 0 and c alone. */
  readonly how: 'exact' | 'nearly';
  /** c of the last tensor that has it, in the file's units. */
  readonly size: number;
  /** Decoupled weight decay, relative to the step: |D| = c (1 + decay * sign(D) * weight); 0 without. */
  readonly decay: number;
}

/** Tensors of fewer entries other than zero may be of one size by chance. */
const FEWEST_ENTRIES = 16;
/** Share of the entries that must be in tensors of one size. */
const MOST_PART = 0.8;
/** 10th to 90th percentile against the median. */
const SPREAD = 0.05;
const MOST_LOOKED_AT = 2 ** 13;

/**
 * Whether the entries of nearly every tensor have one absolute value: the sign of a gradient, or Adam's first step, whose
 * g / (|g| + eps) is one wherever the gradient exceeds eps (Kingma & Ba 2015; decoupled decay: Loshchilov & Hutter 2019).
 */
export function constantSize(samples: readonly SampledPair[]): ConstantSize | undefined {
  let entries = 0;
  let exact = 0;
  let nearly = 0;
  let last: { size: number; decay: number } | undefined;
  for (const { gradient, parameter } of samples) {
    const [sizes, signed] = nonzero(gradient, parameter);
    if (sizes.length < FEWEST_ENTRIES) {
      continue;
    }
    entries += sizes.length;
    if (sizes.every((size) => size === sizes[0])) {
      exact += sizes.length;
      nearly += sizes.length;
      last = { size: sizes[0]!, decay: 0 };
      continue;
    }
    const found = nearlyConstant(sizes, signed);
    if (found) {
      nearly += sizes.length;
      last = found;
    } else if (isDecayAlone(sizes, signed, Infinity)) {
      // Nothing of a gradient is in it, so it says nothing of the step's size.
      entries -= sizes.length;
    }
  }
  if (!last || nearly < MOST_PART * entries) {
    return undefined;
  }
  return { how: exact >= MOST_PART * entries ? 'exact' : 'nearly', ...last };
}

/** |D| and sign(D) * weight of the entries other than zero, up to 2^13 of them spread over the tensor. */
function nonzero(gradient: Float64Array, parameter: Float64Array): [Float64Array, Float64Array] {
  const kept: number[] = [];
  for (const [index, value] of gradient.entries()) {
    if (value !== 0) {
      kept.push(index);
    }
  }
  const stride = Math.ceil(kept.length / MOST_LOOKED_AT);
  const looked = kept.filter((_, position) => position % stride === 0);
  return [
    Float64Array.from(looked, (index) => Math.abs(gradient[index]!)),
    Float64Array.from(looked, (index) => Math.sign(gradient[index]!) * parameter[index]!),
  ];
}

function nearlyConstant(sizes: Float64Array, signed: Float64Array): { size: number; decay: number } | undefined {
  // Gradients near eps and dead units under weight decay are smaller than the others.
  const limit = 0.5 * sizes.reduce((most, size) => Math.max(most, size), 0);
  const isUpper = (_: number, index: number): boolean => sizes[index]! > limit;
  const upper = sizes.filter(isUpper);
  if (upper.length < FEWEST_ENTRIES || (upper.length < 0.5 * sizes.length && !isDecayAlone(sizes, signed, limit))) {
    return undefined;
  }
  if (spreadOf(upper) < SPREAD) {
    return { size: quantile(upper, 0.5), decay: 0 };
  }
  const weights = signed.filter(isUpper);
  const slope = slopeOf(weights, upper);
  const corrected = upper.map((size, index) => size - slope * weights[index]!);
  const size = quantile(corrected, 0.5);
  return spreadOf(corrected) < SPREAD ? { size, decay: slope / size } : undefined;
}

/** Whether the entries up to a size are one multiple of their weights: nothing but decay moved them. */
function isDecayAlone(sizes: Float64Array, signed: Float64Array, limit: number): boolean {
  const shares = sizes
    .map((size, index) => size / Math.abs(signed[index]!))
    .filter((_, index) => sizes[index]! <= limit);
  return spreadOf(shares) < SPREAD;
}

function quantile(values: Float64Array, share: number): number {
  return values.slice().sort()[Math.floor(share * (values.length - 1))]!;
}

/** 10th to 90th percentile over the median; infinite for a median that is not positive. */
function spreadOf(values: Float64Array): number {
  const sorted = values.slice().sort();
  const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))]!;
  return at(0.5) > 0 ? (at(0.9) - at(0.1)) / at(0.5) : Infinity;
}

/** Least-squares slope of y over x, with an intercept. */
function slopeOf(x: Float64Array, y: Float64Array): number {
  const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [centreX, centreY] = [mean(x), mean(y)];
  let cross = 0;
  let square = 0;
  for (const [index, value] of x.entries()) {
    cross += (value - centreX) * (y[index]! - centreY);
    square += (value - centreX) ** 2;
  }
  return square === 0 ? 0 : cross / square;
}

export interface Grid {
  readonly name: string;
  readonly levels: number;
  readonly entries: number;
}

/** 8 bits. */
const MOST_LEVELS = 256;
const FEWEST_OF_GRID = 500;
const ENTRIES_PER_LEVEL = 4;
/** Deviation from the grid, in steps: dequantising rounds to float32. */
const OFF_GRID = 0.01;

/**
 * The tensors whose entries lie on a uniform grid of at most 256 levels.
 *
 * @returns undefined unless they hold most of the entries of all tensors that are large enough to tell
 */
export function quantisedGrid(samples: readonly SampledPair[]): Grid | undefined {
  let entries = 0;
  let onGrid = 0;
  let last: Grid | undefined;
  for (const { name, gradient, gradientType } of samples) {
    const count = gradient.reduce((sum, value) => sum + (value === 0 ? 0 : 1), 0);
    if (count < FEWEST_OF_GRID) {
      continue;
    }
    entries += count;
    const levels = levelsOf(gradient, gradientType === 'float16');
    if (levels !== undefined && count >= ENTRIES_PER_LEVEL * levels) {
      onGrid += count;
      last = { name, levels, entries: count };
    }
  }
  return onGrid > 0.5 * entries ? last : undefined;
}

/** Below this, float16 has a uniform grid of its own. */
const HALF_UNDERFLOW = 2 ** -24;

function levelsOf(values: Float64Array, half: boolean): number | undefined {
  const distinct = new Set<number>();
  for (const value of values) {
    distinct.add(value);
    if (distinct.size > MOST_LEVELS) {
      return undefined;
    }
  }
  const levels = [...distinct].sort((one, other) => one - other);
  const gaps = levels.slice(1).map((level, index) => level - levels[index]!);
  const step = Math.min(...gaps);
  const range = levels[levels.length - 1]! - levels[0]!;
  if (levels.length < 4 || range > MOST_LEVELS * step || (half && step <= HALF_UNDERFLOW)) {
    return undefined;
  }
  // The mean step over the whole range is free of the rounding of a single gap.
  const mean = range / Math.round(range / step);
  const uniform = levels.every((level) => {
    const steps = (level - levels[0]!) / mean;
    return Math.abs(steps - Math.round(steps)) < OFF_GRID;
  });
  return uniform ? levels.length : undefined;
}

export interface Pruning {
  readonly name: string;
  /** Share of zeros outside rows, columns and kernels that are zero throughout. */
  readonly zeros: number;
}

const FEWEST_ZEROS = 20;
/** Share of single zeros, outside rows, columns and kernels that are zero throughout. */
const SINGLE_ZEROS = 0.1;
/** What half types flush to zero: smallest numbers of float16, float8_e5m2 and float8_e4m3fn. */
const UNDERFLOWS = [2 ** -24, 2 ** -16, 2 ** -9];

/**
 * Zeros that no network leaves: a head's p - y is never exactly zero for single entries of a class, and in the other
 * layers magnitudes that end abruptly above zero are those of the largest alone.
 *
 * @param head the last matrix
 */
export function pruning(samples: readonly SampledPair[], head: SampledPair | undefined): Pruning | undefined {
  if (head && !isUnderflow(head.gradient)) {
    const { scattered, scatteredCount } = zeroPattern({ ...head, data: head.gradient }, 1);
    if (scattered >= SINGLE_ZEROS && scatteredCount >= FEWEST_ZEROS) {
      return { name: head.name, zeros: scattered };
    }
  }
  const matrices = samples.filter(({ columns, gradient }) => columns > 1 && gradient.length >= 100);
  const holed = matrices.filter(({ rows, columns, kernel, gradient }) => {
    const { scattered, scatteredCount } = zeroPattern({ rows, columns, data: gradient }, kernel);
    return scattered >= SINGLE_ZEROS && scatteredCount >= FEWEST_ZEROS && !isUnderflow(gradient);
  });
  const last = holed.at(-1);
  const size = (own: readonly SampledPair[]): number => own.reduce((sum, { gradient }) => sum + gradient.length, 0);
  if (!last || size(holed) < 0.25 * size(matrices)) {
    return undefined;
  }
  const sharp = holed.filter(({ gradient }) => endsAbruptly([gradient]));
  // One threshold for all tensors leaves too few entries at the edge in some of them to be seen there alone.
  return size(sharp) >= 0.5 * size(holed) || endsAbruptly(samples.map(({ gradient }) => gradient))
    ? { name: last.name, zeros: zeroPattern({ ...last, data: last.gradient }, last.kernel).scattered }
    : undefined;
}

function isUnderflow(values: Float64Array): boolean {
  let least = Infinity;
  for (const value of values) {
    const size = Math.abs(value);
    least = size > 0 && size < least ? size : least;
  }
  return UNDERFLOWS.includes(least);
}

const FEWEST_AT_EDGE = 20;
const SHARE_AT_EDGE = 0.003;

/**
 * Whether the magnitudes stop at a threshold: of numbers that were not cut, hardly any lies within a tenth of the least.
 * Different ones are counted, since inputs of two values make many equal products.
 */
function endsAbruptly(tensors: readonly Float64Array[]): boolean {
  let least = Infinity;
  let count = 0;
  for (const values of tensors) {
    for (const value of values) {
      const size = Math.abs(value);
      count += size > 0 ? 1 : 0;
      least = size > 0 && size < least ? size : least;
    }
  }
  const enough = Math.max(FEWEST_AT_EDGE, SHARE_AT_EDGE * count);
  const atEdge = new Set<number>();
  for (const values of tensors) {
    for (const value of values) {
      const size = Math.abs(value);
      if (size > 0 && size < 1.1 * least && atEdge.size < enough) {
        atEdge.add(size);
      }
    }
  }
  return atEdge.size >= enough;
}
