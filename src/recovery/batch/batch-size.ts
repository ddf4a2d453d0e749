import type { WhitenedHead } from './whiten.js';
import type { HeadGradient } from '../head-gradient.js';
import { labelFrequencies } from '../label-counts.js';
import { norm } from '../vectors.js';
import type { Pause } from '../pause.js';

/** How many samples went into a gradient, from the rank of its head part. */
export interface BatchEstimate {
  /** Undefined when the rank is saturated and only bounds the size. */
  readonly size: number | undefined;
  readonly lowerBound: number;
  /** How often each class occurs, K, when the bias gradient tells it. */
  readonly counts: readonly number[] | undefined;
  /** Probability that shares come out this near to whole numbers by chance; 1 without counts. */
  readonly chance: number;
  readonly reason: string;
}

/** The shares of classes that occur sum to one, up to their misfit. */
const MOST_SPREAD = 0.02;
/** Shares below this are the misfit of absent classes. */
const SHARE_MARGIN = 2e-3;

/**
 * Each sample adds one rank, so the number of singular values above the dump's noise floor bounds the
 * batch size from below; it equals it when the rank is below what K classes (whose shares sum to zero)
 * and d features allow, unless two samples are nearly the same.
 */
export async function estimateBatch(
  head: HeadGradient,
  { svd, classes, columns }: WhitenedHead,
  pause: Pause,
): Promise<BatchEstimate> {
  const rank = Math.max(svd.rank, 1);
  const counted = await countsFromFrequencies(head, rank, pause);
  if (counted !== undefined) {
    const { counts, chance } = counted;
    const size = counts.reduce((sum, count) => sum + count, 0);
    return {
      chance,
      lowerBound: rank,
      size,
      counts,
      reason: `With ${size} samples every class's share of the bias gradient is a whole number of labels; the gradient's rank says at least ${rank}.`,
    };
  }
  const saturated = rank >= Math.min(classes - 1, columns) || svd.saturated;
  return {
    lowerBound: rank,
    size: saturated ? undefined : rank,
    counts: undefined,
    chance: 1,
    reason: saturated
      ? `Each sample adds one singular value to the head's gradient, and all ${rank} that ${classes} classes and ${columns} features allow stand out of the noise: the batch has at least ${rank} samples.`
      : gapReason(svd.values, svd.next),
  };
}

/** Hard labels make B times every share a whole number; the counts for the smallest such B, not below the rank. */
async function countsFromFrequencies(
  head: HeadGradient,
  rank: number,
  pause: Pause,
): Promise<{ counts: number[]; chance: number } | undefined> {
  if (!head.biasGradient || norm(head.biasGradient) === 0) {
    return undefined;
  }
  const all = await labelFrequencies(head, head.biasGradient, pause);
  const shares = all.filter((share) => share > SHARE_MARGIN);
  // Smoothed labels spread a part over all classes; what is left would look like the counts of a larger batch.
  const whole = shares.reduce((sum, share) => sum + share, 0);
  if (Math.abs(1 - whole) > MOST_SPREAD) {
    return undefined;
  }
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
      const worst = shares.reduce((most, share, i) => Math.max(most, Math.abs(size * share - counts[i]!)), 0);
      return {
        counts: [...all].map((share) => (share > SHARE_MARGIN ? Math.round(size * share) : 0)),
        // Each share but the last, which the sum fixes, lies this near a whole number by chance, and several sizes were tried.
        chance: Math.min(1, (size - rank + 1) * (2 * worst + 1e-3) ** (shares.length - 1)),
      };
    }
  }
  return undefined;
}

/** In units of the noise, which every row of the gradient was divided by. */
function gapReason(values: Float64Array, next: number): string {
  const last = values[values.length - 1] ?? 0;
  const count = values.length;
  return `Each sample adds one singular value to the head's gradient, and ${count} ${count === 1 ? 'stands' : 'stand'} out of the noise (the smallest of them is ${last.toPrecision(2)} times the noise of one number, the next ${next.toPrecision(2)}). Samples of one class with nearly equal features may share one.`;
}
