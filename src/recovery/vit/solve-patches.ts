import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower, solveUpper } from '../cholesky.js';
import { type Matrix, transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { most, norm } from '../vectors.js';

/** The patches of one sample, and how sure they are. */
export interface SolvedPatches {
  /** tokens x numbers of a patch, row-major; in the units that the network takes. */
  readonly patches: Float64Array;
  /** ||G - A^T X|| / ||G||. */
  readonly residual: number;
  /** Root mean square error to be expected of one number, in its units, from what the equations leave. */
  readonly expectedError: number;
  /** The same for the patch that is worst off. */
  readonly worstError: number;
  /** Root mean square deviation of all numbers from their mean. */
  readonly spread: number;
}

/**
 * Solves G = A^T X in the sense of least squares: the patch embedding is linear and nothing else is added to its output but
 * the position embedding, so its gradient is sum_t a_t x_t^T, with a_t = dL/d(position embedding)[t] for one sample. A scale
 * that both tensors share cancels. d equations for each column of X: what d - tokens of them leave over tells the errors.
 *
 * @param position A, tokens x d, rows of patches only; tokens < d
 * @param gradient G transposed, numbers of a patch x d
 * @param pause called several times a second
 * @returns undefined where the rows of A are not independent down to rounding
 */
export async function solvePatches(
  position: Matrix,
  gradient: Matrix,
  product: ProductKernel,
  pause: Pause,
): Promise<SolvedPatches | undefined> {
  const { rows: tokens, cols: width, data } = position;
  const numbers = gradient.rows;
  const inverse = await inverseOfGram(position, product, pause);
  if (!inverse) {
    return undefined;
  }
  const across = transposed(data, tokens, width);
  const solve = async (right: Float64Array): Promise<Float64Array> =>
    product(await product(right, data, numbers, tokens, width), inverse, numbers, tokens, tokens);
  const left = async (found: Float64Array): Promise<Float64Array> => {
    const explained = await product(found, across, numbers, width, tokens);
    return gradient.data.map((value, at) => value - explained[at]!);
  };
  // The Gram matrix squares the condition; one refinement takes back what that costs.
  const first = await solve(gradient.data);
  const correction = await solve(await left(first));
  const found = first.map((value, at) => value + correction[at]!);
  const rest = norm(await left(found));
  const variance = rest ** 2 / (numbers * (width - tokens));
  // Errors of A pull X towards zero: by at most this much, were all that is left over theirs.
  const pull = await product(found, inverse, numbers, tokens, tokens);
  const pulled = width * variance * (numbers / Math.max(norm(found) ** 2, Number.MIN_VALUE));
  const biasOf = (token: number): number =>
    pulled * Math.sqrt(meanOf(numbers, (number) => pull[number * tokens + token]! ** 2));
  const errors = Float64Array.from({ length: tokens }, (_, token) =>
    Math.hypot(Math.sqrt(variance * inverse[token * tokens + token]!), biasOf(token)),
  );
  return {
    patches: transposed(found, numbers, tokens),
    residual: rest / norm(gradient.data),
    expectedError: norm(errors) / Math.sqrt(tokens),
    worstError: most(errors),
    spread: spreadOf(found),
  };
}

/** (A A^T)^-1, tokens x tokens; undefined when it is singular down to rounding. */
async function inverseOfGram(
  { rows, cols, data }: Matrix,
  product: ProductKernel,
  pause: Pause,
): Promise<Float64Array | undefined> {
  const gram = await product(data, data, rows, rows, cols);
  const factor = await factorise(gram, rows, product);
  if (factor.deficiency > 0) {
    return undefined;
  }
  const inverse = new Float64Array(rows * rows);
  for (let row = 0; row < rows; row++) {
    const unit = inverse.subarray(row * rows, (row + 1) * rows);
    unit[row] = 1;
    solveUpper(factor, solveLower(factor, unit, row));
    if (row % ROWS_BETWEEN_PAUSES === 0) {
      await pause();
    }
  }
  return inverse;
}

const ROWS_BETWEEN_PAUSES = 16;

function meanOf(count: number, value: (at: number) => number): number {
  let sum = 0;
  for (let at = 0; at < count; at++) {
    sum += value(at);
  }
  return sum / count;
}

function spreadOf(values: Float64Array): number {
  const mean = meanOf(values.length, (at) => values[at]!);
  return Math.sqrt(meanOf(values.length, (at) => (values[at]! - mean) ** 2));
}
