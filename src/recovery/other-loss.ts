import { type Matrix, multiplyTransposed } from './linear-algebra.js';
import { rankOne } from './rank-one.js';
import { dot, norm } from './vectors.js';

/** Telling a loss whose residuals do not sum to zero over the outputs from softmax cross-entropy with noise added. */

/** Below this, what is not of rank one is small: a single sample, whose activation recovery finds out itself. */
const NEARLY_RANK_ONE = 0.05;
/** Directions in few dimensions agree by chance. */
const FEWEST_FEATURES = 8;
/** Zeros scattered over more than this share: pruned numbers, whose sums are of their own kind. */
const MOST_SCATTERED = 0.05;
/** Rounding errs in proportion to the numbers, which would look like structure: the sum must be far above it. */
const FAR_ABOVE = 10;
/** Share of the energy that noise must leave in directions without samples; a tenth would do, factors of ten are cheap. */
const LEAST_LEFT = 0.01;
const MOST_DIRECTIONS = 128;
/** Standard deviations of a correlation that chance does not reach over the columns. */
const CORRELATED = 5;

/**
 * Whether a batch's gradient misses the zero sum over the classes, 1^T G = 0, in a way that independent noise on its numbers
 * does not: noise leaves no column untouched, fills the directions that no sample has, and its sums have nothing to do with
 * the features, whereas another loss sums to sum_n (sum_k r_nk) x_n, a combination of features.
 *
 * @param g K x d
 * @param allowed what rounding explains of ||1^T G|| / ||G||
 * @returns false also where it cannot be told: one sample, pruned numbers, few features
 */
export function hasOtherLoss(g: Matrix, allowed: number): boolean {
  const size = norm(g.data);
  const sums = multiplyTransposed(g, new Float64Array(g.rows).fill(1));
  if (g.cols < FEWEST_FEATURES || !(norm(sums) > FAR_ABOVE * allowed * size)) {
    return false;
  }
  const zeros = new Int32Array(g.cols);
  g.data.forEach((value, at) => (zeros[at % g.cols]! += value === 0 ? 1 : 0));
  const untouched = zeros.filter((count) => count === g.rows).length;
  const scattered = zeros.reduce((total, count) => total + (count < g.rows ? count : 0), 0);
  if (scattered > MOST_SCATTERED * g.data.length || rankOne(g).residual < NEARLY_RANK_ONE * size) {
    return false;
  }
  const centred = { ...g, data: g.data.map((value, at) => value - sums[at % g.cols]! / g.rows) };
  return (
    (untouched > 0 && scattered === 0) ||
    leavesDirectionsEmpty(centred, norm(sums) ** 2 / g.data.length) ||
    isAlongFeatures(centred, sums)
  );
}

/** Takes out row after row, the longest first: noise of the given variance would fill what is left of the others. */
function leavesDirectionsEmpty({ rows, cols, data }: Matrix, variance: number): boolean {
  const rest = data.slice();
  const limit = Math.min(rows - 1, cols) - 1;
  for (let taken = 0; taken < Math.min(limit, MOST_DIRECTIONS); taken++) {
    let longest = 0;
    let pivot = 0;
    let left = 0;
    for (let row = 0; row < rows; row++) {
      const own = rest.subarray(row * cols, (row + 1) * cols);
      const square = dot(own, own);
      left += square;
      if (square > longest) {
        longest = square;
        pivot = row;
      }
    }
    if (left < LEAST_LEFT * variance * (rows - 1 - taken) * (cols - taken)) {
      return true;
    }
    const direction = rest.slice(pivot * cols, (pivot + 1) * cols).map((value) => value / Math.sqrt(longest));
    for (let row = 0; row < rows; row++) {
      const along = dot(rest.subarray(row * cols, (row + 1) * cols), direction);
      for (let col = 0; col < cols; col++) {
        rest[row * cols + col]! -= along * direction[col]!;
      }
    }
  }
  return false;
}

/** By direction: the features' main one holds much of the sums. By size: the sums are large where the features are. */
function isAlongFeatures(centred: Matrix, sums: Float64Array): boolean {
  if (!(norm(centred.data) > 0)) {
    return true;
  }
  const { v } = rankOne(centred);
  if (dot(v, sums) ** 2 > Math.min(0.9, Math.max(0.25, 16 / sums.length)) * dot(sums, sums)) {
    return true;
  }
  const sizes = new Float64Array(sums.length);
  centred.data.forEach((value, at) => (sizes[at % sums.length]! += value * value));
  const ranks = [ranksOf(sizes), ranksOf(sums.map(Math.abs))] as const;
  return dot(...ranks) / (norm(ranks[0]) * norm(ranks[1])) > CORRELATED / Math.sqrt(sums.length);
}

/** Ranks around their mean: a few large columns must not decide alone. */
function ranksOf(values: Float64Array): Float64Array {
  const order = [...values.keys()].sort((one, other) => values[one]! - values[other]!);
  const ranks = new Float64Array(values.length);
  order.forEach((at, rank) => (ranks[at] = rank - (values.length - 1) / 2));
  return ranks;
}
