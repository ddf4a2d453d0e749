import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import schema from '../../media/capture.schema.json';
import type { ReconstructionRequest } from '../protocol/audit-request.js';
import type { CaptureFile } from '../protocol/capture-file.js';
import type { StatedTraining } from '../protocol/stated-training.js';
import type { Normalisation } from '../protocol/normalisations.js';
import { readJson, unusableJson, validatorOf } from '../formats/json-file.js';

/** What `gradleak_capture.py` notes beside a dump, in `capture.json`. */
export interface Capture {
  /** Shape of one input. */
  readonly inputShape: number[] | undefined;
  readonly mode: 'eval' | 'train' | undefined;
  /** Samples of the gradient; undefined for weights after local training. */
  readonly batchSize: number | undefined;
  /** What was stated of the local training; undefined for a gradient. */
  readonly training: StatedTraining | undefined;
  readonly normalisation: Normalisation | undefined;
  /** Absolute path and line, from 1, of the call that captured. */
  readonly script: { file: string; line: number } | undefined;
  /** Round of the training that the gradient is of, where the script noted one. */
  readonly round: number | undefined;
}

const CAPTURE_FILE = 'capture.json';
const MAX_BYTES = 2 ** 20;
const VALIDATOR = validatorOf<CaptureFile>(schema);
const WORDS = { expected: 'what gradleak_capture.py writes', advice: 'Capture again, or remove the file.' };

/**
 * @param gradients path of the gradient file
 * @returns undefined without such a file
 * @throws UnusableInputError when there is one that cannot be used
 */
export function readCapture(gradients: string): Capture | undefined {
  const path = join(dirname(gradients), CAPTURE_FILE);
  if (!existsSync(path)) {
    return undefined;
  }
  const notes = readJson(path, MAX_BYTES, VALIDATOR, WORDS);
  const { input_shape, mode, batch_size, normalisation, script, line, round } = notes;
  if (normalisation && normalisation.mean.length !== normalisation.std.length) {
    throw unusableJson(path, '"normalisation" with a mean and a std of different lengths', WORDS);
  }
  return {
    // Inputs of one number each have a shape without sizes, which says nothing of a network's input.
    inputShape: input_shape && input_shape.length > 0 ? input_shape : undefined,
    mode: mode ?? undefined,
    batchSize: notes.kind === 'weights' ? undefined : (batch_size ?? undefined),
    training: notes.kind === 'weights' ? trainingOf(notes) : undefined,
    normalisation: normalisation ?? undefined,
    script: typeof script === 'string' && typeof line === 'number' ? { file: script, line } : undefined,
    round: round ?? undefined,
  };
}

function trainingOf(notes: CaptureFile): StatedTraining {
  return {
    optimiser: notes.optimiser ?? undefined,
    learningRate: notes.learning_rate ?? undefined,
    momentum: notes.momentum ?? undefined,
    steps: notes.local_steps ?? undefined,
    epochs: notes.local_epochs ?? undefined,
    batchSize: notes.batch_size ?? undefined,
    samples: notes.samples ?? undefined,
  };
}

/**
 * Whether these are the two files that `capture_update` wrote: the weights before and after a client's training. It is
 * told from what it wrote of them and how it called them, so that files that were exchanged are not taken for it.
 */
export function isCapturedTraining(checkpoint: string, gradients: string): boolean {
  const isNamed = basename(checkpoint).startsWith('checkpoint.') && basename(gradients).startsWith('after.');
  if (!isNamed || dirname(checkpoint) !== dirname(gradients)) {
    return false;
  }
  try {
    return readCapture(gradients)?.training !== undefined;
  } catch {
    // Whoever needs the notes says what is wrong with them.
    return false;
  }
}

/**
 * By what pictures of inputs are drawn: as the user says, else as the capture says; undefined for their own range.
 *
 * @param request undefined where no reconstruction is asked for
 */
export function normalisationFor(
  request: Pick<ReconstructionRequest, 'normalisation'> | undefined,
  capture: Pick<Capture, 'normalisation'> | undefined,
): Normalisation | undefined {
  return request?.normalisation === undefined ? capture?.normalisation : (request.normalisation ?? undefined);
}
