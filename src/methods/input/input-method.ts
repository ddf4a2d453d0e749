import { normalisationFor } from '../../facts/capture.js';
import { DIRECTED } from '../../facts/directed-update.js';
import type { Facts, Guess } from '../../facts/facts.js';
import { HEAD, HEAD_GRADIENT, HEAD_SHAPE } from '../../facts/head-facts.js';
import { CAPTURE, MATCHING } from '../../facts/update.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import { counted } from '../../words/count-words.js';
import { CancelledError, UnusableInputError, nextSteps } from '../../protocol/errors.js';
import type { NextStep } from '../../protocol/next-steps.js';
import type { ReconstructionReport } from '../../protocol/report.js';
import { RECOVERY } from '../head/recovery.js';
import { HIDDEN_SAMPLES, type HiddenSamples } from '../hidden-layer/hidden-samples.js';
import type { RecoveredHead } from '../head/recover-head.js';
import type { GradientShape } from '../../recovery/head-gradient.js';
import { type Context, type Leak, type Method, type MethodResult, READABLE, type Reconstruction } from '../method.js';
import { nothingRebuilt } from '../reconstruction-report.js';
import { batchLeak } from './batch-leak.js';
import { batchMaps } from './batch-maps.js';
import { inputFindings } from './input-findings.js';
import { withInputSize } from './input-size.js';
import { type NetworkSource, findNetwork, recognised } from './network-source.js';
import { type NetworkTask, describeNetwork } from './prepare.js';
import { reconstruct } from './reconstruct.js';
import { reconstructBatch } from './reconstruct-batch.js';
import type { NetworkReconstruction } from './reconstruction-task.js';

/** The training inputs themselves, from labels and features: by the closed form where it applies, else by gradient matching. */
export const input: Method = {
  id: 'input',
  title: 'The input itself',
  assumes:
    'the network’s layers are the ones named, with these weights and without dropout, and that the gradient is of the loss that its head tells.',
  cites: null,
  cost: 'min',
  kinds: READABLE,
  async applies(facts) {
    const { reconstruction } = facts.given.request;
    const recovered = await facts.get(RECOVERY);
    if (recovered?.unassessed !== undefined && recovered.cancelled === undefined) {
      return null;
    }
    if (!reconstruction || reconstruction.attack === 'none') {
      return NOT_ASKED;
    }
    return recovered ? true : 'No sample was recovered to start from.';
  },
  async run(facts, context) {
    const wanted = facts.given.request.reconstruction;
    const recovered = await facts.get(RECOVERY);
    if (wanted?.attack !== 'matching' && recovered && isKnown(context.inputs, recovered)) {
      return { outcome: 'not-applicable', detail: 'Every input is known already, from another method.', leaks: [] };
    }
    const attempt =
      recovered && wanted && recovered.cancelled === undefined
        ? await attemptInputs(facts, context, recovered, wanted)
        : undefined;
    return resultOf(attempt, wanted, context.trueLabels !== undefined);
  },
};

function isKnown(inputs: readonly Reconstruction[], { samples }: RecoveredHead): boolean {
  return samples.length > 0 && samples.every((_, index) => inputs[index]?.report.verdict === 'exact');
}

const NOT_ASKED = 'Reconstruction of inputs was not asked for.';

interface Attempt {
  /** Leaks that belong to no sample that the head has told. */
  readonly others?: readonly Leak[];
  readonly inputs: readonly NetworkReconstruction[] | readonly Reconstruction[];
  readonly network?: MethodResult['network'];
  readonly engine?: MethodResult['engine'];
  readonly stopped?: boolean;
  readonly next?: readonly NextStep[];
}

