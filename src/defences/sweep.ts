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
 * @param levels rising
 * @param isTold whether an attacker still finds it at the level, in one draw of the defence
 */
export function sweepLevels(levels: readonly number[], isTold: (level: number, draw: number) => boolean): DefenceSweep {
  const counts = new Map<number, number>();
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const level = levels[middle]!;
    const count = Array.from({ length: DRAWS }, (_, draw) => isTold(level, draw)).filter(Boolean).length;
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
