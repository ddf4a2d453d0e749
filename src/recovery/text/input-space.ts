import { type Cholesky, factorise, solveLowerRows } from '../cholesky.js';
import { gaussian } from '../gaussian.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { transposed } from '../linear-algebra.js';
import { generator } from '../paper-method.js';
import { truncatedSvd } from '../truncated-svd.js';
import { dot, joined, most, norm, orthonormal } from '../vectors.js';
import { lastClearGap, widestGap } from '../widest-gap.js';
import type { Pause } from '../pause.js';

/** The span of all vectors that a linear layer was given, from its weight gradient alone. */
export interface InputSpace {
  /** rank x width, row-major, orthonormal rows. */
  readonly basis: Float64Array;
  /** The same, width x rank. */
  readonly columns: Float64Array;
  readonly rank: number;
  readonly width: number;
  /** The smallest direction kept over the largest left out, rows being of length one: how clearly the rank shows. */
  readonly gap: number;
  /** Root mean square of what is left of a number of the rows, outside of the space: the gradient's own noise. */
  readonly noise: number;
  /** Of A B^T for rows A and basis B: by it, how much of the noise a vector's direction carries. */
  readonly factor: Cholesky;
}

/** Rows smaller than this share of the largest are rounding. */
const DEAD = 1e-8;
const SEED = 7;
/** Rows of the sketch beyond the width, so that no direction is lost by chance. */
const SPARE_ROWS = 16;
/** Directions looked at beyond the rank, to see where the rest begins. */
const LOOK_AHEAD = 4;

/**
 * G = sum_t delta_t z_t^T, so all inputs z_t lie in the row space of G where the deltas are independent (Petrov et al.,
 * NeurIPS 2024, arXiv 2405.15586, Theorem 5.1); found by Gram-Schmidt with pivoting on random mixtures of the rows.
 *
 * @param rows x width, row-major; several layers with one input stacked
 * @param error relative error of each number, such as the unit roundoff of its type
 * @returns undefined where no rank below the width shows
 */
export async function inputSpaceOf(
  gradient: Float64Array,
  width: number,
  error: number,
  product: ProductKernel,
  pause: Pause,
): Promise<InputSpace | undefined> {
  const mixed = await sketch(unitRows(gradient, width), width, product);
  const rest = mixed.slice();
  const rows = rest.length / width;
  const squares = Float64Array.from({ length: rows }, (_, row) => squareOf(rest, row, width));
  const directions: Float64Array[] = [];
  const sizes: number[] = [];
  const floor = error * Math.sqrt(rows);
  while (directions.length < Math.min(rows, width)) {
    const longest = Math.sqrt(most(squares));
    sizes.push(longest);
    if (longest < floor / 100 || belowGap(sizes)) {
      break;
    }
    const pivot = squares.indexOf(most(squares));
    const direction = orthonormal(rest.subarray(pivot * width, (pivot + 1) * width), directions);
    directions.push(direction);
    for (let row = 0; row < rows; row++) {
      squares[row] = without(rest, row * width, direction);
    }
    if (directions.length % 16 === 0) {
      await pause();
    }
  }
  const { rank, gap } = widestGap(sizes.map((size) => Math.max(size, floor / 100)));
  if (rank === 0 || rank > FULL * width || gap < LEAST_GAP) {
    return undefined;
  }
  const basis = new Float64Array(rank * width);
  directions.slice(0, rank).forEach((direction, at) => {
    basis.set(direction, at * width);
  });
  const along = await product(basis, mixed, rank, rows, width);
  const factor = await factorise(await product(along, along, rank, rank, rows), rank, product);
  const columns = transposed(basis, rank, width);
  return {
    basis,
    columns,
    rank,
    width,
    gap,
    noise: await noiseOutside(mixed, columns, along, rank, width, product),
    factor,
  };
}

