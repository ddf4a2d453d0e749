import { gaussian } from '../recovery/gaussian.js';
import type { Defence } from './defence.js';

/**
 * Gaussian noise on every number, as in DP-SGD.
 *
 * @param unit standard deviation at level 1, in the gradient's units
 */
export function gaussianNoise(unit: number): Defence {
  return {
    id: 'gaussian-noise',
    levels: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30],
    apply: (tensors, level, random) =>
      new Map(
        [...tensors].map(
          ([name, data]) => [name, data.map((value) => value + gaussian(random, level * unit))] as const,
        ),
      ),
  };
}
