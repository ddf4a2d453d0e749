import type { TensorFile } from '../formats/tensor-file.js';
import type { UpdateReport } from '../protocol/report.js';

/** A gradient that was given without its checkpoint: what stands in for it, for methods that read nothing of one. */

/** The gradient's own names and shapes, which match themselves, and no numbers. */
export function namesOf({ path, format, entries }: TensorFile): TensorFile {
  return {
    path,
    format,
    entries,
    foreignGlobals: [],
    notes: [],
    read: () => {
      throw new TypeError('No checkpoint was given: a method that needs one must not run.');
    },
    close: () => undefined,
  };
}

/** Without weights to compare with, numbers are taken as they are. */
export const UPDATE_ALONE: UpdateReport = {
  kind: 'unknown',
  reasons: ['No checkpoint was given to compare with, so the file is taken as a gradient.'],
  sign: 1,
  absoluteError: null,
};

export const NO_CHECKPOINT =
  'Labels, features and inputs were not assessed, because no checkpoint was given: they need the weights.';
