import { CancelledError, UnusableInputError } from '../../protocol/errors.js';
import { AUDIT_STAGES, type AuditProgress, type ReconstructionRequest } from '../../protocol/audit-request.js';
import type { ReconstructionReport } from '../../protocol/report.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import type { HeadFactors } from '../../recovery/head-factors.js';
import type { GradientShape, HeadGradient } from '../../recovery/head-gradient.js';
import type { BatchSample } from '../../recovery/batch/recover-batch.js';
import type { RecoveredSample } from '../../recovery/single-sample.js';
import { readCapture } from '../capture.js';
import type { Matching } from '../matching.js';
import type { Truth } from '../truth.js';
import { findNetwork } from './network-source.js';
import { type Reconstruction, type ReconstructionHooks, reconstruct } from './reconstruct.js';
import { reconstructBatch } from './reconstruct-batch.js';

/** The audit's stage of reconstruction: what it needs, and what becomes of its failures. */

export interface Rebuilding {
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
  readonly matching: Matching;
  readonly headWeight: string;
  readonly head: HeadGradient;
  readonly shape: GradientShape;
  readonly factors: HeadFactors | undefined;
  readonly sample: RecoveredSample | undefined;
  /** All samples of a batch, when they explain its gradient. */
  readonly samples: readonly BatchSample[];
  /** Standard deviation of added noise per number of a batch's gradient. */
  readonly noise: number;
  readonly truth: Truth | undefined;
}

export interface Rebuilt {
  /** One per sample, in their order; empty when nothing was tried. */
  readonly reconstructions: readonly Reconstruction[];
  /** Why nothing was tried. */
  readonly problem?: string;
  readonly cancelled?: boolean;
}

/** Undefined when no reconstruction was asked for, or there are no recovered samples to start from. */
export async function rebuildInput(
  wanted: ReconstructionRequest | undefined,
  progress: (progress: AuditProgress) => void,
  pause: () => Promise<void>,
  facts: Rebuilding,
): Promise<Rebuilt | undefined> {
  const { checkpoint, gradients, matching, sample, samples, factors } = facts;
  if (!wanted || wanted.attack === 'none' || (samples.length === 0 && (!sample || !factors))) {
    return undefined;
  }
  if (sample && (sample.status !== 'recovered' || sample.activation !== 'softmax')) {
    return {
      reconstructions: [],
      problem:
        sample.status === 'recovered'
          ? 'Inputs are reconstructed for softmax heads only.'
          : 'The label is not certain, and a reconstruction starts from it.',
    };
  }
  const start = AUDIT_STAGES.indexOf('reconstruct') / AUDIT_STAGES.length;
  progress({ stage: 'reconstruct', message: 'Reconstructing the input', fraction: start });
  await pause();
  const capture = readCapture(gradients.path);
  const inputShape = wanted.inputShape ?? capture?.inputShape;
  const network = await findNetwork(wanted.model, checkpoint, gradients, inputShape ? { inputShape } : {});
  if (network.candidates.length === 0) {
    return {
      reconstructions: [],
      problem: [
        'The network is not known: a checkpoint holds no graph, and this one is not recognised. Give it as ONNX, Keras model or recipe (--model).',
        ...network.reasons.slice(0, -1),
      ].join(' '),
    };
  }
  const normalisation = wanted.normalisation ?? capture?.normalisation;
  const width = 1 / AUDIT_STAGES.length;
  try {
    const task = {
      request: normalisation ? { ...wanted, normalisation } : wanted,
      network,
      checkpoint,
      gradients,
      matching,
      headWeight: facts.headWeight,
      head: facts.head,
      normMode: capture?.mode,
    };
    const own: ReconstructionHooks = {
      progress: (message, share, reconstruction) => {
        progress({
          stage: 'reconstruct',
          message,
          fraction: start + width * share,
          ...(reconstruction ? { reconstruction } : {}),
        });
      },
      pause,
    };
    if (!sample || !factors) {
      return { reconstructions: await reconstructBatch({ ...task, samples, noise: facts.noise }, own) };
    }
    const trueLabel = facts.truth?.labels?.[0];
    const reconstruction = await reconstruct({ ...task, shape: facts.shape, factors, sample, trueLabel }, own);
    return { reconstructions: [reconstruction] };
  } catch (error) {
    if (error instanceof CancelledError) {
      return { reconstructions: [], cancelled: true, problem: 'The audit was stopped before the input was found.' };
    }
    if (error instanceof UnusableInputError && network.source === 'built-in' && wanted.attack !== 'matching') {
      // Recognising a network is a guess: that it does not fit must not take labels and features away.
      return { reconstructions: [], problem: error.message };
    }
    throw error;
  }
}

/** The report of a reconstruction that was not tried. */
export function nothingRebuilt(reason: string): ReconstructionReport {
  return {
    file: null,
    preview: null,
    shape: [],
    method: 'none',
    verdict: 'failed',
    reason,
    gradientError: null,
    matchingLoss: null,
    expectedError: null,
    chain: [],
    matching: null,
    seconds: 0,
  };
}
