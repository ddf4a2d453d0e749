import { isCapturedTraining } from '../../facts/capture.js';
import type { Fact, Facts } from '../../facts/facts.js';
import { HEAD_GRADIENT } from '../../facts/head-facts.js';
import { STATED_TRAINING, UPDATE } from '../../facts/update.js';
import type { StatedTraining } from '../../protocol/stated-training.js';
import {
  type ClassShares,
  type LocalTraining,
  classShares,
  contradicts,
  estimateCounts,
  leastCounts,
} from '../../recovery/client-labels.js';
import type { HeadGradient } from '../../recovery/head-gradient.js';
import { norm } from '../../recovery/vectors.js';

/** How often each class occurs in what a client trained on over several steps. */
export interface ClientCounts {
  readonly training: LocalTraining;
  readonly steps: number;
  /** The most likely counts, K; they sum to the samples. */
  readonly counts: readonly number[];
  /** Share of the head's bias that no counts explain. */
  readonly misfit: number;
  /** K bounds from below; undefined where something that they need is not known. */
  readonly least: readonly number[] | undefined;
  /** Why the bounds are not known; empty where they are. */
  readonly open: readonly string[];
}

/** One sentence where it cannot be told. */
export const CLIENT_COUNTS: Fact<ClientCounts | { readonly why: string }> = {
  id: 'client-counts',
  async compute(facts) {
    const head = await facts.get(HEAD_GRADIENT);
    if (!head) {
      return { why: 'No classifier head was found, whose difference tells how often classes occur.' };
    }
    const training = await clientTraining(facts);
    return typeof training === 'string' ? { why: training } : countsOf(facts, head.gradient, training);
  },
  describe: (found) =>
    'why' in found ? found : { misfit: found.misfit, open: found.open, isBounded: found.least !== undefined },
};

export interface Training extends LocalTraining {
  readonly steps: number;
  /** What is needed for bounds and was not stated. */
  readonly assumed: readonly string[];
}

/** Far more than anybody trains, and far less than arithmetic loses whole numbers at. */
const MOST_STATED = 1e9;

const NEEDED =
  'How often classes occur can be told from several steps of SGD where the learning rate, the local epochs (or steps), the batch size and the samples of the client are stated';

/** How a client trained, as it is stated; one sentence where that is not enough. */
export async function clientTraining(facts: Facts): Promise<Training | string> {
  return trainingOf((await facts.get(STATED_TRAINING))?.training ?? {}, (await facts.get(UPDATE)).steps);
}

/** @param counted steps that the numbers count */
function trainingOf(stated: StatedTraining, counted: number | undefined): Training | string {
  const { learningRate, batchSize, samples, momentum, optimiser } = stated;
  if (optimiser !== undefined && !/sgd|gradient.?descent|momentum/i.test(optimiser)) {
    return `The optimiser is stated as "${optimiser}": how often classes occur is told from steps of SGD only.`;
  }
  if (!learningRate || batchSize === undefined || samples === undefined) {
    return `${NEEDED}; here they are not.`;
  }
  if ([samples, batchSize, stated.steps ?? 1, stated.epochs ?? 1].some((own) => own > MOST_STATED)) {
    return `Of samples, steps, epochs and the batch size, one is stated above ${MOST_STATED}.`;
  }
  if (momentum !== undefined && momentum >= 1) {
    return `A momentum of ${momentum} is stated, and it must be below 1.`;
  }
  const least = Math.max(1, Math.floor(samples / batchSize));
  const most = Math.ceil(samples / batchSize);
  const steps = counted ?? stated.steps ?? (stated.epochs === undefined ? undefined : stated.epochs * most);
  if (steps === undefined) {
    return `${NEEDED}; here the epochs are not.`;
  }
  const epochs = stated.epochs ?? (steps % most === 0 ? steps / most : steps / least);
  if (!Number.isInteger(epochs) || (steps !== epochs * most && steps !== epochs * least)) {
    return `${steps} steps do not go with ${samples} samples in batches of ${batchSize}${stated.epochs === undefined ? '' : ` over ${stated.epochs} epochs`}: how often classes occur is not told from what contradicts itself.`;
  }
  return {
    learningRate,
    epochs,
    batchSize: Math.min(batchSize, samples),
    samples,
    momentum: momentum ?? 0,
    steps,
    assumed: [
      ...(momentum === undefined ? ['momentum was not stated, and none is assumed'] : []),
      // With the last batch of an epoch dropped, there would be more epochs.
      ...(stated.epochs === undefined && least !== most ? ['the number of epochs was not stated'] : []),
    ],
  };
}

/** Of what a softmax head's classes sum to under SGD, which is nothing. */
const MOST_SUM = 1e-2;
const MOST_CLASSES = 1024;

async function countsOf(
  facts: Facts,
  head: HeadGradient,
  { steps, assumed, ...training }: Training,
): Promise<ClientCounts | { why: string }> {
  const classes = head.weight.rows;
  if (classes > MOST_CLASSES) {
    return { why: `The head has ${classes} classes; counts are told of up to ${MOST_CLASSES}.` };
  }
  const shares = classShares(head, training, steps);
  if (!shares) {
    return { why: 'The head has no bias whose difference tells how often classes occur, at the rate that is stated.' };
  }
  const { hooks, origin } = facts.given;
  const decayed = origin?.decay
    ? (Math.abs(origin.decay.factor) * largest(head.bias) * training.batchSize) /
      (training.learningRate * training.epochs)
    : 0;
  const own: ClassShares = { ...shares, rounding: shares.rounding + decayed };
  const sum = Math.abs(own.excess.reduce((total, value) => total + value, 0));
  const isHidden = own.rounding * Math.sqrt(classes) > 0.1 * norm(own.excess);
  const isBalanced = sum <= MOST_SUM * norm(own.excess) + own.rounding * Math.sqrt(classes);
  if (isHidden || !isBalanced) {
    return {
      why: isHidden
        ? 'The difference of the head’s bias is hidden by the rounding of the weights.'
        : 'The difference of the head’s bias does not sum to zero over its classes, as steps of SGD on a softmax leave it; what it tells of classes is not known.',
    };
  }
  if (contradicts(own, training)) {
    return {
      why: `The difference of the head’s bias needs more than the ${training.samples} samples that are stated: learning rate, epochs, batch size, samples or momentum are others, so how often classes occur is not told.`,
    };
  }
  const pause = (): Promise<void> => hooks.pause();
  const open = [
    ...assumed,
    ...((await isDirectionTold(facts))
      ? []
      : [
          'nothing but the order in which the files were given says which weights are those after the training, and files that were exchanged would give other classes',
        ]),
  ];
  const least = open.length === 0 ? leastCounts(own, training, steps) : undefined;
  const bounds = least ?? new Array<number>(classes).fill(0);
  const estimate = await estimateCounts(head, own, bounds, training, steps, pause);
  return { training, steps, ...estimate, least, open };
}

/**
 * Whether something besides the order of the files says which state is the later one: how the difference rounds, a counter,
 * decay, or what the capture called its files. What counts explain does not tell it: now and then they explain both.
 */
async function isDirectionTold(facts: Facts): Promise<boolean> {
  const { signToldBy } = await facts.get(UPDATE);
  const { checkpoint, gradients, origin } = facts.given;
  return (
    signToldBy === 'rounding' ||
    signToldBy === 'counter' ||
    signToldBy === 'decay' ||
    isCapturedTraining(checkpoint.path, (origin?.after ?? gradients).path)
  );
}

function largest(values: Float64Array | undefined): number {
  return values?.reduce((most, value) => Math.max(most, Math.abs(value)), 0) ?? 0;
}
