import { type AuditRequest, LAYOUTS, type Layout, METHODS } from '../protocol/audit-request.js';
import { messageOf } from '../protocol/errors.js';
import type { StatedTraining } from '../protocol/stated-training.js';
import { trainingOf } from '../words/training-words.js';
import { badArguments, numberOption, oneOf, wholeOption } from './arguments.js';
import { RECONSTRUCTION_OPTIONS, reconstructionRequest } from './reconstruction-options.js';

/** Options that say how an audit is done, whatever is audited. */

export const SETTINGS_OPTIONS = {
  head: { type: 'string' },
  layout: { type: 'string' },
  method: { type: 'string', default: 'auto' },
  'batch-size': { type: 'string' },
  training: { type: 'string' },
  'batch-time-limit': { type: 'string' },
  force: { type: 'boolean', default: false },
  ...RECONSTRUCTION_OPTIONS,
} as const;

export type AuditSettings = Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'>;

/** @throws UnusableInputError for a value that is not allowed */
export function settingsOf(text: (name: string) => string | undefined, force: boolean): AuditSettings {
  const head = text('head');
  const layout = layoutOption(text);
  const batchSize = wholeOption(text, 'batch-size', 1);
  const batchTime = numberOption(text, 'batch-time-limit', 1);
  const training = trainingOption(text);
  return {
    method: oneOf('--method', text('method'), METHODS) ?? 'auto',
    force,
    ...(batchSize === undefined ? {} : { batchSize }),
    ...(batchTime === undefined ? {} : { batchTimeLimitSeconds: batchTime }),
    ...(training === undefined ? {} : { training }),
    ...(head === undefined ? {} : { head }),
    ...(layout === undefined ? {} : { layout }),
    reconstruction: reconstructionRequest(text),
  };
}

/**
 * The same for many dumps: gradient matching takes minutes each, so it is only tried when asked for.
 *
 * @throws UnusableInputError also for what can only be said of one dump
 */
export function projectSettingsOf(text: (name: string) => string | undefined, force: boolean): AuditSettings {
  if (text('training') !== undefined) {
    throw badArguments(
      '--training with a folder of many dumps',
      'the folder of one dump; each of many has its capture.json',
    );
  }
  const { reconstruction, ...settings } = settingsOf(text, force);
  return {
    ...settings,
    ...(reconstruction
      ? { reconstruction: text('attack') ? reconstruction : { ...reconstruction, attack: 'chain' } }
      : {}),
  };
}

function trainingOption(text: (name: string) => string | undefined): StatedTraining | undefined {
  const line = text('training');
  try {
    return line === undefined ? undefined : trainingOf(line);
  } catch (error) {
    throw badArguments(`--training ${line}`, messageOf(error));
  }
}

export function layoutOption(text: (name: string) => string | undefined): Layout | undefined {
  const layout = oneOf('--layout', text('layout'), ['auto', ...LAYOUTS]);
  return layout === 'auto' ? undefined : layout;
}
