import { type Matrix } from './linear-algebra.js';
import { dot, norm } from './vectors.js';

/**
 * A malicious server's trap ("Robbing the Fed", Fowl et al., ICLR 2022): a linear layer whose rows all measure the same thing
 * and whose biases are thresholds for it. Each input of a batch activates the rows up to its own measure, so that neighbouring
 * rows' gradients differ by the inputs in between, and a bin with one input gives it away exactly.
 */

export interface Trap {
  /** Row indices by rising threshold: from the row that most inputs activate to the one that fewest do. */
  readonly order: readonly number[];
  /** Largest relative distance of a row from the mean row. */
  readonly spread: number;
}

/** A bin's content, computed from the difference of two rows. */
export interface Imprint {
  /** Which pair of neighbours, counted from the lowest threshold. */
  readonly bin: number;
  /** The layer's input, `cols` numbers; a weighted mean where several inputs fell into the bin. */
  readonly input: Float64Array;
  /** True when the input's own measure lies in the bin, as that of a single input must. */
  readonly consistent: boolean;
}

const LEAST_ROWS = 8;
const MOST_SPREAD = 1e-2;
/** Differences of bias gradients below this share of the largest are rounding. */
const LEAST_DIFFERENCE = 1e-5;
/** Of the width of a bin, for rounding. */
const SLACK = 1e-2;

/**
 * @param weight rows x cols, as PyTorch stores a linear layer
 * @param bias one number per row
 * @returns undefined for a layer that is no trap: rows that differ, or biases that are equal
 */
export function findTrap(weight: Matrix, bias: Float64Array): Trap | undefined {
  const { rows, cols, data } = weight;
  if (rows < LEAST_ROWS || cols < 2 || bias.length !== rows) {
    return undefined;
  }
  const mean = new Float64Array(cols);
  for (let at = 0; at < data.length; at++) {
    mean[at % cols]! += data[at]! / rows;
  }
  const size = norm(mean);
  if (!(size > 0)) {
    return undefined;
  }
  let spread = 0;
  for (let row = 0; row < rows; row++) {
    let square = 0;
    for (let col = 0; col < cols; col++) {
      square += (data[row * cols + col]! - mean[col]!) ** 2;
    }
    spread = Math.max(spread, Math.sqrt(square) / size);
    if (spread > MOST_SPREAD) {
      return undefined;
    }
  }
  const order = [...bias.keys()].sort((one, other) => bias[other]! - bias[one]!);
  const isMonotone = order.every((row, at) => at === 0 || bias[row]! < bias[order[at - 1]!]!);
  const isInOrder = order.every((row, at) => row === at) || order.every((row, at) => row === rows - 1 - at);
  return isMonotone && isInOrder ? { order, spread } : undefined;
}

/**
 * Reads the bins of a trap out of the layer's gradient.
 *
 * @param weightGradient rows x cols
 * @param biasGradient one number per row
 */
export function readTrap(
  trap: Trap,
  weight: Matrix,
  bias: Float64Array,
  weightGradient: Matrix,
  biasGradient: Float64Array,
): Imprint[] {
  const { cols } = weight;
  const rowOf = (matrix: Matrix, row: number): Float64Array => matrix.data.subarray(row * cols, (row + 1) * cols);
  const largest = biasGradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const found: Imprint[] = [];
  trap.order.forEach((row, bin) => {
    // Above the last threshold there is nothing to subtract.
    const next = trap.order[bin + 1];
    const share = biasGradient[row]! - (next === undefined ? 0 : biasGradient[next]!);
    if (!(Math.abs(share) > LEAST_DIFFERENCE * largest)) {
      return;
    }
    const upper = next === undefined ? undefined : rowOf(weightGradient, next);
    const input = rowOf(weightGradient, row).map((value, col) => (value - (upper?.[col] ?? 0)) / share);
    const measure = dot(rowOf(weight, row), input);
    const low = -bias[row]!;
    const high = next === undefined ? Infinity : -bias[next]!;
    const slack = SLACK * (Number.isFinite(high) ? high - low : Math.abs(low) || 1);
    found.push({ bin, input, consistent: measure > low - slack && measure < high + slack });
  });
  return found;
}
