import { shuffled } from '../shuffled.js';
import type { LocalStep } from './client.js';

/** In which order a client may have taken its samples, which nobody outside knows. */

export interface StatedSteps {
  readonly samples: number;
  readonly batchSize: number;
  readonly epochs: number;
  /** Local steps of all epochs; fewer than samples ask for where a last, smaller batch was dropped. */
  readonly steps: number;
  readonly rate: number;
}

/** Sizes of the batches that the steps have. */
export function batchSizes({ samples, batchSize, epochs, steps }: StatedSteps): number[] {
  const perEpoch = steps / epochs;
  const left = samples - batchSize * (perEpoch - 1);
  return perEpoch > 1 ? [batchSize, Math.min(left, batchSize)] : [Math.min(left, batchSize)];
}

/**
 * Local steps in one order of many: samples shuffled anew in every epoch.
 *
 * @param random uniform in [0, 1)
 */
export function shuffledSteps(stated: StatedSteps, random: () => number): LocalStep[] {
  const { samples, batchSize, epochs, steps, rate } = stated;
  return Array.from({ length: epochs }, () => {
    const order = shuffled(samples, random);
    return Array.from({ length: steps / epochs }, (_, at) => ({
      samples: order.slice(at * batchSize, (at + 1) * batchSize),
      rate,
    }));
  }).flat();
}

/**
 * @param counts K whole numbers
 * @returns class of each sample, class by class
 */
export function labelsOf(counts: readonly number[]): number[] {
  return counts.flatMap((count, index) => new Array<number>(count).fill(index));
}
