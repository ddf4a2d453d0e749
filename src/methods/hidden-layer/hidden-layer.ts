import type { Facts } from '../../facts/facts.js';
import { normalisationFor } from '../../facts/capture.js';
import { CAPTURE, MATCHING } from '../../facts/update.js';
import type { TensorPair } from '../../facts/matching.js';
import { recogniseNetwork } from '../../network/built-in.js';
import { counted } from '../../words/count-words.js';
import { RECOVERY } from '../head/recovery.js';
import { type Method, READABLE } from '../method.js';
import { hiddenLeak } from './hidden-leak.js';
import { HIDDEN_SAMPLES, type HiddenSamples, hiddenLayers, layersLeftOut } from './hidden-samples.js';

/** Every sample of a batch that the head does not tell apart, from the gradient of a fully connected layer before it. */
export const hiddenLayer: Method = {
  id: 'hidden-layer',
  title: 'Samples of a batch in a hidden layer',
  assumes:
    'a rectifier (ReLU) follows the fully connected layer, these are the weights that it had, the gradient is of one step, and no two samples leave exactly the same units silent.',
  cites:
    'zeros of the slopes: Dimitrov et al., NeurIPS 2024 (SPEAR); zeros and signs of the inputs, and what confirms each sample, are ours',
  cost: 's',
  kinds: READABLE,
  async applies(facts) {
    const recovered = await facts.get(RECOVERY);
    const isParted = recovered?.complete === true && recovered.several.every(({ multiplicity }) => multiplicity === 1);
    const isTold = recovered?.single?.isOneTold === true || isParted;
    if (isTold) {
      return null;
    }
    const left = await layersLeftOut(facts);
    return (await hiddenLayers(facts)).length > 0 ? true : left.length > 0 ? `Not looked at: ${listed(left)}.` : null;
  },
  async run(facts) {
    const found = await facts.get(HIDDEN_SAMPLES);
    const left = await layersLeftOut(facts);
    const open = left.length > 0 ? ` Not looked at: ${listed(left)}.` : '';
    if (!found) {
      return {
        outcome: 'nothing',
        detail: `No fully connected layer ${left.length > 0 ? 'that was looked at' : 'before the head'} has a gradient whose rank is that of few samples, each with units that it leaves silent.${open}`,
        leaks: [],
      };
    }
    const { samples, rank } = found.separation;
    return {
      outcome: 'found',
      detail: `\`${found.weight}\` tells ${samples.length === rank ? `all ${counted(rank, 'sample')}` : `${samples.length} of ${counted(rank, 'sample')}`} apart.${found.isComplete ? '' : open}`,
      leaks: [hiddenLeak(found, await shownAs(facts, found))],
    };
  },
};

function listed(layers: readonly string[]): string {
  return `\`${layers.join('`, `')}\` (too large, or behind others that were)`;
}

/** How what enters the layer is shown, where that is the input itself and no other method shows it. */
async function shownAs(
  facts: Facts,
  { weight, inputs, isComplete }: HiddenSamples,
): Promise<Parameters<typeof hiddenLeak>[1]> {
  const { checkpoint, request } = facts.given;
  const { pairs } = await facts.get(MATCHING);
  const capture = await facts.get(CAPTURE).catch(() => undefined);
  const shape = request.reconstruction?.inputShape ?? capture?.inputShape;
  const isShownByOther =
    isComplete &&
    request.reconstruction !== undefined &&
    request.reconstruction.attack !== 'none' &&
    recogniseNetwork(checkpoint.entries, shape ? { inputShape: shape } : {}).length > 0;
  const isInput = isFirstLayer(pairs, weight) && !isShownByOther;
  return {
    isInput,
    shape: isInput ? pictureShape(inputs, shape) : undefined,
    normalisation: normalisationFor(request.reconstruction, capture),
  };
}

/** Whether a layer is the first: of several, in a network without convolutions, which files may store in any order. */
export function isFirstLayer(pairs: readonly TensorPair[], weight: string): boolean {
  const weights = pairs.filter(({ parameter }) => parameter.shape.length > 1);
  return weights[0]?.parameter.name === weight && weights.every(({ parameter }) => parameter.shape.length === 2);
}

/** Channels, height, width; square and of one or three channels where nobody says. */
export function pictureShape(inputs: number, stated: readonly number[] | undefined): readonly number[] | undefined {
  if (stated?.length === 3 && stated.reduce((product, own) => product * own, 1) === inputs) {
    return stated;
  }
  const channels = [1, 3].find((own) => Number.isInteger(Math.sqrt(inputs / own)));
  const side = channels === undefined ? 0 : Math.sqrt(inputs / channels);
  return channels !== undefined && side > 4 ? [channels, side, side] : undefined;
}
