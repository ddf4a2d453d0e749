import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { joined, least, most } from '../vectors.js';
import { type Distance, type InputSpace, MOST_DEVIATIONS, distancesTo, isWithin } from './input-space.js';
import { type NormValues, normaliseRows } from '../../network/transformers/normalise-rows.js';

/** What the first attention is given of a token at a place, and which pairs of them lie in the space of the batch's. */

export interface FirstInputs {
  readonly width: number;
  readonly vocabulary: number;
  /** Embeddings, scaled, of some tokens: n x width. */
  readonly rowsOf: (tokens: readonly number[]) => Float64Array;
  /** What is added at a position, width numbers; null where positions are told by rotation only. */
  readonly positionRow: (position: number) => Float64Array | null;
  readonly norm: NormValues;
}

/** Vectors of tokens at one position, n x width. */
export function inputsAt(first: FirstInputs, tokens: readonly number[], position: number): Float64Array {
  return normaliseRows(first.norm, embeddedAt(first, tokens, position));
}

/** The same before the norm. */
export function embeddedAt(first: FirstInputs, tokens: readonly number[], position: number): Float64Array {
  const rows = first.rowsOf(tokens);
  const added = first.positionRow(position);
  if (added) {
    for (let at = 0; at < rows.length; at++) {
      rows[at]! += added[at % first.width]!;
    }
  }
  return rows;
}

export interface Candidates {
  /** By place among the positions tried; one list for all where positions are not told apart here. */
  readonly byPosition: readonly (readonly number[])[];
  /** Of the pairs taken: the largest distance; of the others: the smallest. */
  readonly farthest: number;
  readonly nextNearest: number;
  readonly count: number;
}

const CHUNK = 1024;
/** More pairs than this are no batch's; no more are looked for. */
const MOST_CANDIDATES = 2 ** 17;

/**
 * Tokens whose vectors lie in the space, position by position.
 *
 * @param tokens to be tried
 * @param positions to be tried; ignored where they are told by rotation only
 * @param map what is known of a vector is its product with this matrix, space.width x width; null for the vector itself
 * @param deviations of noise that a vector may be away
 */
export async function candidatesIn(
  first: FirstInputs,
  space: InputSpace,
  tokens: readonly number[],
  positions: readonly number[],
  product: ProductKernel,
  pause: Pause,
  map: Float64Array | null = null,
  deviations = MOST_DEVIATIONS,
): Promise<Candidates> {
  const places = first.positionRow(0) === null ? [0] : positions;
  const byPosition: number[][] = places.map(() => []);
  let [farthest, nextNearest, count] = [0, 1, 0];
  const judge = (token: number, place: number, distance: Distance): void => {
    if (isWithin(distance, deviations)) {
      byPosition[place]!.push(token);
      farthest = Math.max(farthest, distance.value);
      count++;
    } else {
      nextNearest = Math.min(nextNearest, distance.value);
    }
  };
  for (let start = 0; start < tokens.length && count < MOST_CANDIDATES; start += CHUNK) {
    const own = tokens.slice(start, start + CHUNK);
    const near = await nearEnough(first, space, own, places, product, map);
    const shortlists = places.map((_, place) => own.filter((__, at) => near[at * places.length + place]! < NEAR));
    nextNearest = Math.min(nextNearest, least(near.filter((distance) => distance >= NEAR)));
    for (const group of inGroups(shortlists, CHUNK)) {
      await pause();
      const inputs = joined(group.map((place) => inputsAt(first, shortlists[place]!, positions[place]!)));
      const distances = await distancesTo(space, await mapped(inputs, map, first.width, product), product);
      let next = 0;
      for (const place of group) {
        for (const token of shortlists[place]!) {
          judge(token, place, distances[next++]!);
        }
      }
    }
  }
  return { byPosition, farthest, nextNearest, count };
}

/**
 * Lists by the position itself, empty where none was tried: texts behind padding do not start at the first position.
 *
 * @param byPlace by place among the positions tried
 */
export function byPositionItself(
  byPlace: readonly (readonly number[])[],
  positions: readonly number[],
): readonly (readonly number[])[] {
  const lists = Array.from({ length: most(positions) + 1 }, (): readonly number[] => []);
  byPlace.forEach((tokens, place) => (lists[positions[place]!] = tokens));
  return lists;
}

/** Indices of lists, in order, of groups that have so many elements together, or little more. */
function inGroups(lists: readonly (readonly unknown[])[], size: number): number[][] {
  const groups: number[][] = [];
  let total = Infinity;
  for (const [at, { length }] of lists.entries()) {
    if (length === 0) {
      continue;
    }
    if (total >= size) {
      groups.push([]);
      total = 0;
    }
    groups.at(-1)!.push(at);
    total += length;
  }
  return groups;
}

