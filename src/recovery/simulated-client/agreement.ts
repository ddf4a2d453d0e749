import { leastAssignment } from '../assignment.js';

/** What several searches, each begun elsewhere and in another order of samples, found alike. */

/** Deviations below are none: even greys agree with everything else that is even. */
const LEAST_CONTRAST = 1e-3;

export interface AgreedImages {
  /** The mean over the searches, N x d, in the order of the labels. */
  readonly images: Float64Array;
  /**
   * Of each image, the lowest correlation between two searches, over its numbers: 1 where they found the same, about 0 where
   * nothing but chance or nothing but an even grey is common to them. N numbers; undefined for a single search.
   */
  readonly agreement: readonly number[] | undefined;
}

/**
 * Samples of one class can come out in any order, so images are matched within classes, first to those of the first search, then
 * to the mean.
 *
 * @param searches N x d each, the one that explains most first; at least one
 * @param labels class of each sample, the same in all
 */
export function agreedImages(searches: readonly Float64Array[], labels: readonly number[]): AgreedImages {
  const samples = labels.length;
  const [first = new Float64Array(0)] = searches;
  const size = first.length / samples;
  let matched = searches.map((own) => inOrderOf(first, own, labels, size));
  matched = matched.map((own) => inOrderOf(meanOf(matched), own, labels, size));
  const pairs = matched.flatMap((one, at) => matched.slice(at + 1).map((other) => [one, other] as const));
  return {
    images: meanOf(matched),
    agreement:
      pairs.length === 0
        ? undefined
        : labels.map((_, row) =>
            pairs.reduce((least, [one, other]) => Math.min(least, correlation(one, other, row * size, size)), 1),
          ),
  };
}

function inOrderOf(target: Float64Array, images: Float64Array, labels: readonly number[], size: number): Float64Array {
  const out = new Float64Array(images.length);
  for (const label of new Set(labels)) {
    const rows = [...labels.keys()].filter((row) => labels[row] === label);
    const costs = rows.map((row) =>
      rows.map((other) => squaredDistance(target, row * size, images, other * size, size)),
    );
    leastAssignment(costs).forEach((column, at) => {
      const from = rows[column]! * size;
      out.set(images.subarray(from, from + size), rows[at]! * size);
    });
  }
  return out;
}

function meanOf(all: readonly Float64Array[]): Float64Array {
  return Float64Array.from(all[0] ?? [], (_, at) => all.reduce((sum, own) => sum + own[at]!, 0) / all.length);
}

function squaredDistance(
  one: Float64Array,
  from: number,
  other: Float64Array,
  otherFrom: number,
  size: number,
): number {
  let sum = 0;
  for (let at = 0; at < size; at++) {
    sum += (one[from + at]! - other[otherFrom + at]!) ** 2;
  }
  return sum;
}

function correlation(one: Float64Array, other: Float64Array, from: number, size: number): number {
  const mean = (of: Float64Array): number => of.subarray(from, from + size).reduce((sum, own) => sum + own, 0) / size;
  const [a, b] = [mean(one), mean(other)];
  let [product, first, second] = [0, 0, 0];
  for (let at = from; at < from + size; at++) {
    const [x, y] = [one[at]! - a, other[at]! - b];
    product += x * y;
    first += x * x;
    second += y * y;
  }
  return product / (Math.sqrt(first * second) + size * LEAST_CONTRAST ** 2);
}