async function noiseOutside(
  mixed: Float64Array,
  columns: Float64Array,
  along: Float64Array,
  rank: number,
  width: number,
  product: ProductKernel,
): Promise<number> {
  const rows = mixed.length / width;
  const inside = await product(transposed(along, rank, rows), columns, rows, width, rank);
  const square = mixed.reduce((sum, value, at) => sum + (value - inside[at]!) ** 2, 0);
  return Math.sqrt(square / (Math.max(rows - rank, 1) * (width - rank)));
}

/** How far a vector is from the space, and how far noise alone would put it. */
export interface Distance {
  /** Relative to the vector's length, 0 to 1. */
  readonly value: number;
  readonly expected: number;
}

/** Numbers of vectors that were computed in float32 are off by this much. */
const FORWARD_ERROR = 2e-7;
/** Many of noise's standard deviations, as it is not the same everywhere. */
export const MOST_DEVIATIONS = 8;
/** The same where directions that the noise hides are missing in the space. */
export const HIDDEN_DEVIATIONS = 40;

/**
 * Distances of vectors to the space. A vector of it is a combination c of the rows, z = A^T c, and noise of the rows leaves
 * noise |c| sqrt(width - rank) of it outside.
 *
 * @param vectors n x width, row-major
 * @param farthest of vectors beyond, what is expected is not computed
 */
export async function distancesTo(
  { basis, columns, rank, width, noise, factor }: InputSpace,
  vectors: Float64Array,
  product: ProductKernel,
  farthest = FARTHEST,
): Promise<Distance[]> {
  const count = vectors.length / width;
  if (count === 0) {
    return [];
  }
  const along = await product(vectors, basis, count, rank, width);
  const inside = await product(along, columns, count, width, rank);
  const lengths = new Float64Array(count);
  const values = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    lengths[at] = norm(vectors.subarray(at * width, (at + 1) * width));
    let outside = 0;
    for (let col = at * width; col < (at + 1) * width; col++) {
      outside += (vectors[col]! - inside[col]!) ** 2;
    }
    values[at] = lengths[at]! > 0 ? Math.sqrt(outside) / lengths[at]! : 1;
  }
  const near = [...values.keys()].filter((at) => values[at]! < farthest);
  const combinations = joined(near.map((at) => along.subarray(at * rank, (at + 1) * rank)));
  await solveLowerRows(factor, combinations, product);
  const distances = Array.from(values, (value): Distance => ({ value, expected: 0 }));
  near.forEach((at, index) => {
    const combination = norm(combinations.subarray(index * rank, (index + 1) * rank));
    const expected = (noise * combination * Math.sqrt(width - rank)) / lengths[at]!;
    distances[at] = { value: values[at]!, expected };
  });
  return distances;
}

/** Whether a distance is what noise leaves. */
export function isInside(distance: Distance): boolean {
  return isWithin(distance, MOST_DEVIATIONS);
}

/** The same for so many of noise's standard deviations. */
export function isWithin(distance: Distance, limit: number): boolean {
  return deviations(distance) <= limit && distance.value < FARTHEST;
}

/** Whether a distance is what noise leaves, and would be more than that for almost any other vector. */
export function isClearlyInside(distance: Distance): boolean {
  return isInside(distance) && MOST_DEVIATIONS * distance.expected < FARTHEST;
}

/** A distance in units of what noise leaves. */
export function deviations({ value, expected }: Distance): number {
  return value / Math.hypot(expected, FORWARD_ERROR);
}

/** Whether a distance is more than noise leaves even of a vector that it hides. */
export function isOutside(distance: Distance): boolean {
  return deviations(distance) > (distance.value < FARTHEST ? MOST_DEVIATIONS : HIDDEN_DEVIATIONS);
}

/** Beyond this, noise says nothing. */
export const FARTHEST = 0.02;

function unitRows(gradient: Float64Array, width: number): Float64Array {
  const rows = gradient.length / width;
  const lengths = Array.from({ length: rows }, (_, row) => norm(gradient.subarray(row * width, (row + 1) * width)));
  const longest = most(lengths);
  const live = lengths.flatMap((length, row) => (length > DEAD * longest ? [row] : []));
  const scaled = new Float64Array(live.length * width);
  live.forEach((row, at) => {
    for (let col = 0; col < width; col++) {
      scaled[at * width + col] = gradient[row * width + col]! / lengths[row]!;
    }
  });
  return scaled;
}

