import { symmetricEigen } from '../symmetric-eigen.js';
import { dot, norm } from '../vectors.js';
import type { Pause } from '../pause.js';

/** From mixtures of a batch's inputs to the inputs themselves: above a ReLU each has exact zeros at many places. */

export interface Unmixed {
  /** One input per sample, up to a positive factor; as long as the mixtures. */
  readonly sources: readonly Float64Array[];
  /** Share of zeros of each source among entries that are not zero in all. */
  readonly zeros: readonly number[];
}

const MOST_DRAWS = 20_000;
/** Draws after which enough directions end the search. */
const FEWEST_DRAWS = 200;
/** Entries smaller than this share of the largest say nothing of a direction. */
const SILENT = 3e-2;
/** A row counts as zero in a direction below this cosine. */
const ZERO = 3e-4;
/** Random directions make no row zero; of a source's dual this share at least are. */
const FEWEST_ZEROS = 0.04;

/**
 * RANSAC over exact zeros: B - 1 rows of the mixture matrix (entries x B) that are all zero in one sample leave one
 * direction; a sample's own makes far more rows zero than any other.
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
  const longest = Math.max(...lengths);
  const loud = rows.flatMap((row, at) =>
    lengths[at]! > SILENT * longest ? [row.map((value) => value / lengths[at]!)] : [],
  );
  const found: { share: number; direction: Float64Array }[] = [];
  for (let draw = 0; draw < MOST_DRAWS; draw++) {
    if (draw % 200 === 0) {
      await pause();
    }
    const chosen = Array.from({ length: count - 1 }, () => loud[Math.floor(random() * loud.length)]!);
    const first = nullDirection(chosen, count);
    const zeros = loud.filter((row) => Math.abs(dot(row, first)) < ZERO);
    if (zeros.length < FEWEST_ZEROS * loud.length || zeros.length < count) {
      continue;
    }
    const direction = nullDirection(zeros, count);
    const share = loud.filter((row) => Math.abs(dot(row, direction)) < ZERO).length / loud.length;
    if (found.every((own) => Math.abs(dot(own.direction, direction)) < 1 - 1e-6)) {
      found.push({ share, direction });
      found.sort((one, other) => other.share - one.share);
    }
    if (draw >= FEWEST_DRAWS && independent(found, count).length === count) {
      break;
    }
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

/** The direction in which all rows are smallest. */
function nullDirection(rows: readonly Float64Array[], size: number): Float64Array {
  const gram = new Float64Array(size * size);
  for (const row of rows) {
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) {
        gram[i * size + j]! += row[i]! * row[j]!;
      }
    }
  }
  return symmetricEigen(gram, size).vectors.slice(0, size);
}

/** The best directions that are linearly independent. */
function independent(
  found: readonly { share: number; direction: Float64Array }[],
  count: number,
): { share: number; direction: Float64Array }[] {
  const kept: { share: number; direction: Float64Array }[] = [];
  const basis: Float64Array[] = [];
  for (const own of found) {
    const rest = own.direction.slice();
    for (const other of basis) {
      const share = dot(rest, other);
      rest.forEach((_, at) => {
        rest[at]! -= share * other[at]!;
      });
    }
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
