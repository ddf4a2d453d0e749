import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { type ForwardKnowledge, forwardSpan } from '../span/forward-span.js';
import { bringToCommonSize } from '../span/common-size.js';
import { rowSpaceOf } from '../span/row-space.js';
import { unmix } from '../span/unmix.js';
import { joined, norm } from '../vectors.js';
import type { ConvPlace } from './conv-place.js';
import { MOST_NEGATIVE, negativeDeviations, negativeShare } from './deviations.js';

/**
 * The inputs of a convolution below batch normalisation in train mode: no scale shows, and constants that are added on
 * pixels which every patch sees alike do not either, unless the zeros of a rectifier tell them.
 */

export interface CentredMap {
  readonly batch: number;
  /** batch x channels x rows x columns, the first sample of root mean square one */
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
 * @param above what the convolution gives out, where it is known: one for each sample
 * @param rectified whether the input is a rectifier's output
 * @param error relative error of the gradient's numbers
 * @returns a sentence where the gradient does not tell its input
 */
export async function centredMap(
  place: ConvPlace,
  above: readonly ForwardKnowledge[] | undefined,
  rectified: boolean,
  error: number,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<CentredMap | string> {
  const { gradient, filters, input, kernel, output } = place;
  if (place.geometry.groups !== 1) {
    return 'the row space of a grouped convolution is not looked at';
  }
  if (!rectified) {
    return 'its row space tells neither size nor sign';
  }
  const positions = output[0] * output[1];
  if (filters < positions) {
    return `${filters} output channels at ${positions} positions: a row space needs as many channels as positions`;
  }
  const columns = input[0] * kernel[0] * kernel[1];
  const rowSpace = await rowSpaceOf(gradient, filters, columns, error, filters, product, () => pause());
  const batch = (rowSpace.rank + 1) / positions;
  if (!rowSpace.basis || !Number.isInteger(batch)) {
    return `a row space of rank ${rowSpace.rank} (gap ${rowSpace.gap.toPrecision(2)}) is not that of samples of ${positions} positions each`;
  }
  if (above && above.length !== batch) {
    return `its row space is that of ${batch} samples, not ${above.length}`;
  }
  const maps: Float64Array[] = [];
  let residual = 0;
  let free: readonly (readonly number[])[] = [];
  for (const known of above ?? [undefined]) {
    const span = await forwardSpan(
      { ...place, rowSpace, above: known, dimension: known ? 1 : batch },
      product,
      random,
      pause,
    );
    if (typeof span === 'string') {
      return span;
    }
    if (!(span.disagreement <= MOST_DISAGREEMENT)) {
      return 'overlapping patches do not settle the input';
    }
    if (!(span.residual <= MOST_RESIDUAL)) {
      return `${(100 * span.residual).toPrecision(2)} % of the map contradict its equations`;
    }
    maps.push(...span.maps);
    residual = Math.max(residual, span.residual);
    ({ free } = span);
  }
  const samples = above ? maps : (await unmix(maps, random, pause))?.sources;
  if (!samples || (!above && batch > 1 && samples.some((own) => negativeShare(own) > MOST_NEGATIVE))) {
    return `the ${batch} samples' maps could not be told apart: too few zeros`;
  }
  const values = samples.map((own) => {
    const sum = own.reduce((total, value) => total + value, 0);
    const size = (Math.sign(sum) || 1) * (norm(own) / Math.sqrt(own.length));
    return own.map((value) => value / size);
  });
  if (batch > 1 && !(await bringToCommonSize(values, rowSpace, place, free, product))) {
    return `the ${batch} samples' maps have no common size`;
  }
  const unknown = free.length > 0 ? settleConstants(values, free, place) : undefined;
  return {
    batch,
    values: joined(values),
    unknown,
    gap: rowSpace.gap,
    unknowns: values.length * values[0]!.length,
    equations: rowSpace.rows * columns,
    residual,
  };
}

/**
 * Adds to each channel's free pixels what makes their lowest value zero, where a rectifier's zeros are several.
 *
 * @param samples channels x rows x columns each, whose constants are the same; changed
 * @returns 1 for entries of all samples whose constant stays open; undefined when none does
 */
function settleConstants(
  samples: readonly Float64Array[],
  free: readonly (readonly number[])[],
  { input: [channels, height, width] }: ConvPlace,
): Uint8Array | undefined {
  const plane = height * width;
  const size = channels * plane;
  const isFree = new Uint8Array(plane);
  free.flat().forEach((pixel) => {
    isFree[pixel] = 1;
  });
  const bound = joined(samples.map((own) => own.filter((_, at) => isFree[at % plane] === 0)));
  const deviation = Math.max(bound.length > 0 ? negativeDeviations(bound, 1)(0) : 0, LEAST_DEVIATION);
  const unknown = new Uint8Array(samples.length * size);
  let isOpen = false;
  for (const pixels of free) {
    for (let c = 0; c < channels; c++) {
      const entries = samples.flatMap((own, b) => pixels.map((pixel) => ({ own, b, at: c * plane + pixel })));
      const lowest = entries.reduce((least, { own, at }) => Math.min(least, own[at]!), Infinity);
      const zeros = entries.filter(({ own, at }) => own[at]! - lowest <= EQUAL * deviation);
      if (zeros.length >= FEWEST_ZEROS) {
        const zero = zeros.reduce((sum, { own, at }) => sum + own[at]!, 0) / zeros.length;
        entries.forEach(({ own, at }) => {
          own[at]! -= zero;
        });
      } else {
        isOpen = true;
        entries.forEach(({ b, at }) => {
          unknown[b * size + at] = 1;
        });
      }
    }
  }
  return isOpen ? unknown : undefined;
}
