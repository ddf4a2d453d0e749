import type { TensorFile } from '../formats/tensor-file.js';
import type { SampledPair } from './sampling.js';
import { type Balance, balanceOf, looksLikeGains, rankOf, transposed, zeroPattern } from './structure.js';

/** What speaks for weights and what for a gradient, in either of the two files: compared, they tell which is which. */

export type Side = 'gradient' | 'parameter';

export interface SideEvidence {
  /** The best-balanced of the last matrices and its balance over the classes. */
  readonly balance: (Balance & { name: string }) | undefined;
  /** A vector that sums to zero to rounding, where there is no matrix to look at. */
  readonly balancedVector: string | undefined;
  /** A matrix of lower rank than its sum to zero explains, as a gradient of few samples has. */
  readonly lowRank: { name: string; rank: number; most: number } | undefined;
  /** A matrix with rows that are zero throughout while the others hold no zeros: unused entries, dead units. */
  readonly zeroRows: string | undefined;
  /** Vectors that look like a normalisation's gains. */
  readonly gains: readonly string[];
  /** Matrices whose entries fill PyTorch's default initialisation, U(-1/sqrt(fan-in), 1/sqrt(fan-in)). */
  readonly initialised: readonly string[];
  /** Root mean square of each tensor of at least 64 entries. */
  readonly sizes: readonly number[];
}

const MOST_HEADS = 3;
const MOST_MATRICES = 6;

export function sideEvidence(samples: readonly SampledPair[], side: Side): SideEvidence {
  const matrices = samples.filter(isMatrix).slice(-MOST_MATRICES).reverse();
  const balances = matrices.slice(0, MOST_HEADS).flatMap((sample) => {
    const own = { ...sample, data: sample[side] };
    return [balanceOf(own), balanceOf(transposed(own))].map((balance) => ({ name: sample.name, ...balance }));
  });
  const balance = balances.find(({ exact, significant }) => exact && significant) ?? balances.find(isSignificant);
  return {
    balance,
    balancedVector:
      matrices.length > 0 ? undefined : samples.findLast((sample) => sample.vector && sumsToZero(sample[side]))?.name,
    lowRank: lowRankOf(matrices, side, balances),
    zeroRows: samples.findLast((sample) => isMatrix(sample) && hasZeroRows(sample, side))?.name,
    gains: gainsOf(samples, side),
    initialised: samples.filter((sample) => fillsInitialisation(sample, side)).map(({ name }) => name),
    sizes: samples.filter((sample) => sample[side].length >= 64).map((sample) => rms(sample[side])),
  };
}

/** Where no layer has a negative entry, positive vectors say nothing. */
function gainsOf(samples: readonly SampledPair[], side: Side): string[] {
  const layers = samples.filter(({ columns }) => columns > 1);
  return layers.some((sample) => sample[side].some((value) => value < 0))
    ? samples.filter((sample) => sample.vector && looksLikeGains(sample[side])).map(({ name }) => name)
    : [];
}

/** Linear layers and 1 x 1 convolutions. */
export function isMatrix({ rows, columns, kernel }: SampledPair): boolean {
  return rows > 1 && columns > 1 && kernel === 1;
}

/** Training keeps the column sums of a head's weights while it grows, so these too are small, but not as small. */
const MOST_RATIO = 0.2;

function isSignificant({ significant, ratio }: Balance): boolean {
  return significant && ratio < MOST_RATIO;
}

/** Tight enough that a vector of random numbers passes once in a million. */
function sumsToZero(values: Float64Array): boolean {
  const size = Math.sqrt(values.length) * rms(values);
  return values.length > 2 && size > 0 && Math.abs(values.reduce((sum, value) => sum + value, 0)) < 1e-6 * size;
}

function lowRankOf(
  matrices: readonly SampledPair[],
  side: Side,
  balances: readonly (Balance & { name: string })[],
): SideEvidence['lowRank'] {
  for (const sample of matrices) {
    const { rank, most } = rankOf({ ...sample, data: sample[side] });
    // Weights that began at zero sum to zero like their gradients, which costs them one rank.
    const explained = balances.some(({ name, exact }) => name === sample.name && exact) ? 1 : 0;
    if (most >= 2 && rank > 0 && rank < most - explained) {
      return { name: sample.name, rank, most };
    }
  }
  return undefined;
}

function hasZeroRows(sample: SampledPair, side: Side): boolean {
  const zeros = zeroPattern({ ...sample, data: sample[side] }, 1);
  return sample.rows >= 16 && zeros.rows >= 0.1 && zeros.rows < 1 && zeros.scattered < 0.01;
}

/** 200 entries of a uniform distribution come within 3 % of its bound, but for one case in 400; several rarely miss. */
function fillsInitialisation({ columns, ...sample }: SampledPair, side: Side): boolean {
  const values = sample[side];
  if (columns < 2 || values.length < 200) {
    return false;
  }
  const most = values.reduce((best, value) => Math.max(best, Math.abs(value)), 0) * Math.sqrt(columns);
  return most > 0.97 && most < 1.0001;
}

/** Root mean square. */
export function rms(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

/** Noise of one deviation on everything: all tensors are of one size, which those of a network are not. */
export function isEvenNoise({ sizes }: SideEvidence): boolean {
  return sizes.length > 1 && Math.max(...sizes) < 1.15 * Math.min(...sizes);
}

const STATISTICS = /(^|[./])(running_var|num_batches_tracked|moving_variance)$/;

export function hasStatistics({ entries }: TensorFile): boolean {
  return entries.some(({ name }) => STATISTICS.test(name));
}

export interface Likeness {
  /** Median over the tensors of the cosine between both files. */
  readonly cosine: number;
  /** Median of <there, weights> / <weights, weights>. */
  readonly scale: number;
  readonly identical: boolean;
}

/** How much the captured tensors are like the weights themselves; undefined without tensors of 16 entries. */
export function likenessOf(samples: readonly SampledPair[]): Likeness | undefined {
  const matrices = samples.filter(({ columns, gradient }) => columns > 1 && gradient.length >= 16);
  const found = matrices.map(({ gradient, parameter }) => {
    let cross = 0;
    let own = 0;
    let other = 0;
    for (const [index, value] of gradient.entries()) {
      cross += value * parameter[index]!;
      own += value * value;
      other += parameter[index]! ** 2;
    }
    return { cosine: own * other > 0 ? cross / Math.sqrt(own * other) : 0, scale: other > 0 ? cross / other : 0 };
  });
  if (found.length === 0) {
    return undefined;
  }
  return {
    cosine: median(found.map(({ cosine }) => cosine)),
    scale: median(found.map(({ scale }) => scale)),
    identical: samples.every(({ gradient, parameter }) => gradient.every((value, index) => value === parameter[index])),
  };
}

function median(values: number[]): number {
  return values.sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}
