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
/** Of 1 / size^2, in which gradients are all but linear. */
const STEP = 0.05;
const SETTLED = 1e-5;

/**
 * Gauss-Newton over one number, every tensor weighing the same; its error by leaving out each tensor in turn.
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
    const parts = captured.map((data, tensor) => partOf(now[tensor]!, next[tensor]!, data));
    const change = stepOf(parts);
    if (!Number.isFinite(change)) {
      return { factor: 1, error: Infinity };
    }
    if (Math.abs(change) < SETTLED || round === MOST_ROUNDS) {
      return { factor: 1 / Math.sqrt(square), error: Math.hypot(jackknife(parts), change) / 2 };
    }
    square *= Math.min(Math.max(1 + change, 0.2), 5);
    now = await at(square);
  }
}

/** Of one tensor: <d, r> and <d, d>, relative to its own size, for the residual r and its slope d. */
interface Part {
  readonly along: number;
  readonly square: number;
}

function partOf(now: TensorData, next: TensorData, captured: TensorData): Part {
  let size = 0;
  let along = 0;
  let square = 0;
  for (let i = 0; i < captured.length; i++) {
    const slope = (next[i]! - now[i]!) / STEP;
    size += captured[i]! ** 2;
    along += slope * (now[i]! - captured[i]!);
    square += slope ** 2;
  }
  return size > 0 ? { along: along / size, square: square / size } : { along: 0, square: 0 };
}

function stepOf(parts: readonly Part[]): number {
  const along = parts.reduce((sum, own) => sum + own.along, 0);
  const square = parts.reduce((sum, own) => sum + own.square, 0);
  return -along / square;
}

function jackknife(parts: readonly Part[]): number {
  const live = parts.filter(({ square }) => square > 0);
  const without = live.map((own) => stepOf(live.filter((other) => other !== own)));
  const mean = without.reduce((sum, own) => sum + own, 0) / without.length;
  const squares = without.reduce((sum, own) => sum + (own - mean) ** 2, 0);
  return Math.sqrt((squares * (live.length - 1)) / live.length);
}
