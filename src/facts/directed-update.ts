import { negatedFile } from '../formats/sum-file.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { largestRoundingError } from '../kinds/difference.js';
import { onOwnGrid } from '../kinds/rounding.js';
import { samplePairs } from '../kinds/sampling.js';
import type { Fact } from './facts.js';
import { MATCHING, UPDATE } from './update.js';

export interface DirectedUpdate {
  readonly gradients: TensorFile;
  /**
   * Root mean square of what every number errs by beside its own rounding, in the file's units: that of the weights which a
   * difference was taken from; 0 for gradients.
   */
  readonly absoluteError: number;
}

/** The update in the gradient's own direction. */
export const DIRECTED: Fact<DirectedUpdate> = {
  id: 'directed-update',
  async compute(facts) {
    const { checkpoint, gradients } = facts.given;
    const { kind, sign } = await facts.get(UPDATE);
    if (kind !== 'difference' && kind !== 'several-steps') {
      return { gradients, absoluteError: 0 };
    }
    const { pairs } = await facts.get(MATCHING);
    const samples = onOwnGrid(samplePairs(checkpoint, gradients, pairs));
    return {
      gradients: sign === -1 ? negatedFile(gradients) : gradients,
      absoluteError: largestRoundingError(samples, sign),
    };
  },
  describe: ({ absoluteError }) => ({ absoluteError }),
};
