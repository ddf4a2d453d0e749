import type { LocalStep } from './client.js';

/** In which order a client's samples are taken, which nobody outside knows. */

/**
 * As the client is said to have trained: batches of `size`, the last one of what is left, in one fixed order in every epoch.
 *
 * @param samples N
 */
export function inBatches(samples: number, size: number, epochs: number, rate: number): LocalStep[] {
  const batches: LocalStep[] = [];
  for (let at = 0; at < samples; at += size) {
    const length = Math.min(size, samples - at);
    batches.push({ samples: Array.from({ length }, (_, index) => at + index), rate });
  }
  return Array.from({ length: epochs }, () => batches).flat();
}

/**
 * Every sample in every step, at rates that add up to those of an epoch in batches. To first order in the rate that is the same
 * whatever the order was; to second order it is, with as many steps as batches, the mean over all orders but for a share of one
 * over the number of batches.
 *
 * @param steps in each epoch
 */
export function asWhole(samples: number, size: number, epochs: number, rate: number, steps: number): LocalStep[] {
  const all = Array.from({ length: samples }, (_, index) => index);
  const batches = Math.ceil(samples / size);
  return Array.from({ length: epochs * steps }, () => ({ samples: all, rate: (rate * batches) / steps }));
}

/**
 * Labels for a client of which only counts are known, so that every batch has its share of each class.
 *
 * @param counts K whole numbers that sum to the samples
 * @returns class of each sample, in the order in which batches take them
 */
export function spreadLabels(counts: readonly number[]): number[] {
  return counts
    .flatMap((count, index) => Array.from({ length: count }, (_, copy) => ({ index, place: (copy + 0.5) / count })))
    .sort((one, other) => one.place - other.place || one.index - other.index)
    .map(({ index }) => index);
}

/** Labels as rows of ones and zeros, N x K. */
export function oneHot(labels: readonly number[], classes: number): Float64Array {
  const rows = new Float64Array(labels.length * classes);
  labels.forEach((label, row) => {
    rows[row * classes + label] = 1;
  });
  return rows;
}
