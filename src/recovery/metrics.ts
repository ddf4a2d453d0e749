/** How close a reconstruction is to the true input. */

export interface ImageMetrics {
  readonly mse: number;
  /** dB, with the true image's range as peak. */
  readonly psnr: number;
  /** dB, of what was found times the factor that brings it nearest to the truth. */
  readonly psnrFitted: number;
  /** dB, after rounding both to 256 levels over the true image's range. */
  readonly psnr8bit: number;
  /** Mean structural similarity (Wang et al. 2004), 11 x 11 Gaussian window of deviation 1.5; null for non-images. */
  readonly ssim: number | null;
}

/**
 * @param found,truth numbers of equal shape; channels x height x width for images
 * @throws RangeError when lengths differ
 */
export function compareImages(
  found: ArrayLike<number>,
  truth: ArrayLike<number>,
  shape: readonly number[],
): ImageMetrics {
  if (found.length !== truth.length) {
    throw new RangeError(`${found.length} numbers cannot be compared with ${truth.length}.`);
  }
  let low = Infinity;
  let high = -Infinity;
  for (const value of Array.from(truth)) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const range = Math.max(high - low, Number.MIN_VALUE);
  const level = (value: number): number => Math.round(255 * Math.min(Math.max((value - low) / range, 0), 1));
  let squares = 0;
  let levels = 0;
  let product = 0;
  let foundSquares = 0;
  for (let at = 0; at < truth.length; at++) {
    squares += (found[at]! - truth[at]!) ** 2;
    product += found[at]! * truth[at]!;
    foundSquares += found[at]! ** 2;
    levels += (level(found[at]!) - level(truth[at]!)) ** 2;
  }
  const mse = squares / truth.length;
  const factor = foundSquares > 0 ? product / foundSquares : 0;
  let fitted = 0;
  for (let at = 0; at < truth.length; at++) {
    fitted += (factor * found[at]! - truth[at]!) ** 2;
  }
  return {
    mse,
    psnr: decibel(range * range, mse),
    psnrFitted: decibel(range * range, fitted / truth.length),
    // One grey level in one place is the least that 8 bits can differ by.
    psnr8bit: decibel(255 * 255, Math.max(levels, 1) / truth.length),
    ssim: shape.length === 3 ? structuralSimilarity(found, truth, shape, range) : null,
  };
}

function decibel(peak: number, error: number): number {
  return 10 * Math.log10(peak / Math.max(error, Number.MIN_VALUE));
}

const WINDOW = 11;
const DEVIATION = 1.5;

function structuralSimilarity(
  found: ArrayLike<number>,
  truth: ArrayLike<number>,
  shape: readonly number[],
  range: number,
): number | null {
  const [channels, height, width] = shape as [number, number, number];
  if (height < WINDOW || width < WINDOW) {
    return null;
  }
  const kernel = Float64Array.from({ length: WINDOW }, (_, at) =>
    Math.exp(-((at - (WINDOW - 1) / 2) ** 2) / (2 * DEVIATION * DEVIATION)),
  );
  const weight = kernel.reduce((sum, value) => sum + value, 0);
  const c1 = (0.01 * range) ** 2;
  const c2 = (0.03 * range) ** 2;
  let total = 0;
  let count = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row + WINDOW <= height; row++) {
      for (let col = 0; col + WINDOW <= width; col++) {
        let x = 0;
        let y = 0;
        let xx = 0;
        let yy = 0;
        let xy = 0;
        for (let dy = 0; dy < WINDOW; dy++) {
          for (let dx = 0; dx < WINDOW; dx++) {
            const w = (kernel[dy]! * kernel[dx]!) / (weight * weight);
            const at = (channel * height + row + dy) * width + col + dx;
            const a = found[at]!;
            const b = truth[at]!;
            x += w * a;
            y += w * b;
            xx += w * a * a;
            yy += w * b * b;
            xy += w * a * b;
          }
        }
        total +=
          ((2 * x * y + c1) * (2 * (xy - x * y) + c2)) / ((x * x + y * y + c1) * (xx - x * x + (yy - y * y) + c2));
        count++;
      }
    }
  }
  return total / count;
}
