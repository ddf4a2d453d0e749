import { FLOAT32_ROUNDOFF } from '../head-gradient.js';
import type { SolvedPatches } from './solve-patches.js';

/**
 * `exact`, `close`: of one sample, up to the expected error. `batch`: the equations that hold for any number of samples hold,
 * the one of a single sample does not. `unfit`: nothing tells why it does not. `uncertain`: the errors are as large as the image.
 */
export type PatchVerdict = 'exact' | 'close' | 'batch' | 'unfit' | 'uncertain';

/** Rounding in a network leaves 2 to 4 units. */
const FLOORS = 16;
/** Two samples of equal weight leave 0.05 and more; below this a second one weighs too little to be seen. */
const ONE_SAMPLE = 2e-3;
/** How much better the equations of any batch hold than that of one sample before it is told to be a batch. */
const BETTER = 30;
/** Expected error over the image's spread. */
const MOST_ERROR = { exact: 0.01, close: 0.2 };

/** What rounding leaves of the equations: the coarser of the file's type and float32, which most gradients are computed in. */
export function floorOf(roundoff: number): number {
  return Math.max(roundoff, FLOAT32_ROUNDOFF);
}

/**
 * @param misfit of the equations that hold for any number of samples (leading-tokens.ts), null without any
 * @param roundoff unit roundoff of the coarser of both tensors
 */
export function judgePatches(
  { residual, expectedError, spread }: SolvedPatches,
  misfit: number | null,
  roundoff: number,
): PatchVerdict {
  if (!(residual <= ONE_SAMPLE)) {
    if (misfit === null) {
      return 'unfit';
    }
    if (misfit * BETTER < residual) {
      return 'batch';
    }
  }
  if (!(expectedError <= MOST_ERROR.close * spread)) {
    return 'uncertain';
  }
  // A factor between both tensors leaves no trace in the least squares, and breaks the other equations.
  const isConfirmed = misfit !== null && residual <= FLOORS * floorOf(roundoff);
  const isExact = isConfirmed && expectedError <= MOST_ERROR.exact * spread;
  return isExact ? 'exact' : 'close';
}
