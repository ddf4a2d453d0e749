import { solveUpper } from '../cholesky.js';
import { gaussian } from '../gaussian.js';
import { NON_NEGATIVE, sparseDirection, whitenedRows } from '../sparse-direction.js';
import { symmetricEigen } from '../symmetric-eigen.js';
import { dot, norm, scaled, withoutShares } from '../vectors.js';
import type { Pause } from '../pause.js';

/** From mixtures of a batch's inputs to the inputs themselves: above a ReLU each has exact zeros at many places. */

export interface Unmixed {
  /** One input per sample, up to a positive factor; as long as the mixtures. */
  readonly sources: readonly Float64Array[];
  /** Share of zeros of each source among entries that are not zero in all. */
  readonly zeros: readonly number[];
}

const MOST_DRAWS = 400_000;
/** How often a source should come up before the search ends; one in 2^(B-1) / B draws is one, at half zeros. */
const HITS_EACH = 100;
/** Fewer zeros than half, as after a max pooling, take so many times as many draws. */
const RARE = 50;
/** Entries smaller than this share of the largest say nothing of a direction. */
const SILENT = 3e-2;
/** A row counts as zero in a direction below this cosine. */
const ZERO = 3e-4;
/** Random directions make no row zero; of a source's dual this share at least are. */
const FEWEST_ZEROS = 0.04;
/** Rows that a direction is tried on first. */
const SAMPLE = 400;
/** Share of a source's zeros that any other direction must not make zero; those common to two sources leave a plane. */
const SUPPORT = 0.02;
/** What noise leaves of the other sign, relative. */
const ONE_SIGN = 1e-2;
/** Batches from which on directions are searched for first, how often for each sample, and in how many rows. */
const FEWEST_TO_SEARCH = 7;
const SEARCHES_EACH = 12;
const ROWS_EACH = 64;
/** Rows nearer than this to those drawn before add nothing. */
const DEPENDENT = 1e-2;

/**
 * RANSAC over exact zeros: B - 1 rows of the mixture matrix (entries x B) that are all zero in one sample leave one
 * direction; the rows that it makes zero leave no other, or they are the common zeros of several samples.
 *
 * @param mixtures B vectors that span what the B inputs span
 * @param random uniform in [0, 1)
 * @param pause called every few hundred draws
 * @returns undefined when no B independent directions have enough zeros
 */
export async function unmix(
  mixtures: readonly Float64Array[],
  random: () => number,
  pause: Pause,
): Promise<Unmixed | undefined> {
  const count = mixtures.length;
  const entries = mixtures[0]!.length;
  if (count === 1) {
    return { sources: [positive(mixtures[0]!)], zeros: [1] };
  }
  const rows: Float64Array[] = [];
  for (let at = 0; at < entries; at++) {
    rows.push(Float64Array.from(mixtures, (mixture) => mixture[at]!));
  }
  const lengths = rows.map(norm);
  const longest = lengths.reduce((most, own) => Math.max(most, own), 0);
  const loud = rows.flatMap((row, at) =>
    lengths[at]! > SILENT * longest ? [row.map((value) => value / lengths[at]!)] : [],
  );
  if (loud.length < count) {
    return undefined;
  }
  const drawRow = (): Float64Array => loud[Math.floor(random() * loud.length)]!;
  const found: Source[] = [];
  const draws = Math.min(MOST_DRAWS, Math.ceil((HITS_EACH * 2 ** (count - 1)) / count) * count);
  const most = Math.min(MOST_DRAWS, RARE * draws);
  const searched = count >= FEWEST_TO_SEARCH ? searcher(loud, count, random, pause) : undefined;
  const searches = SEARCHES_EACH * count;
  for (let draw = 0; draw < draws || (draw < most && oneSigned(found) < count); draw++) {
    if (draw % 200 === 0) {
      await pause();
    }
    if (
      searched &&
      independent(
        found.filter((own) => own.isOneSigned),
        count,
      ).length === count
    ) {
      break;
    }
    const first = searched && draw < searches ? await searched() : leftOver(drawRow, count);
    if (!first || zeroShare(Array.from({ length: SAMPLE }, drawRow), first) < FEWEST_ZEROS / 2) {
      continue;
    }
    const zeros = loud.filter((row) => Math.abs(dot(row, first)) < ZERO);
    if (zeros.length < Math.max(FEWEST_ZEROS * loud.length, count)) {
      continue;
    }
    const { direction, next } = nullDirection(zeros, count);
    const against = zeros.reduce((sum, row) => sum + Number(Math.abs(dot(row, next)) > 10 * ZERO), 0);
    if (
      against < Math.max(SUPPORT * zeros.length, count) ||
      found.some((own) => Math.abs(dot(own.direction, direction)) > 1 - 1e-6)
    ) {
      continue;
    }
    found.push({ share: zeroShare(loud, direction), direction, isOneSigned: isOneSigned(loud, direction) });
  }
  const best = independent(found, count);
  if (best.length < count) {
    return undefined;
  }
  return {
    sources: best.map(({ direction }) => positive(Float64Array.from(rows, (row) => dot(row, direction)))),
    zeros: best.map(({ share }) => share),
  };
}

