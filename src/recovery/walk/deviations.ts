import { norm } from '../vectors.js';

/** How far values found may be off, entry by entry, and which of them are zero. */

/** Standard error of an entry. */
export type Deviation = (at: number) => number;

/** Standard errors below which a value is called zero. */
const SIGNIFICANT = 10;
/** What noise makes of zeros; a mixture of samples is as negative as not. */
export const MOST_NEGATIVE = 0.03;
/** Between these many standard errors, a value may be zero and may not. */
const LEAST_DOUBT = 4.5;
const MOST_DOUBT = 40;

/** What does not stand out from its standard error is zero. */
export function cleaned(values: Float64Array, deviation: Deviation): Float64Array {
  return values.map((own, at) => (own > SIGNIFICANT * deviation(at) ? own : 0));
}

/** 1 where a value is too near to zero to be certain of either. */
export function doubtsOf(values: Float64Array, deviation: Deviation): Uint8Array {
  return Uint8Array.from(values, (own, at) =>
    Number(own > LEAST_DOUBT * deviation(at) && own < MOST_DOUBT * deviation(at)),
  );
}

/** Of values that cannot be negative, the negative ones tell the noise: each sample has its own. */
export function negativeDeviations(values: Float64Array, batch: number): Deviation {
  const size = values.length / batch;
  const deviations = Array.from({ length: batch }, (_, b) => {
    let sum = 0;
    let count = 0;
    for (let at = b * size; at < (b + 1) * size; at++) {
      const own = values[at]!;
      if (own < 0) {
        sum += own * own;
        count++;
      }
    }
    return Math.sqrt(sum / Math.max(1, count));
  });
  return (at) => deviations[Math.floor(at / size)]!;
}

export function relativeError(values: Float64Array, deviation: Deviation): number {
  return Math.sqrt(values.reduce((sum, _, at) => sum + deviation(at) ** 2, 0)) / norm(values);
}

/** Size of what is negative, relative to the values'. */
export function negativeShare(values: Float64Array): number {
  return (
    Math.sqrt(values.reduce((sum, own) => sum + Math.min(own, 0) ** 2, 0)) / Math.max(norm(values), Number.MIN_VALUE)
  );
}
