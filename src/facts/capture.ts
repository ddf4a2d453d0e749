import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';

/** What `gradleak_capture.py` notes beside a dump, in `capture.json`. */
export interface Capture {
  /** Shape of one input. */
  readonly inputShape: number[] | undefined;
  readonly mode: 'eval' | 'train' | undefined;
  readonly batchSize: number | undefined;
  readonly normalisation: { readonly mean: number[]; readonly std: number[] } | undefined;
  /** Absolute path and line, from 1, of the call that captured. */
  readonly script: { file: string; line: number } | undefined;
  /** Round of the training that the gradient is of, where the script noted one. */
  readonly round: number | undefined;
}

const CAPTURE_FILE = 'capture.json';
const MAX_BYTES = 2 ** 20;

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
  const bad = (found: string): UnusableInputError =>
    new UnusableInputError({
      code: 'malformed-file',
      file: path,
      found,
      expected: 'what gradleak_capture.py writes',
      advice: 'Capture again, or remove the file.',
    });
  let value: unknown;
  try {
    if (statSync(path).size > MAX_BYTES) {
      throw new Error('a file that is too large');
    }
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw bad(messageOf(error));
  }
  if (typeof value !== 'object' || value === null) {
    throw bad('no JSON object');
  }
  const { input_shape, mode, batch_size, normalisation, script, line, round } = value as Record<string, unknown>;
  const numbers = (own: unknown): number[] | undefined =>
    Array.isArray(own) && own.length > 0 && own.every((item) => typeof item === 'number' && Number.isFinite(item))
      ? (own as number[])
      : undefined;
  const { mean, std } = (typeof normalisation === 'object' && normalisation !== null ? normalisation : {}) as Record<
    string,
    unknown
  >;
  const means = numbers(mean);
  const deviations = numbers(std);
  return {
    inputShape: numbers(input_shape),
    mode: mode === 'eval' || mode === 'train' ? mode : undefined,
    batchSize: typeof batch_size === 'number' ? batch_size : undefined,
    normalisation: means && deviations?.length === means.length ? { mean: means, std: deviations } : undefined,
    script:
      typeof script === 'string' && typeof line === 'number' && Number.isInteger(line) && line > 0
        ? { file: script, line }
        : undefined,
    round: typeof round === 'number' && Number.isSafeInteger(round) && round >= 0 ? round : undefined,
  };
}