/**
 * Rows times the transpose of a matrix.
 *
 * @param rows n x width, row-major
 * @param map outputs x width; null leaves the rows as they are
 */
export async function mapped(
  rows: Float64Array,
  map: Float64Array | null,
  width: number,
  product: ProductKernel,
): Promise<Float64Array> {
  return map && rows.length > 0 ? product(rows, map, rows.length / width, map.length / width, width) : rows;
}

/** Distances below this are computed again, without cancellation. */
const NEAR = 0.05;

/**
 * Distances of all pairs of token and position, tokens x places, from products with tokens and positions apart:
 * the norm is linear but for one factor per pair. Exact to 1e-7 by cancellation.
 */
async function nearEnough(
  { norm, rowsOf, positionRow, width }: FirstInputs,
  { basis, rank, width: known }: InputSpace,
  tokens: readonly number[],
  places: readonly number[],
  product: ProductKernel,
  map: Float64Array | null,
): Promise<Float64Array> {
  const centre = norm.kind === 'layer';
  const e = centred(rowsOf(tokens), width, centre);
  const p = centred(joined(places.map((place) => positionRow(place) ?? new Float64Array(width))), width, centre);
  const [eGain, pGain, bias] = [
    await mapped(times(e, norm.gain), map, width, product),
    await mapped(times(p, norm.gain), map, width, product),
    await mapped(norm.bias ?? new Float64Array(width), map, width, product),
  ];
  const [n, m] = [tokens.length, places.length];
  const [ep, epGain, eAlong, pAlong, bAlong, eBias, pBias] = [
    await product(e, p, n, m, width),
    await product(eGain, pGain, n, m, known),
    await product(eGain, basis, n, rank, known),
    await product(pGain, basis, m, rank, known),
    await product(bias, basis, 1, rank, known),
    await product(eGain, bias, n, 1, known),
    await product(pGain, bias, m, 1, known),
  ];
  const cross = await product(eAlong, pAlong, n, m, rank);
  const [eBiasAlong, pBiasAlong] = [
    await product(eAlong, bAlong, n, 1, rank),
    await product(pAlong, bAlong, m, 1, rank),
  ];
  const [ee, pp, eeG, ppG, eeA, ppA] = [
    squares(e, width),
    squares(p, width),
    squares(eGain, known),
    squares(pGain, known),
    squares(eAlong, rank),
    squares(pAlong, rank),
  ];
  const [bb, bbA] = [squares(bias, known)[0]!, squares(bAlong, rank)[0]!];
  return Float64Array.from({ length: n * m }, (_, at) => {
    const [i, j] = [Math.floor(at / m), at % m];
    const factor = 1 / Math.sqrt((ee[i]! + 2 * ep[at]! + pp[j]!) / width + norm.epsilon);
    const length = factor ** 2 * (eeG[i]! + 2 * epGain[at]! + ppG[j]!) + 2 * factor * (eBias[i]! + pBias[j]!) + bb;
    const along =
      factor ** 2 * (eeA[i]! + 2 * cross[at]! + ppA[j]!) + 2 * factor * (eBiasAlong[i]! + pBiasAlong[j]!) + bbA;
    return length > 0 ? Math.sqrt(Math.max(length - along, 0) / length) : 1;
  });
}

function centred(rows: Float64Array, width: number, isCentred: boolean): Float64Array {
  if (!isCentred) {
    return rows;
  }
  const out = new Float64Array(rows.length);
  for (let start = 0; start < rows.length; start += width) {
    let mean = 0;
    for (let col = 0; col < width; col++) {
      mean += rows[start + col]!;
    }
    mean /= width;
    for (let col = 0; col < width; col++) {
      out[start + col] = rows[start + col]! - mean;
    }
  }
  return out;
}

function times(rows: Float64Array, gain: Float64Array): Float64Array {
  const out = new Float64Array(rows.length);
  for (let start = 0; start < rows.length; start += gain.length) {
    for (let col = 0; col < gain.length; col++) {
      out[start + col] = rows[start + col]! * gain[col]!;
    }
  }
  return out;
}

function squares(rows: Float64Array, width: number): Float64Array {
  const out = new Float64Array(rows.length / width);
  for (let row = 0; row < out.length; row++) {
    let sum = 0;
    for (let at = row * width; at < (row + 1) * width; at++) {
      sum += rows[at]! * rows[at]!;
    }
    out[row] = sum;
  }
  return out;
}
