import type { Matrix } from '../linear-algebra.js';
import { norm } from '../vectors.js';

/** Rows of a position embedding's gradient that belong to no patch: class, distillation and register tokens, which come first. */
export interface LeadingTokens {
  readonly count: number;
  /** Relative misfit of the equation that says so; null where the gradient holds none. */
  readonly misfit: number | null;
}

const MOST_LEADING = 16;
/** Equations that hold leave rounding, 2^-9 in bfloat16; the next number of tokens leaves about 1 / sqrt(patches) more. */
const HOLDS = 0.05;
const CLEARER = 3;

/**
 * The bias of the patch embedding is added to every patch, so dL/db is the sum of the patches' rows. Without a bias, the
 * gradient of a token of its own is its row. Both hold for any number of samples.
 *
 * @param position dL/d(position embedding), tokens x d
 * @param bias dL/db of the patch embedding, d; undefined without
 * @param others gradients of other tensors with d numbers, among which those of class tokens may be
 * @returns undefined where the bias contradicts every number of tokens
 */
export function leadingTokens(
  position: Matrix,
  bias: Float64Array | undefined,
  others: readonly Float64Array[],
): LeadingTokens | undefined {
  return bias && norm(bias) > 0 ? byBias(position, bias) : byTokens(position, others);
}

function byBias({ rows, cols, data }: Matrix, bias: Float64Array): LeadingTokens | undefined {
  const size = norm(bias);
  const rest = bias.slice();
  const misfits: { readonly count: number; readonly misfit: number }[] = [];
  for (let row = rows - 1; row >= 0; row--) {
    for (let col = 0; col < cols; col++) {
      rest[col]! -= data[row * cols + col]!;
    }
    if (row <= MOST_LEADING) {
      misfits.push({ count: row, misfit: norm(rest) / size });
    }
  }
  const [best, second] = misfits.sort((one, other) => one.misfit - other.misfit);
  const isClear = best && best.misfit <= HOLDS && (!second || best.misfit * CLEARER <= second.misfit);
  return isClear ? best : undefined;
}

function byTokens({ rows, cols, data }: Matrix, others: readonly Float64Array[]): LeadingTokens {
  let misfit: number | null = null;
  for (let row = 0; row < Math.min(rows, MOST_LEADING); row++) {
    const own = data.subarray(row * cols, (row + 1) * cols);
    const size = norm(own);
    const least = others.reduce(
      (found, other) => Math.min(found, norm(own.map((value, at) => value - (other[at] ?? NaN))) / size),
      Infinity,
    );
    if (!(least <= HOLDS)) {
      return { count: row, misfit };
    }
    misfit = Math.max(misfit ?? 0, least);
  }
  return { count: Math.min(rows, MOST_LEADING), misfit };
}
