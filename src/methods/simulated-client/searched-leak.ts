import type { Detail } from '../../protocol/detail.js';
import type { Finding } from '../../protocol/report.js';
import type { StatedSteps } from '../../recovery/simulated-client/plan.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { counted } from '../../words/count-words.js';
import type { Leak } from '../method.js';
import type { FoundClient } from './search-client.js';

/** What is told of images that were searched, and how far the searches agree. */

/** Correlation between searches from which an image counts as determined by the update; docs/benchmarks.md has what it means. */
const AGREED = 0.96;
/** How much more of the update may stay unexplained than another order of the images found changes. */
const LEFT_BY_ORDER = 3;
/** Share of the update that rounding and blur may leave where the order changes nothing. */
const EXPLAINED = 0.05;
const MOST_PICTURES = 64;

/** Images that leave more of the update than this explain nothing, whatever the order. */
const NOTHING_EXPLAINED = 0.5;

export function explainsAnything({ error }: FoundClient): boolean {
  return error <= NOTHING_EXPLAINED;
}

/** Of every image, whether the searches agree on it and explain the update as far as the order lets them. */
export function agreedOn(found: FoundClient): boolean[] {
  const { labels, agreement, error, orderError } = found;
  const isExplained = explainsAnything(found) && error <= Math.max(LEFT_BY_ORDER * orderError, EXPLAINED);
  return labels.map((_, at) => isExplained && (agreement?.[at] ?? 0) >= AGREED);
}

export function searchedLeak(found: FoundClient, stated: StatedSteps, named: (index: number) => string): Leak {
  const { task, labels, images, agreement, error } = found;
  const size = sizeOf(task.shape);
  const isAgreed = agreedOn(found);
  const agreed = isAgreed.filter(Boolean).length;
  // Those that the searches agree on first.
  const order = [...labels.keys()].sort((one, other) => (agreement?.[other] ?? 0) - (agreement?.[one] ?? 0));
  const shown = order.slice(0, MOST_PICTURES);
  const count = counted(stated.samples, 'sample');
  return {
    noun: 'Images',
    what:
      agreed > 0
        ? `images of ${agreed} of ${count} of the client, on which separate searches agree`
        : `images of the client's ${count}, searched and not confirmed`,
    brief: agreed > 0 ? `images of ${agreed} of ${count} of the client` : null,
    title: 'Images of the client, by simulating its training',
    amount: counted(stated.samples, 'image'),
    sample: null,
    tensor: null,
    certificate: { by: 'gradient', error, floor: null, expectedError: null, verdict: 'uncertain' },
    gives: { inputs: 0, tokens: 0 },
    details: [
      { type: 'text', text: textOf(found, stated, agreed) },
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
        title: 'How far the searches agree on each image',
        columns: [
          { title: 'Image', isNumber: true },
          { title: 'Class (estimated)' },
          { title: 'Agreement', hint: 'the lowest correlation between two searches', isNumber: true },
        ],
        rows: shown.map((at, place) => ({
          cells: [String(place + 1), named(labels[at] ?? 0), agreement?.[at]?.toFixed(2) ?? '-'],
        })),
      },
      ...shown.map((at, place): Detail => ({
        type: 'picture',
        title: `Image ${place + 1}: ${named(labels[at] ?? 0)}${isAgreed[at] ? '' : ', not confirmed'}`,
        shape: [...task.shape],
        file: `searched-image-${place}.npy`,
        ...(task.normalisation ? { normalisation: task.normalisation } : {}),
      })),
    ],
    findings: [findingOf(found, stated, agreed)],
    arrays: shown.map((at, place) => ({
      name: `searched-image-${place}`,
      shape: [1, ...task.shape],
      data: images.slice(at * size, (at + 1) * size),
    })),
  };
}

export function percent(share: number): string {
  return `${(100 * share).toPrecision(2)} %`;
}

function textOf(found: FoundClient, { epochs, steps, samples, batchSize, rate }: StatedSteps, agreed: number): string {
  const { task, error, orderError, curves, agreement } = found;
  const own = `The client's training (${counted(epochs, 'epoch')}, ${counted(steps, 'step')} over ${counted(samples, 'sample')} in batches of ${batchSize}, learning rate ${rate}) was simulated through "${task.network.name}", and images were searched after which its weights end where the client's did.`;
  const orders = agreement
    ? ` In which order the client took its samples is not known: ${curves.length} searches took one of their own each and began at noise of their own, and the images shown are their means.`
    : ' In which order the client took its samples is not known: one search took one of many.';
  const rest = ` In yet another order, they leave ${percent(error)} of the update unexplained, and orders among each other differ by ${percent(orderError)}: so much true images in a wrong order would leave too, so that this confirms none of them.`;
  const told =
    agreement === undefined
      ? ''
      : agreed > 0
        ? ` On ${agreed} of ${samples} the searches agree (a correlation of ${AGREED} or more between any two), so that the update determines them about; details may be blurred.`
        : ' On no image do the searches agree well enough to say that the update determines it.';
  const range =
    task.normalisation === undefined ? '' : ' Inputs were taken to be normalised, by which the pictures are drawn.';
  return `${own}${orders}${rest}${told}${range} The classes are those that were estimated.`;
}

function findingOf({ error }: FoundClient, { epochs, samples }: StatedSteps, agreed: number): Finding {
  const isTold = agreed > 0;
  return {
    id: 'client-images-searched',
    severity: isTold ? 'medium' : 'low',
    title: isTold
      ? 'Images that a client trained on can be searched'
      : 'Images of a client were searched, and nothing confirms them',
    evidence: `${counted(samples, 'image')}, seen in ${counted(epochs, 'epoch')} each, were searched by simulating the training; ${percent(error)} of the update stays unexplained. ${isTold ? `Searches that began apart agree on ${agreed}. That the update determines these is what this shows; how near they are to the true ones is not known.` : 'Searches that began apart do not agree on any, so these may be no images of the client.'}`,
    mitigation:
      'Aggregate securely over many clients, or clip and add noise (differential privacy). More samples, more steps and larger learning rates make the search harder, and stop nothing.',
  };
}
