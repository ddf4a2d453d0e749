import { least, most } from '../../recovery/vectors.js';

/** How near a guess comes to a picture: PSNR in dB, with the brightness and contrast that bring it nearest, since neither hides one. */

/** Numbers that agree further are told by none apart. */
export const MOST_DECIBELS = 100;

export interface FittedPicture {
  /** At most {@link MOST_DECIBELS}. */
  readonly psnr: number;
  /** The guess at the brightness and contrast of the truth: `slope` times its numbers, plus `offset`. */
  readonly slope: number;
  readonly offset: number;
}

/**
 * @param truth its range is the peak
 * @returns undefined where lengths differ
 */
export function fittedTo(guess: ArrayLike<number>, truth: ArrayLike<number>): FittedPicture | undefined {
  if (guess.length !== truth.length || truth.length === 0) {
    return undefined;
  }
  const [own, other] = [momentsOf(guess), momentsOf(truth)];
  let product = 0;
  for (let at = 0; at < truth.length; at++) {
    product += ((guess[at] ?? 0) - own.mean) * ((truth[at] ?? 0) - other.mean);
  }
  const slope = product / own.squares;
  if (!Number.isFinite(slope)) {
    return { psnr: decibels(other.range, other.squares / truth.length), slope: 0, offset: other.mean };
  }
  const left = Math.max(other.squares - slope * product, 0);
  return { psnr: decibels(other.range, left / truth.length), slope, offset: other.mean - slope * own.mean };
}

/** Of the best picture of one colour: what guessing gives. */
export function flatPsnr(truth: ArrayLike<number>): number {
  const { squares, range } = momentsOf(truth);
  return decibels(range, squares / Math.max(truth.length, 1));
}

function decibels(peak: number, error: number): number {
  return Math.min(MOST_DECIBELS, 10 * Math.log10((peak * peak) / Math.max(error, Number.MIN_VALUE)));
}

function momentsOf(numbers: ArrayLike<number>): { mean: number; squares: number; range: number } {
  const values = Float64Array.from(numbers);
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
  return {
    mean,
    squares: values.reduce((sum, value) => sum + (value - mean) ** 2, 0),
    range: Math.max(most(values) - least(values), Number.MIN_VALUE),
  };
}
