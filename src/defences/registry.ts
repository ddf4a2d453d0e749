import { clipping } from './clipping.js';
import type { Defence } from './defence.js';
import { floatQuantisation } from './float-quantisation.js';
import { gaussianNoise } from './gaussian-noise.js';
import { integerQuantisation } from './integer-quantisation.js';
import { randomPruning } from './random-pruning.js';
import { signOnly } from './sign-only.js';
import { topKPruning } from './top-k-pruning.js';
import { withholding } from './withholding.js';

/** Every defence, in the order in which they are tried and shown. What they draw is kept for one sweep. */
export function allDefences(): Defence[] {
  return [
    gaussianNoise(),
    clipping,
    topKPruning,
    randomPruning(),
    integerQuantisation,
    floatQuantisation,
    signOnly,
    withholding,
  ];
}

export const DEFENCE_IDS: readonly string[] = allDefences().map(({ id }) => id);
