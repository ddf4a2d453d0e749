import type { Detail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import type { StatedSteps } from '../../recovery/simulated-client/plan.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { counted } from '../../words/count-words.js';
import type { Leak } from '../method.js';
import type { FoundClient } from './search-client.js';

/** What is told of images that were searched. Nothing confirms them, and nothing of them counts as a leak. */

/** Images that leave more of the update than this explain nothing, whatever the order. */
const NOTHING_EXPLAINED = 0.5;
const MOST_PICTURES = 64;

export function explainsAnything({ error }: FoundClient): boolean {
  return error <= NOTHING_EXPLAINED;
}

export function percent(share: number): string {
  return Number.isFinite(share) ? `${Number((100 * share).toPrecision(2))} %` : 'an unknown share';
}

export function searchedLeak(found: FoundClient, stated: StatedSteps, named: (index: number) => string): Leak {
  const { task, labels, images, agreement, error } = found;
  const size = sizeOf(task.shape);
  // Those that the searches found most alike first.
  const order = [...labels.keys()].sort((one, other) => (agreement?.[other] ?? 0) - (agreement?.[one] ?? 0));
  const shown = order.slice(0, MOST_PICTURES);
  const count = counted(stated.samples, 'sample');
  return {
    noun: 'Images',
    what: `images of the client's ${count}, searched and not confirmed`,
    brief: null,
    title: 'Images of the client, by simulating its training',
    amount: counted(stated.samples, 'image'),
    sample: null,
    tensor: null,
    certificate: { by: 'gradient', error, floor: null, expectedError: null, verdict: 'uncertain' },
    gives: { inputs: 0, tokens: 0 },
    details: [
      { type: 'text', text: textOf(found, stated) },
      {
        type: 'curve',
        title: 'What the searches leave unexplained',
        xTitle: 'iteration',
        yTitle: 'share of the update',
        series: found.curves.map((curve, at) => ({
          name: `search ${at + 1}`,
          x: curve.map(({ iteration }) => iteration),
          y: curve.map((own) => own.error),
        })),
      },
      {
        type: 'table',
        title: 'How alike the searches found each image',
        columns: [
          { title: 'Image', isNumber: true },
          { title: 'Class (estimated)' },
          { title: 'Alike', hint: 'the lowest correlation between two searches; 1 is the same', isNumber: true },
        ],
        rows: shown.map((at, place) => ({
          cells: [String(place + 1), named(labels[at] ?? 0), agreement?.[at]?.toFixed(2) ?? '-'],
        })),
      },
      ...shown.map((at, place): Detail => ({
        type: 'picture',
        title: `Image ${place + 1}: ${named(labels[at] ?? 0)}, not confirmed`,
        shape: [...task.shape],
        file: `searched-image-${place}.npy`,
        ...(task.normalisation ? { normalisation: task.normalisation } : {}),
      })),
    ],
    findings: [findingOf(found, stated)],
    arrays: shown.map((at, place) => ({
      name: `searched-image-${place}`,
      shape: [1, ...task.shape],
      data: images.slice(at * size, (at + 1) * size),
    })),
  };
}

function textOf(found: FoundClient, { epochs, steps, samples, batchSize, rate }: StatedSteps): string {
  const { task, error, orderError, used } = found;
  const own = `The client's training (${counted(epochs, 'epoch')}, ${counted(steps, 'step')} over ${counted(samples, 'sample')} in batches of ${batchSize}, learning rate ${rate}) was simulated through "${task.network.name}", and images were searched after which its weights end near where the client's did.`;
  const orders =
    used > 1
      ? ` In which order the client took its samples is not known: each of ${used} searches drew one at random and began at noise of its own, and the images shown are their means. In an order drawn anew, these leave ${percent(error)} of the update unexplained.`
      : ` In which order the client took its samples is not known: the search drew one at random, and its images leave ${percent(error)} of the update unexplained.`;
  const byOrder =
    orderError === undefined
      ? ''
      : ` Orders of these images, drawn at random, differ by ${percent(orderError)} of it: about so much the client's own images would leave in another order than its own.`;
  const alike =
    used > 1
      ? ' Images that the searches found alike follow from the update rather than from where a search began; yet samples of one class that are much alike come out as their mean, and so do images of a training that was stated wrongly.'
      : '';
  return `${own}${orders}${byOrder}${alike} Nothing confirms any of them. ${rangeOf(task)} The classes are those that were estimated.`;
}

function rangeOf({ normalisation, isRangeStated }: FoundClient['task']): string {
  const range =
    normalisation === undefined
      ? 'between 0 and 1'
      : `normalised by a mean of ${normalisation.mean.join(', ')} and a deviation of ${normalisation.std.join(', ')}`;
  return `Inputs were taken to be ${range}, ${isRangeStated ? 'as was stated' : 'which nobody stated, as that explained most after a few iterations'}.`;
}

function findingOf({ error, used, stopped }: FoundClient, { epochs, samples }: StatedSteps): Finding {
  return {
    id: 'client-images-searched',
    severity: 'low',
    title: 'Images of a client were searched, and nothing confirms them',
    evidence: `${counted(samples, 'image')}, seen in ${counted(epochs, 'epoch')} each, were searched by simulating the training${used > 1 ? `, ${used} times` : ''}${stopped ? ' until it was stopped' : ''}; ${percent(error)} of the update stays unexplained. How much they show of the client's own images is not known.`,
    mitigation:
      'Aggregate securely over many clients, or clip and add noise (differential privacy). More samples, more steps and larger learning rates make the search harder, and stop nothing.',
  };
}
