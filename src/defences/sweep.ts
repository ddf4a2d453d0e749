import type { Defence, DefendedTensors } from './defence.js';

/** How much of a defence it takes until something is no longer told. */
export interface DefenceSweep {
  /** Lowest level at which it was no longer told; null when none sufficed. */
  readonly stopsAt: number | null;
  /** Levels that could be tried. */
  readonly levels: readonly number[];
  /** Draws at each level that was tried, and in how many it was still told there. */
  readonly draws: number;
  readonly toldAtStop: number;
  /** The level tried below, null when the lowest one sufficed. */
  readonly below: { readonly level: number; readonly told: number } | null;
}

const DRAWS = 5;
/** Told means in more than this share of the draws. */
const MOSTLY = 0.6;

/**
 * A higher level never helps the attacker, so the first one that suffices is found by halving.
 *
 * @param isTold whether an attacker who is given the defended tensors still finds it
 */
export function sweepDefence(
  defence: Defence,
  tensors: DefendedTensors,
  random: () => number,
  isTold: (defended: DefendedTensors) => boolean,
): DefenceSweep {
  const { levels } = defence;
  const counts = new Map<number, number>();
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const level = levels[middle]!;
    const told = Array.from({ length: DRAWS }, () => isTold(defence.apply(tensors, level, random)));
    const count = told.filter(Boolean).length;
    counts.set(middle, count);
    if (count > DRAWS * MOSTLY) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return {
    stopsAt: levels[low] ?? null,
    levels,
    draws: DRAWS,
    toldAtStop: counts.get(low) ?? 0,
    below: low > 0 ? { level: levels[low - 1]!, told: counts.get(low - 1) ?? 0 } : null,
  };
}
