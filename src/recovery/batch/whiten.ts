import { type HeadGradient, columnSumNorm } from '../head-gradient.js';
import { type Matrix, withColumn } from '../linear-algebra.js';
import { type Pivoting, type TruncatedSvd, truncatedSvd } from '../truncated-svd.js';
import { norm } from '../vectors.js';
import type { Pause } from '../pause.js';

/**
 * The head's gradient in units of its own noise, factored. Rounding errs in proportion to each number, and the
 * rows of a trained head's gradient differ by many orders of magnitude: once every row is divided by its error,
 * samples stand out that the plain spectrum hides (a gap of 13 becomes one of 10^5), p - y is known class by
 * class down to its last digit, and one threshold tells samples from noise.
 */
export interface WhitenedHead {
  /** K. */
  readonly classes: number;
  /** d, or d + 1 when the bias gradient is there: it is the weight gradient of a feature that is always 1. */
  readonly columns: number;
  readonly hasBiasColumn: boolean;
  /** Standard error of a number in each row of the gradient, K, in the gradient's units. */
  readonly rowError: Float64Array;
  /** Relative size of each column: an entry's error is rowError[k] columnScale[j] sigma. */
  readonly columnScale: Float64Array;
  /** The gradient, K x columns, as captured. */
  readonly gradient: Matrix;
  /** Weight (and bias column) times columnScale: logits = weight q for a feature q in whitened units. */
  readonly weight: Matrix;
  /** Added to the logits: the bias of a head whose bias gradient is not in the dump. */
  readonly offset: Float64Array | undefined;
  /** Of the gradient divided by rowError and columnScale; largest first, down to the floor. */
  readonly svd: TruncatedSvd;
  /** Standard deviation of what the SVD leaves, per entry, in whitened units; about 1. */
  readonly sigma: number;
  /** Standard deviation of added noise per entry, in the gradient's units; 0 when there is only rounding. */
  readonly noise: number;
}

/** Singular values above this many times what white noise of unit deviation gives are samples. */
const ROUNDING_MARGIN = 60;
/** Added noise is white, unlike rounding, so its largest singular value is known better. */
const NOISE_MARGIN = 1.4;
/** Column sums larger than this many times what rounding leaves are noise, when the rank is saturated too. */
const NOISY_SUM = 30;
/** With more directions than this share of what is possible, nothing is left to tell noise by. */
const MOST_SHARE = 0.8;
/** Larger batches than this are not factored. */
const MOST_RANK = 320;
/** The residual's rows count as equally long below this ratio of the largest to the mean square. */
const FLAT = 1.7;

/**
 * @param pause called with the number of directions found, so that a caller can report and cancel
 */
export async function whiten(head: HeadGradient, pause: Pause<number>): Promise<WhitenedHead> {
  const hasBiasColumn = head.biasGradient?.some((value) => value !== 0) ?? false;
  const gradient = hasBiasColumn ? withColumn(head.weightGradient, head.biasGradient!) : head.weightGradient;
  const weight = hasBiasColumn ? withColumn(head.weight, head.bias ?? new Float64Array(head.weight.rows)) : head.weight;
  const possible = Math.min(gradient.rows - 1, gradient.cols, MOST_RANK);
  let scaling = scalingOf(gradient, head, 0);
  const rounding: Pivoting = { floor: floorOf(gradient, ROUNDING_MARGIN), most: possible };
  const columnSum = columnSumNorm(gradient) / norm(gradient.data);
  const isNoisy = columnSum > (NOISY_SUM * head.roundoff) / Math.sqrt(3);
  let found = await factor(gradient, scaling, { ...rounding, unlessSaturated: isNoisy }, pause);
  let noise = 0;
  if (found.svd.saturated && isNoisy && possible > 2) {
    const white: Pivoting = { floor: 0, most: Math.floor(MOST_SHARE * possible), flat: FLAT };
    noise = (await factor(gradient, { rows: ones(gradient.rows), columns: ones(gradient.cols) }, white, pause)).sigma;
    for (let pass = 0; pass < 2; pass++) {
      scaling = scalingOf(gradient, head, noise);
      found = await factor(gradient, scaling, { ...white, floor: floorOf(gradient, NOISE_MARGIN) }, pause);
      noise *= found.sigma;
    }
  }
  const scaledWeight = weight.data.map((value, at) => value * scaling.columns[at % weight.cols]!);
  return {
    classes: gradient.rows,
    columns: gradient.cols,
    hasBiasColumn,
    rowError: scaling.rows,
    columnScale: scaling.columns,
    gradient,
    weight: { ...weight, data: scaledWeight },
    offset: hasBiasColumn ? undefined : head.bias,
    svd: found.svd,
    sigma: Math.max(found.sigma, 1e-3),
    noise,
  };
}

interface Scaling {
  readonly rows: Float64Array;
  readonly columns: Float64Array;
}

function scalingOf(gradient: Matrix, head: HeadGradient, noise: number): Scaling {
  const { rows, cols, data } = gradient;
  const squares = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      squares[row]! += data[row * cols + col]! ** 2 / cols;
    }
  }
  const largest = Math.sqrt(squares.reduce((top, value) => Math.max(top, value), 0));
  const least = 1e-9 * head.roundoff * largest;
  const errors = squares.map((square) =>
    Math.sqrt((square * head.roundoff ** 2) / 3 + head.underflow ** 2 / 12 + noise ** 2 + least ** 2),
  );
  const columns = new Float64Array(cols).fill(1);
  if (noise === 0) {
    const sizes = new Float64Array(cols);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        sizes[col]! += (data[row * cols + col]! / errors[row]!) ** 2;
      }
    }
    const mean = sizes.reduce((sum, value) => sum + value, 0) / cols;
    columns.set(sizes.map((size) => Math.max(Math.sqrt(size / mean), 1e-4)));
  }
  return { rows: errors, columns };
}

function ones(length: number): Float64Array {
  return new Float64Array(length).fill(1);
}

function floorOf({ rows, cols }: Matrix, margin: number): number {
  return margin * (Math.sqrt(rows) + Math.sqrt(cols));
}

async function factor(
  { rows, cols, data }: Matrix,
  scaling: Scaling,
  pivoting: Pivoting,
  pause: Pause<number>,
): Promise<{ svd: TruncatedSvd; sigma: number }> {
  const whitened = data.map((value, at) => value / scaling.rows[Math.floor(at / cols)]! / scaling.columns[at % cols]!);
  const svd = await truncatedSvd({ rows, cols, data: whitened }, pivoting, pause);
  // Of one row too many is known that it is minus the sum of the others.
  const freedom = Math.max((rows - 1 - svd.rank) * (cols - svd.rank), 1);
  return { svd, sigma: svd.residual / Math.sqrt(freedom) };
}