/** Random mixtures of the rows, hardly more than there are columns. */
async function sketch(rows: Float64Array, width: number, product: ProductKernel): Promise<Float64Array> {
  const count = rows.length / width;
  const mixtures = width + SPARE_ROWS;
  if (count <= mixtures) {
    return rows;
  }
  const random = generator(SEED);
  const weights = Float64Array.from({ length: mixtures * count }, () => gaussian(random, 1 / Math.sqrt(mixtures)));
  return product(weights, transposed(rows, count, width), mixtures, width, count);
}

function squareOf(data: Float64Array, row: number, width: number): number {
  const own = data.subarray(row * width, (row + 1) * width);
  return dot(own, own);
}

/** Takes a direction out of a row. @returns the square of what is left */
function without(rest: Float64Array, start: number, direction: Float64Array): number {
  let along = 0;
  for (let col = 0; col < direction.length; col++) {
    along += rest[start + col]! * direction[col]!;
  }
  let square = 0;
  for (let col = 0; col < direction.length; col++) {
    const value = rest[start + col]! - along * direction[col]!;
    rest[start + col] = value;
    square += value * value;
  }
  return square;
}

/** Singular values of a matrix of full rank fall by less. */
const LEAST_GAP = 2;
/** Share of the width: a norm takes a direction or two from vectors that would fill it. */
const FULL = 0.97;
/** A fall by this much ends the search. */
const CLEAR_GAP = 1e3;

function belowGap(sizes: readonly number[]): boolean {
  const at = sizes.length - 1 - LOOK_AHEAD;
  return at > 0 && sizes[at - 1]! / sizes[at]! > CLEAR_GAP && sizes.at(-1)! > sizes[at]! / 100;
}

/** Directions beyond the rank that are given up where the rank does not show clearly. */
const SPARE_DIRECTIONS = 8;
const CLEAR_ENOUGH = 50;
/** Beyond, the smallest of noise's singular values fall quickly, which looks like a gap. */
const MOST_OF_WIDTH = 0.85;

/**
 * The same where inputs are nearly alike, so that the smallest directions come near to the noise: from singular values, with
 * the last clear gap between two bounds; too large a rank where it is not clear, as that loses no input.
 *
 * @param least a rank that is certainly reached
 * @param most one that is certainly not passed
 * @returns undefined where the bounds leave no room below the width
 */
export async function inputSpaceWithin(
  gradient: Float64Array,
  width: number,
  { least, most: upper }: { readonly least: number; readonly most: number },
  product: ProductKernel,
  pause: Pause,
): Promise<InputSpace | undefined> {
  const mixed = await sketch(unitRows(gradient, width), width, product);
  const rows = mixed.length / width;
  const highest = Math.min(upper, Math.floor(MOST_OF_WIDTH * width));
  const limit = Math.min(highest + SPARE_DIRECTIONS + 1, rows, width);
  const {
    values,
    right,
    residual,
    rank: known,
  } = await truncatedSvd({ rows, cols: width, data: mixed }, { floor: 0, most: limit }, () => pause());
  const best = lastClearGap(values, CLEAR_ENOUGH, Math.max(least, 1), Math.min(known, highest + 1));
  const rank = Math.min(best.gap < CLEAR_ENOUGH ? best.rank + SPARE_DIRECTIONS : best.rank, known);
  if (best.rank === 0 || rank >= width - 1) {
    return undefined;
  }
  const left = values.subarray(rank).reduce((sum, value) => sum + value ** 2, residual ** 2);
  const lower = new Float64Array(rank * rank);
  values.subarray(0, rank).forEach((value, at) => (lower[at * rank + at] = value));
  const basis = transposed(right, width, known).slice(0, rank * width);
  return {
    basis,
    columns: transposed(basis, rank, width),
    rank,
    width,
    gap: best.gap,
    noise: Math.sqrt(left / (Math.max(rows - rank, 1) * (width - rank))),
    factor: { size: rank, lower, deficiency: 0 },
  };
}
