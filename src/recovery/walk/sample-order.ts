import { dot, norm } from '../vectors.js';

/** Which of the samples found below a sum is which of those found above it, where batch normalisation ran in train mode. */

/** Channels with fewer values that were let pass show no likeness. */
const FEWEST_VALUES = 4;
/** Of two samples' likeness to a third, how much larger the right one's is at least. */
const LEAST_LEAD = 0.05;

/**
 * What a convolution gives out is a part of the sum, and resembles it.
 *
 * @param given what the convolution gives out for each sample found: filters x positions
 * @param above rectified values above the sum, of each sample in its order
 * @returns for each sample above, which one found it is; undefined where that does not show
 */
export function orderOf(
  given: readonly Float64Array[],
  above: readonly Float64Array[],
  filters: number,
): number[] | undefined {
  const pairs = above.flatMap((values, sample) =>
    given.map((own, source) => ({ sample, source, likeness: likenessOf(own, values, filters) })),
  );
  pairs.sort((one, other) => other.likeness - one.likeness);
  const order = new Array<number>(above.length).fill(-1);
  for (const { sample, source, likeness } of pairs) {
    if (order[sample] !== -1 || order.includes(source)) {
      continue;
    }
    const others = pairs.filter(
      (own) =>
        (own.sample === sample) !== (own.source === source) && order[own.sample] === -1 && !order.includes(own.source),
    );
    if (others.some((own) => own.likeness > likeness - LEAST_LEAD)) {
      return undefined;
    }
    order[sample] = source;
  }
  return order;
}

/** Mean correlation over channels, where the rectifier lets pass. */
function likenessOf(given: Float64Array, above: Float64Array, filters: number): number {
  const plane = given.length / filters;
  let sum = 0;
  let count = 0;
  for (let o = 0; o < filters; o++) {
    const at = Array.from({ length: plane }, (_, p) => o * plane + p).filter((entry) => above[entry]! > 0);
    if (at.length >= FEWEST_VALUES) {
      const x = centred(at.map((entry) => given[entry]!));
      const y = centred(at.map((entry) => above[entry]!));
      sum += dot(x, y) / Math.max(norm(x) * norm(y), Number.MIN_VALUE);
      count++;
    }
  }
  return count > 0 ? sum / count : 0;
}

function centred(values: readonly number[]): Float64Array {
  const middle = mean(values);
  return Float64Array.from(values, (own) => own - middle);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, own) => sum + own, 0) / values.length;
}
