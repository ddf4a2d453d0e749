/** Where falling singular values fall furthest: how many are above, and by what factor they fall. */
export interface WidestGap {
  /** 0 where no place was looked at, or nothing falls. */
  readonly rank: number;
  readonly gap: number;
}

/**
 * @param values falling
 * @param first rank that is looked at, 1 or more
 * @param end the first one that is not; `values.length` at most
 */
export function widestGap(values: ArrayLike<number>, first = 1, end = values.length): WidestGap {
  let best = { rank: 0, gap: 1 };
  for (let rank = first; rank < end; rank++) {
    const gap = values[rank - 1]! / values[rank]!;
    best = gap > best.gap ? { rank, gap } : best;
  }
  return best;
}

/** The last place where values fall by a factor or more, as smaller ones may still be far above noise; else where they fall furthest. */
export function lastClearGap(values: ArrayLike<number>, factor: number, first = 1, end = values.length): WidestGap {
  for (let rank = end - 1; rank >= first; rank--) {
    const gap = values[rank - 1]! / values[rank]!;
    if (gap >= factor) {
      return { rank, gap };
    }
  }
  return widestGap(values, first, end);
}
