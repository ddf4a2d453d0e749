import type * as vscode from 'vscode';
import {
  ATTACKS,
  ENGINE_CHOICES,
  type MatchingOverrides,
  PRESET_NAMES,
  type ReconstructionRequest,
} from '../protocol/audit-request.js';
import { NORMALISATION_CHOICES, chosenNormalisation } from '../protocol/normalisations.js';
import { SETTINGS } from './ids.js';

/**
 * The user's settings as a request; values that are not allowed count as unset.
 *
 * @throws UnusableInputError for a mean and a deviation that do not normalise
 */
export function reconstructionSettings(settings: vscode.WorkspaceConfiguration): ReconstructionRequest {
  const text = (name: string): string => settings.get<string>(name, '').trim();
  const oneOf = <T extends string>(name: string, allowed: readonly T[], fallback: T): T =>
    allowed.find((own) => own === text(name)) ?? fallback;
  const model = text(SETTINGS.model);
  const lpips = text(SETTINGS.lpips);
  const tfjsFolder = text(SETTINGS.tfjsFolder);
  const shape = settings.get<number[]>(SETTINGS.inputShape, []);
  const numbers = (name: string): number[] => settings.get<unknown[]>(name, []).map(Number);
  const normalisation = chosenNormalisation(
    oneOf(SETTINGS.normalisation, NORMALISATION_CHOICES, 'capture'),
    { mean: numbers(SETTINGS.mean), std: numbers(SETTINGS.std) },
    { file: 'settings', advice: 'Give both, or choose another normalisation.' },
  );
  const overrides = settings.get<MatchingOverrides>(SETTINGS.matching, {});
  return {
    attack: oneOf(SETTINGS.attack, ATTACKS, 'auto'),
    preset: oneOf(SETTINGS.preset, PRESET_NAMES, 'soft-label'),
    engine: oneOf(SETTINGS.engine, ENGINE_CHOICES, 'auto'),
    timeLimitSeconds: Math.max(1, settings.get<number>(SETTINGS.timeLimit, 600)),
    ...(model === '' ? {} : { model }),
    ...(lpips === '' ? {} : { lpips }),
    ...(tfjsFolder === '' ? {} : { tfjsFolder }),
    ...(shape.length > 0 && shape.every((size) => Number.isInteger(size) && size > 0) ? { inputShape: shape } : {}),
    ...(Object.keys(overrides).length > 0 ? { settings: overrides } : {}),
    ...(normalisation === undefined ? {} : { normalisation }),
  };
}
