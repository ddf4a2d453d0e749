import { gaussian } from '../../recovery/gaussian.js';
import { shapeOfGradient, type HeadGradient } from '../../recovery/head-gradient.js';
import { generator } from '../../recovery/paper-method.js';
import type { RecoveredSample } from '../../recovery/recovered-sample.js';
import { recoverSingle } from '../../recovery/single-sample.js';

/** How much noise would have hidden the label: the audit's own recovery, run on noised copies of the gradient. */
export interface NoiseSweep {
  /** Smallest tried noise, as a share of the gradient's root mean square, at which the label was no longer told; null when none sufficed. */
  readonly stopsAt: number | null;
  /** The same as a standard deviation in the gradient's units. */
  readonly standardDeviation: number | null;
  readonly tried: readonly number[];
  /** Draws of noise at each level that was tried, and in how many the label was still told there and one level below. */
  readonly draws: number;
  readonly toldAtStop: number;
  /** The level tried below, null when the lowest one hid the label. */
  readonly below: { readonly level: number; readonly told: number } | null;
}

const LEVELS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];
const DRAWS = 5;
/** Told means in more than this share of the draws. */
const MOSTLY = 0.6;
/** Larger heads are left out so that an answer stays a matter of milliseconds. */
const MOST_ENTRIES = 50_000;

/** Undefined for heads too large to try within an audit. */
export function sweepNoise(head: HeadGradient, sample: RecoveredSample): NoiseSweep | undefined {
  const { data } = head.weightGradient;
  if (data.length > MOST_ENTRIES) {
    return undefined;
  }
  const rms = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length);
  const random = generator(7);
  // More noise never helps the attacker, so the first level that hides the label is found by halving.
  const counts = new Map<number, number>();
  let low = 0;
  let high = LEVELS.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const level = LEVELS[middle] ?? 0;
    const told = Array.from({ length: DRAWS }, () => stillTold(noised(head, level * rms, random), sample));
    const count = told.filter(Boolean).length;
    counts.set(middle, count);
    if (count > DRAWS * MOSTLY) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const stopsAt = LEVELS[low] ?? null;
  const below = low > 0 ? { level: LEVELS[low - 1] ?? 0, told: counts.get(low - 1) ?? 0 } : null;
  return {
    stopsAt,
    standardDeviation: stopsAt === null ? null : stopsAt * rms,
    tried: LEVELS,
    draws: DRAWS,
    toldAtStop: counts.get(low) ?? 0,
    below,
  };
}

function noised(head: HeadGradient, deviation: number, random: () => number): HeadGradient {
  const add = (value: number): number => value + gaussian(random, deviation);
  return {
    ...head,
    weightGradient: { ...head.weightGradient, data: head.weightGradient.data.map(add) },
    biasGradient: head.biasGradient?.map(add),
  };
}

/** An attacker takes the best guess, certain or not: the label is told when its main class is. */
function stillTold(head: HeadGradient, sample: RecoveredSample): boolean {
  const shape = shapeOfGradient(head);
  const again = recoverSingle(head, shape.nature === 'batch' ? { ...shape, nature: 'single-noisy' } : shape, {
    isPlain: true,
  });
  const [guess] = again.label.classes;
  return guess !== undefined && guess.index === sample.label.classes[0]?.index;
}
