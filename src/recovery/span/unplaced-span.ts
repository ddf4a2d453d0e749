import type { PatchGeometry } from '../../graph/patches.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { smallestEigen } from './null-space.js';
import { type RowSpace, rowSpaceOf } from './row-space.js';
import { type Span, inputsWithin } from './span.js';

/** The inputs of a convolution of which nothing is known but its weight gradient: neither their size nor their number. */

export interface UnplacedSpan {
  readonly span: Span;
  /** channels, rows, columns of one input. */
  readonly input: readonly [number, number, number];
  /** Positions of the convolution's output. */
  readonly positions: number;
  /** Whether batch normalisation in train mode follows. */
  readonly centred: boolean;
}

interface Guess {
  readonly batch: number;
  readonly geometry: PatchGeometry & { readonly centred: boolean };
}

/** Of a direction's share outside of the image: rounding leaves 1e-12. */
const ZERO = 1e-8;
/** Maps of fewer rows have hardly any overlaps. */
const FEWEST_ROWS = 3;

/**
 * Tries the sizes that the rank allows, for strides of one: square outputs, padded to the input's size or not padded. A
 * wrong size leaves no input whose patches agree, so that one is found confirms its size; the number of independent ones
 * has to be the rank over the positions besides.
 *
 * @param gradient output channels x input channels x kernel rows x kernel columns
 * @param error relative error of each number
 * @param mostUnknowns sizes with more are not tried: time grows with the cube
 * @returns undefined where none fits
 */
export async function unplacedSpan(
  gradient: Float64Array,
  [filters, channels, ...kernel]: readonly [number, number, number, number],
  error: number,
  mostUnknowns: number,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<UnplacedSpan | undefined> {
  const cols = channels * kernel[0] * kernel[1];
  // Of a rank, positions are at least as many as the smallest map has, and unknowns are positions x rank.
  const limit = Math.floor(mostUnknowns / FEWEST_ROWS ** 2);
  const rowSpace = await rowSpaceOf(gradient, filters, cols, error, limit, product, () => pause());
  if (!rowSpace.basis || rowSpace.rank >= Math.min(rowSpace.rows, cols)) {
    return undefined;
  }
  for (const { batch, geometry } of await guesses(rowSpace, channels, kernel, mostUnknowns, product, random, pause)) {
    const span = await inputsWithin(rowSpace, batch, geometry, product, random, pause);
    if (typeof span !== 'string') {
      const { input, output, centred } = geometry;
      return { span, input, positions: output[0] * output[1], centred };
    }
  }
  return undefined;
}

/** Padding shows the number of samples, and with it the size; without any, each size is tried. */
async function guesses(
  rowSpace: RowSpace,
  channels: number,
  kernel: readonly [number, number],
  mostUnknowns: number,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<Guess[]> {
  const { rank } = rowSpace;
  const [height, width] = kernel;
  // Kernels of even size cannot be padded alike on both sides.
  const isOdd = height % 2 === 1 && width % 2 === 1;
  const corners = isOdd ? await cornerPatches(rowSpace, channels, kernel, product, random, pause) : 0;
  const found: Guess[] = [];
  for (const centred of [false, true]) {
    const patches = rank + Number(centred);
    for (let side = FEWEST_ROWS; side * side <= patches; side++) {
      const batch = patches / (side * side);
      if (!Number.isInteger(batch) || side * side * rank > mostUnknowns) {
        continue;
      }
      const guess = (rows: number, columns: number): Guess => ({
        batch,
        geometry: {
          centred,
          input: [channels, side + height - 1 - 2 * rows, side + width - 1 - 2 * columns],
          kernel,
          output: [side, side],
          geometry: { strides: [1, 1], pads: [rows, columns, rows, columns], dilations: [1, 1], groups: 1 },
        },
      });
      if (isOdd && batch <= corners + Number(centred)) {
        found.push(guess((height - 1) / 2, (width - 1) / 2));
      }
      // Differences without padding leave a constant in every channel open.
      if (!centred) {
        found.push(guess(0, 0));
      }
    }
  }
  // Other patches at zeros look like corners, so there may be fewer samples, and hardly are; the overlaps decide.
  const isPadded = ({ geometry }: Guess): boolean => geometry.geometry.pads.some((own) => own > 0);
  return found.sort((one, other) => Number(isPadded(other)) - Number(isPadded(one)) || other.batch - one.batch);
}

/**
 * Directions of the row space that are zero wherever a patch in the first corner of a padded input is: one for each
 * sample at least, or for each but one where the rows hold differences only.
 */
async function cornerPatches(
  { basis, rank, gap }: RowSpace,
  channels: number,
  [height, width]: readonly [number, number],
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<number> {
  const taps = height * width;
  const outside = Array.from({ length: taps }, (_, tap) => tap).filter(
    (tap) => Math.floor(tap / width) < (height - 1) / 2 || tap % width < (width - 1) / 2,
  );
  const cols = channels * outside.length;
  const part = new Float64Array(rank * cols);
  for (let i = 0; i < rank; i++) {
    for (let c = 0; c < channels; c++) {
      outside.forEach((tap, at) => {
        part[i * cols + c * outside.length + at] = basis[(i * channels + c) * taps + tap]!;
      });
    }
  }
  const gram = await product(part, part, rank, rank, cols);
  const most = Math.floor((rank + 1) / FEWEST_ROWS ** 2) + 1;
  // Of the weakest directions the noise has its share.
  const zero = Math.max(ZERO, (2 / gap) ** 2);
  const { values } = await smallestEigen(gram, rank, most, product, random, pause);
  return values.reduce((count, value) => count + Number(value < zero), 0);
}
