import type { TensorData } from '../../graph/tensor-graph.js';

/**
 * The size of an input that batch normalisation in train mode hides: scaled inputs have all but the same gradient. What
 * tells them apart is the constant that is added to variances, whose part falls with the square of the input's size.
 */

export interface Gain {
  /** What the input is to be multiplied by. */
  readonly factor: number;
  /** Standard error of that, relative; Infinity where the gradient does not depend on it. */
  readonly error: number;
}

const MOST_ROUNDS = 6;
/** Of 1 / size^2, in which gradients are all but linear; larger steps let rectifiers switch. */
const STEP = 1e-4;
const SETTLED = 1e-5;
/** Share of the residual that is reckoned to lie in the direction of another size. */
const SYSTEMATIC = 1;
/** Of a tensor's size: less is not left of any float32 gradient. */
const ROUNDING = 1e-9;
const FEWEST_NUMBERS = 16;

/**
 * Gauss-Newton over one number; tensors weigh by how well they know it.
 *
 * @param gradientsAt one entry for each captured tensor, under an input
 * @param input flat, in the network's normalised units
 * @param pause after every simulated gradient
 */
export async function fitGain(
  gradientsAt: (input: Float64Array) => Promise<readonly TensorData[]>,
  captured: readonly TensorData[],
  input: Float64Array,
  pause: () => Promise<void>,
): Promise<Gain> {
  // 1 / factor^2
  let square = 1;
  const at = async (own: number): Promise<readonly TensorData[]> => {
    const found = await gradientsAt(input.map((value) => value / Math.sqrt(own)));
    await pause();
    return found;
  };
  let now = await at(square);
  for (let round = 0; ; round++) {
    const next = await at(square * (1 + STEP));
    const parts = captured.flatMap((data, tensor) => partOf(now[tensor]!, next[tensor]!, data) ?? []);
    const change = stepOf(parts);
    if (!Number.isFinite(change)) {
      return { factor: 1, error: Infinity };
    }
    if (Math.abs(change) < SETTLED || round === MOST_ROUNDS) {
      // What else is wrong with the input may look like another size.
      const systematic = SYSTEMATIC * ratioOf(parts);
      return { factor: 1 / Math.sqrt(square), error: Math.hypot(jackknife(parts), change, systematic) / 2 };
    }
    square *= Math.min(Math.max(1 + change, 0.2), 5);
    now = await at(square);
  }
}

/** What one tensor says, for the residual r and its slope d. */
interface Part {
  /** -<d, r> / <d, d> */
  readonly change: number;
  /** <r, r> and <d, d>, relative to the tensor's size. */
  readonly left: number;
  readonly square: number;
  /** One over the variance of that, if what is left of the residual were independent errors of its numbers. */
  readonly weight: number;
}

function partOf(now: TensorData, next: TensorData, captured: TensorData): Part | undefined {
  let size = 0;
  let left = 0;
  let along = 0;
  let square = 0;
  for (let i = 0; i < captured.length; i++) {
    const slope = (next[i]! - now[i]!) / STEP;
    const off = now[i]! - captured[i]!;
    size += captured[i]! ** 2;
    left += off * off;
    along += slope * off;
    square += slope * slope;
  }
  // Two numbers or three are explained by chance.
  if (captured.length < FEWEST_NUMBERS || !(square > 0)) {
    return undefined;
  }
  const unexplained = Math.max(left - (along * along) / square, ROUNDING ** 2 * size);
  return {
    change: -along / square,
    left: left / size,
    square: square / size,
    weight: (square * captured.length) / unexplained,
  };
}

/** Tensors that something else is wrong with weigh little. */
function stepOf(parts: readonly Part[]): number {
  const weights = parts.reduce((sum, { weight }) => sum + weight, 0);
  return parts.reduce((sum, { change, weight }) => sum + change * weight, 0) / weights;
}

/** How large a change would leave as much as is left, in the tensors that count. */
function ratioOf(parts: readonly Part[]): number {
  const weights = parts.reduce((sum, { weight }) => sum + weight, 0);
  return parts.reduce((sum, { left, square, weight }) => sum + weight * Math.sqrt(left / square), 0) / weights;
}

/** By leaving out each tensor in turn, since errors of one tensor are not independent. */
function jackknife(parts: readonly Part[]): number {
  const without = parts.map((own) => stepOf(parts.filter((other) => other !== own)));
  const mean = without.reduce((sum, own) => sum + own, 0) / without.length;
  const squares = without.reduce((sum, own) => sum + (own - mean) ** 2, 0);
  return Math.sqrt((squares * (parts.length - 1)) / parts.length);
}
