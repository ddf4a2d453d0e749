import type { PatchGeometry } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { smallestEigen } from './null-space.js';
import { patchSystem } from './patch-system.js';
import { type RowSpace, rowSpaceOf } from './row-space.js';

/** The inputs of a convolution from its weight gradient alone: no loss, no label, no other layer, no weights. */

export interface SpanProblem extends PatchGeometry {
  /** Output channels x input channels x kernel rows x kernel columns. */
  readonly gradient: Float64Array;
  readonly filters: number;
  /** Relative error of the gradient's numbers. */
  readonly error: number;
  /** Whether batch normalisation in train mode follows, so that the rows only hold differences of patches. */
  readonly centred: boolean;
}

export interface Span {
  /** Number of samples: the null space's dimension, and the row space's over the number of positions. */
  readonly batch: number;
  /** Orthonormal; the batch's inputs are combinations of them. channels x rows x columns each. */
  readonly maps: readonly Float64Array[];
  readonly rowSpace: RowSpace;
  /** Of the overlaps' disagreement, relative: the largest that counts as zero, and the smallest that does not. */
  readonly eigenvalues: readonly [number, number];
}

/** The null space's eigenvalues stand apart from the others by this factor at least. */
const LEAST_NULL_GAP = 1e3;
/** Larger systems do not fit in memory or time. */
export const MOST_COEFFICIENTS = 5000;

/**
 * @returns a sentence where the gradient does not tell its input
 * @throws RangeError for grouped convolutions
 */
export async function spanOf(
  problem: SpanProblem,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<Span | string> {
  const { gradient, filters, error, centred, input, kernel, output, geometry } = problem;
  if (geometry.groups !== 1) {
    throw new RangeError('The span of a grouped convolution is that of each group.');
  }
  const [channels] = input;
  const positions = output[0] * output[1];
  const cols = channels * kernel[0] * kernel[1];
  if (kernel[0] * kernel[1] === 1) {
    return 'patches of one pixel do not overlap';
  }
  if (filters <= positions - (centred ? 1 : 0)) {
    return `${filters} output channels at ${positions} positions: a row space needs more channels than positions`;
  }
  const limit = Math.floor(MOST_COEFFICIENTS / positions);
  const batchOf = (rank: number): number => (rank + (centred ? 1 : 0)) / positions;
  const isWhole = (rank: number): boolean => Number.isInteger(batchOf(rank));
  const rowSpace = await rowSpaceOf(gradient, filters, cols, error, limit, product, () => pause(), isWhole);
  const { rank, gap } = rowSpace;
  const batch = batchOf(rank);
  if (rank > limit) {
    return `the row space has more than ${limit} directions, the most that are solved for at ${positions} positions: more samples than ${Math.floor(limit / positions)}, or noise`;
  }
  if (!rowSpace.basis) {
    return `the row space has no clear rank (${rank} of ${rowSpace.rows} rows, a gap of ${gap.toPrecision(2)}): more samples than ${Math.floor(filters / positions)}, or noise`;
  }
  if (!Number.isInteger(batch)) {
    return `a rank of ${rank} is no multiple of the ${positions} positions`;
  }
  return inputsWithin(rowSpace, batch, problem, product, random, pause);
}

/**
 * The inputs whose overlapping patches lie in a row space.
 *
 * @param batch how many there have to be
 * @returns a sentence where there are more or fewer
 */
export async function inputsWithin(
  rowSpace: RowSpace,
  batch: number,
  geometry: PatchGeometry & Pick<SpanProblem, 'centred'>,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<Span | string> {
  const { basis, rank } = rowSpace;
  const system = await patchSystem(basis, rank, geometry, geometry.centred, product);
  const { values, vectors } = await smallestEigen(system.matrix, system.size, batch + 2, product, random, pause);
  const last = Math.max(Math.abs(values[batch - 1]!), 1e-16);
  const next = values[batch] ?? 1;
  if (!(next / last >= LEAST_NULL_GAP)) {
    return `overlapping patches do not settle the input (eigenvalues ${last.toExponential(0)} and ${next.toExponential(0)})`;
  }
  return {
    batch,
    maps: vectors.slice(0, batch).map((vector) => system.inputOf(vector)),
    rowSpace,
    eigenvalues: [last, next],
  };
}
