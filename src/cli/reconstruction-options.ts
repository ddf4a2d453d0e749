import {
  ATTACKS,
  ENGINE_CHOICES,
  type MatchingOverrides,
  PRESET_NAMES,
  type ReconstructionRequest,
} from '../protocol/audit-request.js';
import { NORMALISATIONS } from '../protocol/normalisations.js';
import { badArguments, numberOption, oneOf, wholeOption } from './arguments.js';

/** Command-line options of the reconstruction; each setting of gradient matching is one. */

const text = { type: 'string' } as const;

export const RECONSTRUCTION_OPTIONS = {
  attack: text,
  model: text,
  'input-shape': text,
  preset: text,
  engine: text,
  'time-limit': text,
  distance: text,
  terms: text,
  'feature-weight': text,
  labels: text,
  'total-variation': text,
  'norm-prior': text,
  optimiser: text,
  'learning-rate': text,
  iterations: text,
  restarts: text,
  seed: text,
  normalisation: text,
  lpips: text,
};

const DEFAULT_TIME_LIMIT = 600;

/**
 * @param value looks an option up by its name
 * @throws UnusableInputError for a value that is not allowed
 */
export function reconstructionRequest(value: (name: string) => string | undefined): ReconstructionRequest {
  const model = value('model');
  const lpips = value('lpips');
  const shape = value('input-shape');
  const normalisation = oneOf('--normalisation', value('normalisation'), ['cifar10', 'imagenet', 'none']);
  const settings = overrides(value);
  return {
    attack: oneOf('--attack', value('attack'), ATTACKS) ?? 'auto',
    preset: oneOf('--preset', value('preset'), PRESET_NAMES) ?? 'soft-label',
    engine: oneOf('--engine', value('engine'), ENGINE_CHOICES) ?? 'auto',
    timeLimitSeconds: numberOption(value, 'time-limit', 1e-3) ?? DEFAULT_TIME_LIMIT,
    ...(model === undefined ? {} : { model }),
    ...(lpips === undefined ? {} : { lpips }),
    ...(shape === undefined ? {} : { inputShape: inputShape(shape) }),
    ...(settings ? { settings } : {}),
    ...(normalisation === undefined || normalisation === 'none'
      ? {}
      : { normalisation: NORMALISATIONS[normalisation] }),
  };
}

function overrides(value: (name: string) => string | undefined): MatchingOverrides | undefined {
  const found: Partial<Record<keyof MatchingOverrides, unknown>> = {
    distance: oneOf('--distance', value('distance'), ['l2', 'cosine']),
    terms: oneOf('--terms', value('terms'), ['g', 'f', 'gf']),
    featureWeight: numberOption(value, 'feature-weight', 0),
    labels: oneOf('--labels', value('labels'), ['recovered', 'hard', 'free', 'true']),
    totalVariation: numberOption(value, 'total-variation', 0),
    normPrior: numberOption(value, 'norm-prior', 0),
    optimiser: oneOf('--optimiser', value('optimiser'), ['adam', 'lbfgs']),
    learningRate: numberOption(value, 'learning-rate', 0),
    iterations: wholeOption(value, 'iterations', 1),
    restarts: wholeOption(value, 'restarts', 1),
    seed: wholeOption(value, 'seed', 0),
  };
  const given = Object.entries(found).filter(([, own]) => own !== undefined);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

function inputShape(given: string): number[] {
  const sizes = given.split(/[x,]/).map(Number);
  if (sizes.length === 0 || sizes.some((size) => !Number.isInteger(size) || size < 1)) {
    throw badArguments(`--input-shape ${given}`, 'sizes such as 3x32x32');
  }
  return sizes;
}
