import { leastAssignment } from '../assignment.js';

/** What several searches, each begun elsewhere and in another order of samples, found alike. */

/** Deviations below this share of the range are none: even greys and colours agree with all that is even. */
const LEAST_CONTRAST = 0.05;

export interface AgreedImages {
  /** The mean over the searches, N x d, in the order of the labels. */
  readonly images: Float64Array;
  /**
   * Of each image, the lowest correlation between two searches, over its numbers less each channel's mean: 1 where they found
   * the same, about 0 where nothing but chance or an even colour is common to them. N numbers; undefined for a single search. It says
   * that searches come out alike, and not that they are right: samples of one class that are much alike come out as their mean.
   */
  readonly agreement: readonly number[] | undefined;
}

/**
 * Samples of one class can come out in any order, so images are matched within classes, first to those of the first search, then
 * to the mean.
 *
 * @param searches N x d each, the one that explains most first; at least one
 * @param labels class of each sample, the same in all
 * @param range between the lowest and the highest value of each channel
 * @param pause called between rows; may throw to stop
 */
export async function agreedImages(
  searches: readonly Float64Array[],
  labels: readonly number[],
  range: readonly number[],
  pause: () => Promise<void>,
): Promise<AgreedImages> {
  const samples = labels.length;
  const [first = new Float64Array(0)] = searches;
  const size = first.length / samples;
  let matched: Float64Array[] = [];
  for (const own of searches) {
    matched.push(await inOrderOf(first, own, labels, size, pause));
  }
  const mean = meanOf(matched);
  const again: Float64Array[] = [];
  for (const own of matched) {
    again.push(await inOrderOf(mean, own, labels, size, pause));
  }
  matched = again;
  const pairs = matched.flatMap((one, at) => matched.slice(at + 1).map((other) => [one, other] as const));
  return {
    images: meanOf(matched),
    agreement:
      pairs.length === 0
        ? undefined
        : labels.map((_, row) =>
            pairs.reduce((least, [one, other]) => Math.min(least, correlation(one, other, row * size, size, range)), 1),
          ),
  };
}

async function inOrderOf(
  target: Float64Array,
  images: Float64Array,
  labels: readonly number[],
  size: number,
  pause: () => Promise<void>,
): Promise<Float64Array> {
  const out = new Float64Array(images.length);
  for (const label of new Set(labels)) {
    const rows = [...labels.keys()].filter((row) => labels[row] === label);
    const costs: number[][] = [];
    for (const row of rows) {
      costs.push(rows.map((other) => squaredDistance(target, row * size, images, other * size, size)));
      await pause();
    }
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

function correlation(
  one: Float64Array,
  other: Float64Array,
  from: number,
  size: number,
  range: readonly number[],
): number {
  const plane = size / range.length;
  let [product, first, second] = [0, 0, 0];
  for (const [channel, width] of range.entries()) {
    const start = from + channel * plane;
    const mean = (of: Float64Array): number =>
      of.subarray(start, start + plane).reduce((sum, own) => sum + own, 0) / plane;
    const [a, b] = [mean(one), mean(other)];
    for (let at = start; at < start + plane; at++) {
      const [x, y] = [(one[at]! - a) / width, (other[at]! - b) / width];
      product += x * y;
      first += x * x;
      second += y * y;
    }
  }
  return product / Math.max(Math.sqrt(first * second), size * LEAST_CONTRAST ** 2);
}
