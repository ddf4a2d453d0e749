import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { spanOf } from '../span/span.js';
import { unmix } from '../span/unmix.js';
import { dot, joined, norm } from '../vectors.js';
import { deltaOf } from './deltas.js';
import { MOST_NEGATIVE, negativeShare } from './deviations.js';
import type { ConvPlace } from './conv-place.js';

/** A convolution's input and delta from its weight gradient alone, with scales from its bias gradient. */

export interface RowSpaceMap {
  readonly batch: number;
  /** batch x channels x rows x columns */
  readonly values: Float64Array;
  /** batch x filters x rows x columns */
  readonly delta: Float64Array;
  readonly gap: number;
  readonly unknowns: number;
  readonly equations: number;
  /** What the bias gradient leaves unexplained, relative. */
  readonly residual: number;
}

/** A bias gradient left unexplained by more than this settles no scale. */
const MOST_MISFIT = 1e-2;

/**
 * G = Delta Patches stays the same when an input is scaled and its delta by the inverse; the bias gradient, the sum of
 * delta over samples and positions, tells the scales: as many equations as output channels.
 *
 * @param sums dL/dbias of each output channel
 * @param open deltas where nothing cut them, batch x filters x rows x columns, which tell samples apart; undefined
 * where they are not known
 * @param rectified whether the input cannot be negative, which then confirms that samples were told apart
 * @param error relative error of the gradient's numbers
 * @returns a sentence where the gradient does not tell its input
 */
export async function rowSpaceMap(
  place: ConvPlace,
  sums: Float64Array,
  open: Float64Array | undefined,
  rectified: boolean,
  error: number,
  product: ProductKernel,
  random: () => number,
  pause: Pause,
): Promise<RowSpaceMap | string> {
  const { filters, output } = place;
  if (place.geometry.groups !== 1) {
    return 'the row space of a grouped convolution is not looked at';
  }
  const span = await spanOf({ ...place, error, centred: false }, product, random, pause);
  if (typeof span === 'string') {
    return span;
  }
  const { batch } = span;
  const unmixed = await unmix(span.maps, random, pause);
  if (!unmixed) {
    return `the ${batch} samples' maps could not be told apart: too few zeros`;
  }
  const size = unmixed.sources[0]!.length;
  if (rectified && unmixed.sources.some((source) => negativeShare(source) > MOST_NEGATIVE)) {
    return `the ${batch} samples' maps could not be told apart: what was found is negative where a rectifier's output cannot be`;
  }
  const mixed = joined(unmixed.sources);
  const found = await deltaOf(place, mixed, batch, product);
  if (typeof found === 'string') {
    return found;
  }
  const plane = output[0] * output[1];
  const columns = Array.from({ length: batch }, (_, b) =>
    Float64Array.from({ length: filters }, (_own, o) => {
      const first = (b * filters + o) * plane;
      return found.subarray(first, first + plane).reduce((sum, own) => sum + own, 0);
    }),
  );
  const { coefficients, residual } = smallLeastSquares(columns, sums);
  if (!(residual <= MOST_MISFIT) || coefficients.some((own) => own === 0)) {
    return `its bias gradient does not tell the scale of the map found (${(100 * residual).toPrecision(2)} % unexplained)`;
  }
  const values = new Float64Array(mixed.length);
  const delta = new Float64Array(found.length);
  const scaled = coefficients.map((own, b) =>
    found.subarray(b * filters * plane, (b + 1) * filters * plane).map((value) => value * own),
  );
  const order = open && batch > 1 ? assigned(scaled, open, batch) : scaled.map((_, b) => b);
  if (!order) {
    return 'the samples found could not be told apart by what lies above them';
  }
  order.forEach((source, b) => {
    delta.set(scaled[source]!, b * filters * plane);
    values.set(
      unmixed.sources[source]!.map((own) => own / coefficients[source]!),
      b * size,
    );
  });
  return {
    batch,
    values,
    delta,
    gap: span.rowSpace.gap,
    unknowns: span.rowSpace.rank * plane,
    equations: span.rowSpace.rows * (place.gradient.length / filters),
    residual,
  };
}

/** Minimises ||sum_b c_b columns_b - wanted||. */
function smallLeastSquares(
  columns: readonly Float64Array[],
  wanted: Float64Array,
): { coefficients: number[]; residual: number } {
  const rest = wanted.slice();
  const bases: Float64Array[] = [];
  const triangle: number[][] = [];
  const projections: number[] = [];
  for (const column of columns) {
    const own = column.slice();
    const row: number[] = [];
    for (const basis of bases) {
      const share = dot(basis, own);
      row.push(share);
      subtract(own, basis, share);
    }
    const length = norm(own);
    row.push(length);
    const basis = own.map((value) => (length > 0 ? value / length : 0));
    bases.push(basis);
    triangle.push(row);
    const share = dot(basis, rest);
    projections.push(share);
    subtract(rest, basis, share);
  }
  const coefficients = new Array<number>(columns.length).fill(0);
  for (let b = columns.length - 1; b >= 0; b--) {
    let sum = projections[b]!;
    for (let later = b + 1; later < columns.length; later++) {
      sum -= triangle[later]![b]! * coefficients[later]!;
    }
    coefficients[b] = triangle[b]![b]! > 0 ? sum / triangle[b]![b]! : 0;
  }
  return { coefficients, residual: norm(rest) / Math.max(norm(wanted), Number.MIN_VALUE) };
}

function subtract(from: Float64Array, basis: Float64Array, share: number): void {
  basis.forEach((value, at) => {
    from[at]! -= share * value;
  });
}

/** How far ratios of found and open deltas may be from zero and one, on average, for the samples to be the same. */
const SAME_SAMPLE = 0.05;

/**
 * A sample's delta is its open one where rectifiers and maxima let it pass, and zero elsewhere.
 *
 * @returns for each sample which of the found ones it is; undefined where they do not fit
 */
function assigned(found: readonly Float64Array[], open: Float64Array, batch: number): number[] | undefined {
  const size = found[0]!.length;
  const off = (source: number, sample: number): number => {
    let sum = 0;
    let count = 0;
    let largest = 0;
    for (let at = sample * size; at < (sample + 1) * size; at++) {
      largest = Math.max(largest, Math.abs(open[at]!));
    }
    for (let at = 0; at < size; at++) {
      const full = open[sample * size + at]!;
      if (Math.abs(full) > 1e-3 * largest) {
        const ratio = found[source]![at]! / full;
        sum += Math.min(Math.abs(ratio), Math.abs(ratio - 1), 0.5);
        count++;
      }
    }
    return count > 0 ? sum / count : Infinity;
  };
  const pairs = found.flatMap((_, source) =>
    Array.from({ length: batch }, (_own, sample) => ({ source, sample, off: off(source, sample) })),
  );
  pairs.sort((one, other) => one.off - other.off);
  const order = new Array<number>(batch).fill(-1);
  for (const pair of pairs) {
    if (order[pair.sample] === -1 && !order.includes(pair.source)) {
      if (!(pair.off < SAME_SAMPLE)) {
        return undefined;
      }
      order[pair.sample] = pair.source;
    }
  }
  return order;
}
