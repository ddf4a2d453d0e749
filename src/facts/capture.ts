import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import schema from '../../media/capture.schema.json';
import type { ReconstructionRequest } from '../protocol/audit-request.js';
import type { CaptureFile } from '../protocol/capture-file.js';
import type { Normalisation } from '../protocol/normalisations.js';
import { readJson, unusableJson, validatorOf } from '../formats/json-file.js';

/** What `gradleak_capture.py` notes beside a dump, in `capture.json`. */
export interface Capture {
  /** Shape of one input. */
  readonly inputShape: number[] | undefined;
  readonly mode: 'eval' | 'train' | undefined;
  readonly batchSize: number | undefined;
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
  const { input_shape, mode, batch_size, normalisation, script, line, round } = readJson(
    path,
    MAX_BYTES,
    VALIDATOR,
    WORDS,
  );
  if (normalisation && normalisation.mean.length !== normalisation.std.length) {
    throw unusableJson(path, '"normalisation" with a mean and a std of different lengths', WORDS);
  }
  return {
    // Inputs of one number each have a shape without sizes, which says nothing of a network's input.
    inputShape: input_shape && input_shape.length > 0 ? input_shape : undefined,
    mode: mode ?? undefined,
    batchSize: batch_size ?? undefined,
    normalisation: normalisation ?? undefined,
    script: typeof script === 'string' && typeof line === 'number' ? { file: script, line } : undefined,
    round: round ?? undefined,
  };
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
