import type { Fact } from '../../facts/facts.js';
import { HEAD_GRADIENT } from '../../facts/head-facts.js';
import { CAPTURE } from '../../facts/update.js';
import { labelFrequencies, roundToSum } from '../../recovery/label-counts.js';
import { stepsOf } from './local-training.js';

/** How often each class occurs among a client's samples. */
export interface ClientCounts {
  /** K whole numbers that sum to the samples. */
  readonly counts: readonly number[];
}

/**
 * A first-order estimate: iLRG on the mean of the steps' gradients, as if the weights had stood still (Ma et al., ICLR 2023).
 * Undefined without a head with a bias, or where the training is not known.
 */
export const CLIENT_COUNTS: Fact<ClientCounts | undefined> = {
  id: 'client-counts',
  async compute(facts) {
    const head = await facts.get(HEAD_GRADIENT);
    const training = (await facts.get(CAPTURE))?.training;
    const steps = training && stepsOf(training);
    if (!head?.gradient.biasGradient || !training?.learningRate || !training.samples || steps === undefined) {
      return undefined;
    }
    const factor = 1 / (training.learningRate * steps);
    const mean = {
      ...head.gradient,
      weightGradient: {
        ...head.gradient.weightGradient,
        data: head.gradient.weightGradient.data.map((own) => own * factor),
      },
    };
    const bias = head.gradient.biasGradient.map((own) => own * factor);
    const shares = await labelFrequencies(mean, bias, () => facts.given.hooks.pause());
    return { counts: roundToSum(shares, training.samples) };
  },
  describe: (value) => value?.counts ?? null,
};
