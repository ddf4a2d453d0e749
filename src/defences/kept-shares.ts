import type { Level } from './defence.js';

/** Levels of what sends only a share of the numbers. */
export function keptShares(): Level[] {
  return [0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.003, 0.001].map((value) => ({
    value,
    name: `${Number((100 * value).toPrecision(2))} % kept`,
    also: null,
  }));
}

/** At least one: a tensor that is not sent at all is another defence. */
export function keptCount(share: number, length: number): number {
  return Math.min(length, Math.max(1, Math.round(share * length)));
}