/** Undefined where there are no recovered samples to start from. */
async function attemptInputs(
  facts: Facts,
  context: Context,
  recovered: RecoveredHead,
  wanted: ReconstructionRequest,
): Promise<Attempt | undefined> {
  const { checkpoint } = facts.given;
  const { gradients, absoluteError } = await facts.get(DIRECTED);
  const { single: sample, factors } = recovered;
  const head = await facts.get(HEAD_GRADIENT);
  const shape = await facts.get(HEAD_SHAPE);
  const { tensors } = await facts.get(HEAD);
  if (!head || !shape || !tensors || (sample && !factors)) {
    return undefined;
  }
  const { guess } = facts.given;
  if (sample && ((sample.status !== 'recovered' && !guess) || sample.activation !== 'softmax')) {
    return unreachedByNetwork(
      recovered,
      sample.status === 'recovered'
        ? 'Inputs are reconstructed for softmax heads only.'
        : 'The label is not certain, and a reconstruction starts from it.',
    );
  }
  context.progress('Reconstructing the input', 0);
  await context.pause();
  const capture = await facts.get(CAPTURE);
  const inputShape = wanted.inputShape ?? capture?.inputShape;
  const hints = inputShape ? { inputShape } : {};
  const network = ofGuess(await findNetwork(wanted.model, checkpoint, gradients, hints, () => context.pause()), guess);
  const normalisation = normalisationFor(wanted, capture);
  const given = {
    request: normalisation ? { ...wanted, normalisation } : wanted,
    checkpoint,
    gradients,
    matching: await facts.get(MATCHING),
    headWeight: tensors.weight.parameter.name,
    head: head.gradient,
    absoluteError,
    normMode: capture?.mode ?? guess?.network?.normMode ?? undefined,
    isGuess: guess !== undefined,
  };
  const isSizeTold = inputShape !== undefined || wanted.attack === 'matching';
  const attempt = (own: NetworkSource): Promise<Attempt | undefined> =>
    attemptWith(
      { ...given, network: own },
      { context, recovered, shape, isSizeTold, hidden: () => facts.get(HIDDEN_SAMPLES) },
    );
  if (network.file === null || wanted.model !== undefined) {
    return attempt(network);
  }
  // Nobody asked for the file that was found beside the dump: that it does not fit must hide nothing.
  let first: Attempt | undefined;
  let why = `${network.file}: passed over, its network does not explain the gradient`;
  try {
    first = await attempt(network);
    if (!first || first.stopped === true || reachesAnInput(first)) {
      return first;
    }
  } catch (error) {
    if (!(error instanceof UnusableInputError) || error.parts.file !== network.file) {
      throw error;
    }
    why = error.message;
  }
  const second = await attempt(ofGuess(recognised(checkpoint, hints, [why]), guess));
  return first && !(second && reachesAnInput(second)) ? first : second;
}

/** Under a defence, numbers no longer choose among the networks that fit. */
function ofGuess(network: NetworkSource, guess: Guess | undefined): NetworkSource {
  const known = network.candidates.filter(({ name }) => name === guess?.network?.name);
  return known.length > 0 ? { ...network, candidates: known } : network;
}

function reachesAnInput({ inputs }: Attempt): boolean {
  return inputs.some(({ report }) => report.verdict !== 'failed');
}

interface AttemptGiven {
  readonly context: Context;
  readonly recovered: RecoveredHead;
  readonly shape: GradientShape;
  /** Whether the input's size is known, or does not matter. */
  readonly isSizeTold: boolean;
  /** What a fully connected layer before the head tells of a batch, computed where it is asked for. */
  readonly hidden: () => Promise<HiddenSamples | undefined>;
}

/** @throws UnusableInputError when the network was given, or found, and does not fit */
async function attemptWith(
  given: NetworkTask,
  { context, recovered, shape, isSizeTold, hidden }: AttemptGiven,
): Promise<Attempt | undefined> {
  const { network, request } = given;
  const { single: sample, factors } = recovered;
  const several = recovered.complete ? recovered.several : [];
  if (network.candidates.length === 0) {
    return unreachedByNetwork(
      recovered,
      [
        'The network is not known: a checkpoint holds no graph, and this one is not recognised. Give it as ONNX, Keras model or recipe.',
        ...network.reasons.slice(0, -1),
      ].join(' '),
      ['choose-network'],
    );
  }
  try {
    const samples = sample ? 1 : several.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
    const task =
      isSizeTold || samples === 0 ? given : { ...given, network: await withInputSize(given, samples, context) };
    // Samples of a group that the head does not part have inputs of their own all the same.
    const isOpen = !sample && (several.length === 0 || samples !== several.length);
    const untold = isOpen ? await untoldBatch(task, recovered, context, await hidden()) : undefined;
    if (untold !== undefined || (!sample && several.length === 0)) {
      return untold;
    }
    const inputs =
      sample && factors
        ? [await reconstruct({ ...task, shape, factors, sample, trueLabel: context.trueLabels?.[0] }, context)]
        : await reconstructBatch(
            { ...task, samples: several, noise: Math.max(recovered.noise, task.absoluteError), hidden },
            context,
          );
    const [first] = inputs;
    return {
      inputs,
      network: first?.network ?? null,
      ...(first?.engine ? { engine: first.engine } : {}),
      stopped: first?.stopped === true,
    };
  } catch (error) {
    if (error instanceof CancelledError) {
      return { ...unreachedByNetwork(recovered, 'The audit was stopped before the input was found.'), stopped: true };
    }
    if (error instanceof UnusableInputError && network.source === 'built-in' && request.attack !== 'matching') {
      // Recognising a network is a guess: that it does not fit must not take labels and features away.
      const next = nextSteps(error).filter((step) => step !== 'labels-only');
      return unreachedByNetwork(recovered, [error.message, ...network.reasons.slice(0, -1)].join(' '), next);
    }
    throw error;
  }
}

