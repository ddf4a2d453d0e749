import { basename, dirname } from 'node:path';
import type { FileKind } from '../protocol/inspection.js';
import type { RankedCheckpoint } from '../protocol/runner-messages.js';

/** Which checkpoint is so plainly the gradient's that nobody need be asked. */

const GRADIENTS: readonly (FileKind | undefined)[] = ['gradient', 'delta', 'optimiser-state'];

/** Names suggest which files hold gradients; the user decides. */
export function isNamedGradient(path: string): boolean {
  return /grad|delta|update/i.test(basename(path));
}

/**
 * The one file beside the gradient that fits it in full.
 *
 * @param remembered what the user chose for this folder before
 * @returns undefined where none or several do, where it may be another gradient, and where the user chose otherwise
 *   before, unless by mistake: what does not fit is no choice
 */
export function soleCheckpoint(
  candidates: readonly RankedCheckpoint[],
  gradients: string,
  remembered: string | undefined,
): string | undefined {
  const [sole, ...others] = candidates.filter(
    ({ path, fit, problem, kind }) =>
      dirname(path) === dirname(gradients) &&
      Math.round(100 * fit) === 100 &&
      problem === null &&
      !GRADIENTS.includes(kind) &&
      !isNamedGradient(path),
  );
  const isMistake = candidates.some(({ path, fit, problem }) => path === remembered && (fit === 0 || problem !== null));
  const isFree = remembered === undefined || isMistake || remembered === sole?.path;
  return others.length === 0 && isFree ? sole?.path : undefined;
}
