import type { Defence } from './defence.js';
import { keptCount, keptShares } from './kept-shares.js';

/** The largest numbers of each tensor, as in Deep Gradient Compression (Lin et al., ICLR 2018). */
export const topKPruning: Defence = {
  id: 'top-k-pruning',
  title: 'Keeping the largest numbers',
  explanation: 'Of each tensor only the largest numbers are sent, the others as zeros; the level is the share kept.',
  unit: 'share of numbers kept',
  scale: 'log',
  isMonotone: true,
  isRandom: false,
  levels: keptShares,
  apply({ data }, { value }) {
    const magnitudes = Float64Array.from(data, Math.abs).sort();
    const kept = keptCount(value, data.length);
    const least = magnitudes[data.length - kept] ?? 0;
    // Of equal ones the first are kept, so that there are no more than the level says.
    let ties = kept - (data.length - firstAbove(magnitudes, least));
    return data.map((own) => {
      const size = Math.abs(own);
      return size > least || (size === least && ties-- > 0) ? own : 0;
    });
  },
};

/** Index of the first number above this one; ascending. */
function firstAbove(ascending: Float64Array, value: number): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle]! > value) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}