/** A batch of which the head tells no sample: its layers may. */
async function untoldBatch(
  task: NetworkTask,
  recovered: RecoveredHead,
  context: Context,
  hidden: HiddenSamples | undefined,
): Promise<Attempt | undefined> {
  if (task.request.attack === 'matching') {
    return undefined;
  }
  const maps = await batchMaps(task, task.absoluteError, context, hidden);
  const leak = maps && batchLeak(maps, task.request);
  return maps && leak
    ? {
        ...unreached(recovered, 'Samples of the head are not the ones that the feature maps are of.'),
        others: [leak],
        network: describeNetwork(task, maps.prepared),
        ...(maps.run.engine ? { engine: maps.run.engine } : {}),
        stopped: maps.run.stopped,
      }
    : undefined;
}

/** Every sample without its input, and why. */
function unreached({ samples }: RecoveredHead, reason: string): Attempt {
  return { inputs: samples.map(() => ({ report: nothingRebuilt(reason), input: undefined })) };
}

function unreachedByNetwork(recovered: RecoveredHead, reason: string, next: readonly NextStep[] = []): Attempt {
  return { ...unreached(recovered, reason), network: null, next };
}

function resultOf(
  attempt: Attempt | undefined,
  wanted: ReconstructionRequest | undefined,
  usesTruth: boolean,
): MethodResult {
  const { inputs: tried = [], others = [], network, engine, stopped, next = [] } = attempt ?? {};
  const inputs = tried.map(({ report, input: values }): Reconstruction => ({
    report: usesTruth && report.method === 'matching' ? { ...report, usedTruth: true } : report,
    input: values,
  }));
  return {
    ...told(inputs, others, wanted),
    leaks: [...inputs.map(({ report }, sample) => leakOf(report, sample, tried[sample]!)), ...others],
    ...(attempt ? { inputs } : {}),
    ...(network === undefined ? {} : { network }),
    ...(engine ? { engine } : {}),
    ...(stopped === undefined ? {} : { stopped }),
    next,
  };
}

function told(
  inputs: readonly Reconstruction[],
  others: readonly Leak[],
  wanted: ReconstructionRequest | undefined,
): Pick<MethodResult, 'outcome' | 'detail'> {
  const found = inputs.filter(({ report: { verdict } }) => verdict === 'exact' || verdict === 'close').length;
  if (found === 0 && others.length > 0) {
    return {
      outcome: 'found',
      detail: `Computed from the gradients of single layers: ${others.map(({ what }) => what).join(', ')}.`,
    };
  }
  if (found > 0) {
    return {
      outcome: 'found',
      detail: `${counted(found, 'input was', 'inputs were')} reconstructed and confirmed by the gradient.`,
    };
  }
  if (!wanted || wanted.attack === 'none') {
    return { outcome: 'not-applicable', detail: NOT_ASKED };
  }
  const first = inputs[0]?.report;
  return first && first.method !== 'none'
    ? { outcome: 'nothing', detail: first.reason }
    : { outcome: 'not-applicable', detail: first?.reason ?? 'No sample was recovered to start from.' };
}

function leakOf(
  report: ReconstructionReport,
  sample: number,
  { details = [], arrays = [] }: Reconstruction & Pick<Partial<NetworkReconstruction>, 'details' | 'arrays'>,
): Leak {
  const { verdict, gradientError, expectedError } = report;
  return {
    noun: 'Input',
    what: `input of sample ${sample + 1}`,
    brief: null,
    title: 'The input',
    amount: null,
    sample,
    tensor: null,
    certificate:
      verdict === 'failed' || gradientError === null
        ? null
        : { by: 'gradient', error: gradientError, floor: null, expectedError, verdict },
    gives: { inputs: verdict === 'exact' ? 1 : 0, tokens: 0 },
    details: [...details],
    findings: inputFindings(report),
    arrays,
  };
}
