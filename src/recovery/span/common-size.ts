import { type PatchGeometry, visitPatches } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { factorise, solveLower, solveUpper } from '../cholesky.js';
import { dot, norm } from '../vectors.js';
import type { RowSpace } from './row-space.js';

/**
 * Inputs of a convolution below batch normalisation in train mode that were found one by one, each up to a factor and up
 * to constants on free pixels, in one size: differences of patches of two samples lie in the row space as well, so what
 * patches have outside of it is one vector, the same for all samples. No published source.
 */

/** Of the common part: more shows that the inputs are not those of one batch. */
const MOST_LEFT = 1e-2;

/**
 * @param samples channels x rows x columns each; all but the first are changed
 * @param rowSpace of the weight gradient
 * @param free groups of pixels that a constant may be added to, channel by channel
 * @returns whether there is a common size
 */
export async function bringToCommonSize(
  samples: readonly Float64Array[],
  rowSpace: RowSpace,
  geometry: PatchGeometry,
  free: readonly (readonly number[])[],
  product: ProductKernel,
): Promise<boolean> {
  const [channels, height, width] = geometry.input;
  const plane = height * width;
  const columns = channels * geometry.kernel[0] * geometry.kernel[1];
  const outside = async (rows: Float64Array): Promise<Float64Array> => {
    const count = rows.length / columns;
    const { basis, rank } = rowSpace;
    const inner = await product(rows, basis, count, rank, columns);
    const out = rows.slice();
    for (let row = 0; row < count; row++) {
      for (let at = 0; at < rank; at++) {
        const share = inner[row * rank + at]!;
        for (let column = 0; column < columns; column++) {
          out[row * columns + column]! -= share * basis[at * columns + column]!;
        }
      }
    }
    return out;
  };
  const constants = free.flatMap((pixels) =>
    Array.from({ length: channels }, (_, c) => pixels.map((pixel) => c * plane + pixel)),
  );
  const count = constants.length;
  const directions = new Float64Array(count * columns);
  constants.forEach((pixels, at) => {
    const indicator = new Float64Array(channels * plane);
    pixels.forEach((pixel) => {
      indicator[pixel] = 1;
    });
    directions.set(meanPatch(indicator, geometry, columns), at * columns);
  });
  const moved = await outside(directions);
  const factor =
    count > 0 ? await factorise(await product(moved, moved, count, count, columns), count, product) : undefined;
  /** Constants that explain most of a vector. */
  const explained = (vector: Float64Array): Float64Array => {
    const own = Float64Array.from({ length: count }, (_, at) =>
      dot(moved.subarray(at * columns, (at + 1) * columns), vector),
    );
    return factor ? solveUpper(factor, solveLower(factor, own)) : own;
  };
  const without = (vector: Float64Array): Float64Array => {
    const rest = vector.slice();
    explained(vector).forEach((share, at) => {
      for (let column = 0; column < columns; column++) {
        rest[column]! -= share * moved[at * columns + column]!;
      }
    });
    return rest;
  };
  const common: Float64Array[] = [];
  for (const sample of samples) {
    common.push(await outside(meanPatch(sample, geometry, columns)));
  }
  const wanted = without(common[0]!);
  for (let b = 1; b < samples.length; b++) {
    const own = without(common[b]!);
    const size = dot(own, wanted) / dot(own, own);
    const left = wanted.map((value, at) => value - size * own[at]!);
    if (!(size > 0) || !(norm(left) <= MOST_LEFT * norm(wanted))) {
      return false;
    }
    const shifts = explained(common[0]!.map((value, at) => value - size * common[b]![at]!));
    const sample = samples[b]!;
    sample.forEach((value, at) => {
      sample[at] = size * value;
    });
    constants.forEach((pixels, at) => {
      pixels.forEach((pixel) => {
        sample[pixel]! += shifts[at]!;
      });
    });
  }
  return true;
}

/** Over all output positions. */
function meanPatch(values: Float64Array, geometry: PatchGeometry, columns: number): Float64Array {
  const out = new Float64Array(columns);
  const positions = geometry.output[0] * geometry.output[1];
  visitPatches(geometry, (column, _, pixel) => {
    out[column]! += values[pixel]! / positions;
  });
  return out;
}
