import type { Histogram, TensorDifference, TensorStatistics } from '../protocol/inspection.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { type Pause, type ReadTensor, forEachPair, forEachPiece } from './pieces.js';

/** Statistics of tensors of any size, read piece by piece. */

/** Running moments of finite elements; pieces are merged as Chan, Golub and LeVeque (1979) do, so nothing cancels. */
class Moments {
  count = 0;
  mean = 0;
  /** Sum of squared deviations from the mean. */
  squares = 0;
  /** Largest magnitude, and the sum of squares in units of it: numbers near the ends of float64 neither over- nor underflow. */
  largest = 0;
  scaledSquares = 0;
  min = Infinity;
  max = -Infinity;
  zeros = 0;
  nans = 0;
  infinities = 0;

  add(values: Float64Array): void {
    let sum = 0;
    let count = 0;
    let largest = this.largest;
    for (const value of values) {
      if (Number.isFinite(value)) {
        sum += value;
        count++;
        largest = Math.max(largest, Math.abs(value));
        this.min = Math.min(this.min, value);
        this.max = Math.max(this.max, value);
        this.zeros += value === 0 ? 1 : 0;
      } else if (Number.isNaN(value)) {
        this.nans++;
      } else {
        this.infinities++;
      }
    }
    if (count === 0) {
      return;
    }
    const mean = sum / count;
    let squares = 0;
    let scaled = 0;
    const unit = largest || 1;
    for (const value of values) {
      if (Number.isFinite(value)) {
        squares += (value - mean) ** 2;
        scaled += (value / unit) ** 2;
      }
    }
    this.scaledSquares = this.scaledSquares * (this.largest / unit) ** 2 + scaled;
    this.largest = largest;
    const shift = mean - this.mean;
    const all = this.count + count;
    this.squares += squares + (shift * shift * this.count * count) / all;
    this.mean += (shift * count) / all;
    this.count = all;
  }
}

/**
 * Minimum, maximum, mean, deviation, norm and the rest of one tensor, in float64.
 *
 * @param pause called between pieces; what it throws ends the computation
 * @throws UnusableInputError when the tensor cannot be read
 */
export async function statisticsOf(file: TensorFile, entry: TensorEntry, pause: Pause): Promise<TensorStatistics> {
  const moments = new Moments();
  await forEachPiece(file, entry, pause, (values) => {
    moments.add(values);
  });
  const { count, mean, squares, min, max, zeros, nans, infinities, largest, scaledSquares } = moments;
  const some = count > 0;
  return {
    min: some ? min : null,
    max: some ? max : null,
    mean: some ? mean : null,
    std: count > 1 ? finiteOr(Math.sqrt(squares / (count - 1))) : null,
    norm: some ? finiteOr(largest * Math.sqrt(scaledSquares)) : null,
    zeros: some ? zeros / (count + nans + infinities) : 0,
    nans,
    infinities,
  };
}

/** Squares of numbers beyond 1e154 are more than float64 holds. */
function finiteOr(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/**
 * Counts of finite elements in equal bins between the smallest and the largest.
 *
 * @param range of the finite elements, as {@link statisticsOf} finds it
 */
export async function histogramOf(
  file: TensorFile,
  entry: TensorEntry,
  range: { low: number; high: number },
  bins: number,
  pause: Pause,
): Promise<Histogram> {
  const counts = new Array<number>(bins).fill(0);
  const { low, high } = range;
  const scale = high > low ? bins / (high - low) : 0;
  let notFinite = 0;
  await forEachPiece(file, entry, pause, (values) => {
    for (const value of values) {
      if (Number.isFinite(value)) {
        counts[Math.min(Math.floor((value - low) * scale), bins - 1)]!++;
      } else {
        notFinite++;
      }
    }
  });
  return { low, high, counts, notFinite };
}

/** Compares two tensors of one shape element by element, in float64. Elements that are not finite in both count as equal when they are alike. */
export async function differenceOf(here: ReadTensor, there: ReadTensor, pause: Pause): Promise<TensorDifference> {
  let most = 0;
  let squares = 0;
  let hereSquares = 0;
  let thereSquares = 0;
  let product = 0;
  let unequal = 0;
  await forEachPair(here, there, pause, (values, other) => {
    for (let at = 0; at < values.length; at++) {
      const a = values[at]!;
      const b = other[at]!;
      if (Object.is(a, b) || a === b) {
        hereSquares += Number.isFinite(a) ? a * a : 0;
        thereSquares += Number.isFinite(b) ? b * b : 0;
        product += Number.isFinite(a) ? a * b : 0;
        continue;
      }
      unequal++;
      most = Math.max(most, Math.abs(b - a));
      squares += (b - a) ** 2;
      hereSquares += a * a;
      thereSquares += b * b;
      product += a * b;
    }
  });
  if (unequal === 0) {
    return { status: 'equal', most: 0, relative: 0, cosine: hereSquares > 0 ? 1 : null };
  }
  return {
    status: 'changed',
    most: finiteOr(most),
    relative: hereSquares > 0 ? finiteOr(Math.sqrt(squares / hereSquares)) : null,
    cosine:
      hereSquares > 0 && thereSquares > 0 ? finiteOr(product / Math.sqrt(hereSquares) / Math.sqrt(thereSquares)) : null,
  };
}