/**
 * Directions by a search for mixtures that are not negative and zero most often: hardly ever do as many rows as a larger batch
 * needs are all zero in one sample.
 */
function searcher(
  loud: readonly Float64Array[],
  count: number,
  random: () => number,
  pause: Pause,
): () => Promise<Float64Array> {
  const wanted = ROWS_EACH * count;
  const chosen = loud.length > wanted ? loud.filter(() => random() * loud.length < wanted) : loud;
  const { data, factor } = whitenedRows(chosen, count);
  return async () => {
    const start = Float64Array.from({ length: count }, () => gaussian(random));
    const direction = solveUpper(factor, await sparseDirection(data, count, start, NON_NEGATIVE, pause));
    return scaled(direction, 1 / norm(direction));
  };
}

interface Source {
  /** Of zeros. */
  readonly share: number;
  readonly direction: Float64Array;
  /** As all is above a rectifier: what is not is a mixture that happens to have zeros, or stands above no rectifier. */
  readonly isOneSigned: boolean;
}

function oneSigned(found: readonly Source[]): number {
  return found.reduce((count, own) => count + Number(own.isOneSigned), 0);
}

function isOneSigned(rows: readonly Float64Array[], direction: Float64Array): boolean {
  let [above, below] = [0, 0];
  for (const row of rows) {
    const own = dot(row, direction);
    if (own > 0) {
      above += own * own;
    } else {
      below += own * own;
    }
  }
  return Math.min(above, below) < ONE_SIGN ** 2 * (above + below);
}

function zeroShare(rows: readonly Float64Array[], direction: Float64Array): number {
  return rows.reduce((sum, row) => sum + Number(Math.abs(dot(row, direction)) < ZERO), 0) / rows.length;
}

/** The direction that `size` - 1 random, independent rows leave; undefined when so many do not come. */
function leftOver(drawRow: () => Float64Array, size: number): Float64Array | undefined {
  const basis: Float64Array[] = [];
  for (let tried = 0; basis.length < size - 1; tried++) {
    if (tried > 4 * size) {
      return undefined;
    }
    const rest = withoutShares(drawRow(), basis);
    const length = norm(rest);
    if (length > DEPENDENT) {
      basis.push(rest.map((value) => value / length));
    }
  }
  let best: Float64Array | undefined;
  let longest = 0;
  for (let axis = 0; axis < size; axis++) {
    const unit = new Float64Array(size);
    unit[axis] = 1;
    const rest = withoutShares(unit, basis);
    const length = norm(rest);
    if (length > longest) {
      longest = length;
      best = rest.map((value) => value / length);
    }
  }
  return best && withoutShares(best, basis);
}

/** The direction in which all rows are smallest, and the next one. */
function nullDirection(rows: readonly Float64Array[], size: number): { direction: Float64Array; next: Float64Array } {
  const gram = new Float64Array(size * size);
  for (const row of rows) {
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        gram[i * size + j]! += row[i]! * row[j]!;
      }
    }
  }
  const { vectors } = symmetricEigen(gram, size);
  return { direction: vectors.slice(0, size), next: vectors.slice(size, 2 * size) };
}

/**
 * The directions of one sign, then those with the most zeros, that are linearly independent: differences of sources have
 * fewer than they have.
 */
function independent(found: readonly Source[], count: number): Source[] {
  const kept: Source[] = [];
  const basis: Float64Array[] = [];
  const bestFirst = [...found].sort(
    (one, other) => Number(other.isOneSigned) - Number(one.isOneSigned) || other.share - one.share,
  );
  for (const own of bestFirst) {
    const rest = withoutShares(own.direction, basis);
    const length = norm(rest);
    if (length > 1e-4) {
      basis.push(rest.map((value) => value / length));
      kept.push(own);
    }
    if (kept.length === count) {
      break;
    }
  }
  return kept;
}

/** What is above a ReLU is not negative. */
function positive(values: Float64Array): Float64Array {
  const sum = values.reduce((total, value) => total + value, 0);
  return sum < 0 ? values.map((value) => -value) : values;
}
