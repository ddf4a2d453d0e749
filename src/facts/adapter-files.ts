import { existsSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { openTensorFile } from '../formats/open.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { isFactor } from '../network/transformers/adapters.js';
import { UnusableInputError } from '../protocol/errors.js';
import { ADAPTER_FILES, type AuditPaths, BASE_FILES, filesBeside } from './inputs.js';

/**
 * What a checkpoint lacks where the gradient is of adapters: those beside a base model, or the base model beside adapters.
 *
 * @returns undefined where the checkpoint holds both, or the gradient is of something else
 * @throws UnusableInputError when the other half is missing, or cannot be opened
 */
export function otherHalfOf(checkpoint: TensorFile, gradients: TensorFile, paths: AuditPaths): TensorFile | undefined {
  const count = checkpoint.entries.filter(({ name }) => isFactor(name)).length;
  const isHalf = count === 0 || count === checkpoint.entries.length;
  if (!isHalf || !gradients.entries.some(({ name }) => isFactor(name))) {
    return undefined;
  }
  const wanted = count === 0 ? ADAPTER_FILES : BASE_FILES;
  const [found] = filesBeside(paths, wanted).filter((path) => !isSame(path, checkpoint.path));
  if (found === undefined) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: checkpoint.path,
      found: count === 0 ? 'a model without the adapters that the gradient is of' : 'adapters without their model',
      expected: `${wanted.join(' or ')} beside it, or one file with both`,
      advice: 'Put the files of save_pretrained into one folder, adapter_config.json among them.',
    });
  }
  return openTensorFile(found);
}

function isSame(one: string, other: string): boolean {
  return basename(one) === basename(other) && existsSync(other) && realpathSync(one) === realpathSync(other);
}
