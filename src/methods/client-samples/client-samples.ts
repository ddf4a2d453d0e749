import type { Facts } from '../../facts/facts.js';
import type { Course } from '../../recovery/hidden/confirmed-together.js';
import { type LayerState, stateAt } from '../../recovery/hidden/layer-state.js';
import { counted } from '../../words/count-words.js';
import { classNamer } from '../head/head-methods.js';
import { type Training, clientTraining } from '../client-labels/client-counts.js';
import {
  type HiddenLayerTensors,
  type HiddenSamples,
  type LayerTensors,
  classifierOn,
  hiddenLayers,
  layerOf,
  separated,
} from '../hidden-layer/hidden-samples.js';
import type { Method } from '../method.js';
import { clientImages } from './client-images.js';
import { clientLeak } from './client-leak.js';

/** Every sample that a client trained on in one epoch, from the update of a fully connected layer, and images of them. */
export const clientSamples: Method = {
  id: 'client-samples',
  title: 'Samples of a client, one by one',
  assumes:
    'the client trained as it is stated, by plain SGD that saw every sample once, on the mean cross-entropy of each batch with labels of one class each; a rectifier (ReLU) follows the fully connected layer, and a classifier that. Weights between the first and the last are taken to lie on a line.',
  cites: null,
  cost: 'min',
  kinds: ['several-steps'],
  async applies(facts) {
    const layers = await hiddenLayers(facts);
    if (layers.length === 0) {
      return null;
    }
    const training = await clientTraining(facts);
    return typeof training === 'string'
      ? 'It needs a training by plain SGD that is stated in full and does not contradict itself; what is missing is said of the classes.'
      : (whyNot(facts, training) ?? true);
  },
  async run(facts, context) {
    const training = await clientTraining(facts);
    const found = typeof training === 'string' ? undefined : await samplesOf(facts, training);
    if (!found || typeof training === 'string') {
      return {
        outcome: 'nothing',
        detail:
          'No fully connected layer below the head has an update that parts into one input for each sample, with the slopes that its class asks for.',
        leaks: [],
      };
    }
    if (found.separation.rank > training.samples) {
      return {
        outcome: 'nothing',
        detail: `The update of \`${found.weight}\` has ${found.separation.rank} directions, more than the ${counted(training.samples, 'sample')} stated.`,
        leaks: [],
      };
    }
    const images = await clientImages(facts, context, found, stepsOf(training));
    const leak = clientLeak(found, training, images, await classNamer(facts));
    const { samples } = found.separation;
    return {
      outcome: 'found',
      detail: `\`${found.weight}\` tells ${samples.length} of ${counted(training.samples, 'sample')} apart${images.found.length > 0 ? `, and images of ${images.found.length} follow` : ''}.`,
      leaks: [leak],
      ...(images.engine ? { engine: images.engine } : {}),
      ...(images.stopped ? { stopped: true } : {}),
    };
  },
};

/** More weights on the way are not told from each other. */
const MOST_STATES = 8;
/** Of a layer in all states: 256 MiB. */
const MOST_NUMBERS = 2 ** 25;

function whyNot(facts: Facts, { epochs, momentum }: Training): string | undefined {
  if (epochs > 1) {
    return `Over ${epochs} epochs each sample is in the update as many times, with another input each time; samples are told apart where each was seen once.`;
  }
  return momentum > 0 || facts.given.origin?.decay
    ? 'Momentum and weight decay weigh early samples otherwise than late ones; samples are told apart for plain SGD.'
    : undefined;
}

/** Shares of the way from the first weights to the last that batches were seen at. */
function stepsOf({ steps }: Training): readonly number[] {
  const states = Math.min(steps, MOST_STATES);
  return Array.from({ length: states }, (_, at) => at / states);
}

async function samplesOf(facts: Facts, training: Training): Promise<HiddenSamples | undefined> {
  let best: HiddenSamples | undefined;
  const states = stepsOf(training).length;
  for (const layer of await hiddenLayers(facts)) {
    if (states * layer.units * layer.inputs > MOST_NUMBERS) {
      continue;
    }
    const given = await layerOf(facts, layer);
    const own =
      given && (await separated(facts, layer, { ...given, course: await courseOf(facts, layer, given, training) }));
    best = (own?.separation.samples.length ?? 0) > (best?.separation.samples.length ?? 0) ? own : best;
  }
  return best;
}

async function courseOf(
  facts: Facts,
  { units }: HiddenLayerTensors,
  given: LayerTensors,
  training: Training,
): Promise<Course> {
  const classifier = await classifierOn(facts, units);
  const update: LayerState = { weight: given.gradient, bias: given.biasGradient };
  const { learningRate, batchSize, samples, steps } = training;
  const shares = stepsOf(training);
  return {
    states: shares.map((share, at) => {
      // The last batch may be a smaller one; or it was dropped.
      const left = at === shares.length - 1 && steps <= MOST_STATES ? samples - batchSize * (steps - 1) : batchSize;
      return {
        layer: stateAt(given.before, update, share),
        classifier: classifier && stateAt(classifier.before, classifier.update, share),
        scale: learningRate / Math.min(left, batchSize),
      };
    }),
  };
}
