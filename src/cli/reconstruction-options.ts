import {
  ATTACKS,
  ENGINE_CHOICES,
  MATCHING_CHOICES,
  type MatchingOverrides,
  PRESET_NAMES,
  type ReconstructionRequest,
} from '../protocol/audit-request.js';
import { NORMALISATION_CHOICES, type Normalisation, chosenNormalisation } from '../protocol/normalisations.js';
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
  mean: text,
  std: text,
  'tfjs-folder': text,
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
  const tfjsFolder = value('tfjs-folder');
  const normalisation = normalisationOption(value);
  const settings = overrides(value);
  return {
    attack: oneOf('--attack', value('attack'), ATTACKS) ?? 'auto',
    preset: oneOf('--preset', value('preset'), PRESET_NAMES) ?? 'soft-label',
    engine: oneOf('--engine', value('engine'), ENGINE_CHOICES) ?? 'auto',
    timeLimitSeconds: numberOption(value, 'time-limit', 1e-3) ?? DEFAULT_TIME_LIMIT,
    ...(model === undefined ? {} : { model }),
    ...(lpips === undefined ? {} : { lpips }),
    ...(shape === undefined ? {} : { inputShape: sizesOf(shape) }),
    ...(settings ? { settings } : {}),
    ...(tfjsFolder === undefined ? {} : { tfjsFolder }),
    ...(normalisation === undefined ? {} : { normalisation }),
  };
}

/** A mean and a deviation are a choice by themselves. */
function normalisationOption(value: (name: string) => string | undefined): Normalisation | null | undefined {
  const own = { mean: numbers(value, 'mean'), std: numbers(value, 'std') };
  const isGiven = own.mean.length + own.std.length > 0;
  const choice = oneOf('--normalisation', value('normalisation'), NORMALISATION_CHOICES);
  if (isGiven && choice !== undefined && choice !== 'custom') {
    throw badArguments(`--normalisation ${choice} with --mean or --std`, 'one of both');
  }
  return chosenNormalisation(choice ?? (isGiven ? 'custom' : 'capture'), own, {
    file: 'command line',
    advice: 'Give both, such as --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25.',
  });
}

function numbers(value: (name: string) => string | undefined, name: string): number[] {
  const given = value(name);
  const found = given?.split(',').map((own) => (own.trim() === '' ? NaN : Number(own))) ?? [];
  if (!found.every(Number.isFinite)) {
    throw badArguments(`--${name} ${given ?? ''}`, 'a number for each channel, such as 0.5,0.5,0.5');
  }
  return found;
}

function overrides(value: (name: string) => string | undefined): MatchingOverrides | undefined {
  const found: Partial<Record<keyof MatchingOverrides, unknown>> = {
    distance: oneOf('--distance', value('distance'), MATCHING_CHOICES.distance),
    terms: oneOf('--terms', value('terms'), MATCHING_CHOICES.terms),
    featureWeight: numberOption(value, 'feature-weight', 0),
    labels: oneOf('--labels', value('labels'), MATCHING_CHOICES.labels),
    totalVariation: numberOption(value, 'total-variation', 0),
    normPrior: numberOption(value, 'norm-prior', 0),
    optimiser: oneOf('--optimiser', value('optimiser'), MATCHING_CHOICES.optimiser),
    learningRate: numberOption(value, 'learning-rate', 0),
    iterations: wholeOption(value, 'iterations', 1),
    restarts: wholeOption(value, 'restarts', 1),
    seed: wholeOption(value, 'seed', 0),
  };
  const given = Object.entries(found).filter(([, own]) => own !== undefined);
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** @throws UnusableInputError for what is no shape */
export function sizesOf(given: string): number[] {
  const sizes = given.split(/[x,]/).map(Number);
  if (sizes.length === 0 || sizes.some((size) => !Number.isInteger(size) || size < 1)) {
    throw badArguments(`--input-shape ${given}`, 'sizes such as 3x32x32');
  }
  return sizes;
}
