import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { type ForwardKnowledge, forwardSpan } from '../span/forward-span.js';
import { norm } from '../vectors.js';
import type { ConvPlace } from './conv-place.js';
import { negativeDeviations } from './deviations.js';

/**
 * The input of a convolution below batch normalisation in train mode: no scale shows, and constants that are added on
 * pixels which every patch sees alike do not either, unless the zeros of a rectifier tell them.
 */

export interface CentredMap {
  /** channels x rows x columns, of root mean square one */
  readonly values: Float64Array;
  /** 1 where a constant stayed open; undefined when none did. */
  readonly unknown: Uint8Array | undefined;
  readonly gap: number;
  readonly unknowns: number;
  readonly equations: number;
  /** What the equations leave of the map, relative. */
  readonly residual: number;
}

/** Another solution beside the one found would show in most of a random start's. */
const MOST_DISAGREEMENT = 0.1;
const MOST_RESIDUAL = 1e-3;
/** As many equal lowest values are taken for the zeros that a rectifier leaves. */
const FEWEST_ZEROS = 2;
/** Of values of size one. */
const LEAST_DEVIATION = 1e-7;
/** In standard errors: values this near to each other are equal. */
const EQUAL = 10;

/**
 * @param above what the convolution gives out, where it is known
 * @param rectified whether the input is a rectifier's output
 * @param error relative error of the gradient's numbers
 * @returns a sentence where the gradient does not tell its input
 */
export async function centredMap(
  place: ConvPlace,
  above: ForwardKnowledge | undefined,
  rectified: boolean,
  error: number,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<CentredMap | string> {
  if (place.geometry.groups !== 1) {
    return 'the row space of a grouped convolution is not looked at';
  }
  if (!rectified) {
    return 'its row space tells neither size nor sign';
  }
  const span = await forwardSpan({ ...place, above, error }, product, random, pause);
  if (typeof span === 'string') {
    return span;
  }
  if (!(span.disagreement <= MOST_DISAGREEMENT)) {
    return 'overlapping patches do not settle the input';
  }
  if (!(span.residual <= MOST_RESIDUAL)) {
    return `${(100 * span.residual).toPrecision(2)} % of the map contradict its equations`;
  }
  const size = norm(span.map) / Math.sqrt(span.map.length);
  const values = span.map.map((own) => own / size);
  const unknown = span.free.length > 0 ? settleConstants(values, span.free, place) : undefined;
  return {
    values,
    unknown,
    gap: span.rowSpace.gap,
    unknowns: values.length,
    equations: span.rowSpace.rows * (place.gradient.length / place.filters),
    residual: span.residual,
  };
}

/**
 * Adds to each channel's free pixels what makes their lowest value zero, where a rectifier's zeros are several.
 *
 * @param values channels x rows x columns; changed
 * @returns 1 for entries whose constant stays open
 */
function settleConstants(
  values: Float64Array,
  free: readonly (readonly number[])[],
  { input: [channels, height, width] }: ConvPlace,
): Uint8Array | undefined {
  const plane = height * width;
  const isFree = new Uint8Array(plane);
  free.flat().forEach((pixel) => {
    isFree[pixel] = 1;
  });
  const bound = values.filter((_, at) => isFree[at % plane] === 0);
  const deviation = Math.max(bound.length > 0 ? negativeDeviations(bound, 1)(0) : 0, LEAST_DEVIATION);
  const unknown = new Uint8Array(values.length);
  let isOpen = false;
  for (const pixels of free) {
    for (let c = 0; c < channels; c++) {
      const at = pixels.map((pixel) => c * plane + pixel);
      const lowest = at.reduce((least, entry) => Math.min(least, values[entry]!), Infinity);
      const zeros = at.filter((entry) => values[entry]! - lowest <= EQUAL * deviation);
      if (zeros.length >= FEWEST_ZEROS) {
        const zero = zeros.reduce((sum, entry) => sum + values[entry]!, 0) / zeros.length;
        at.forEach((entry) => {
          values[entry]! -= zero;
        });
      } else {
        isOpen = true;
        at.forEach((entry) => {
          unknown[entry] = 1;
        });
      }
    }
  }
  return isOpen ? unknown : undefined;
}
