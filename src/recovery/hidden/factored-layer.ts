import type { Cholesky } from '../cholesky.js';
import { gaussian } from '../gaussian.js';
import { type Matrix, multiply, multiplyTransposed } from '../linear-algebra.js';
import { whitenedRows } from '../sparse-direction.js';
import type { TruncatedSvd } from '../truncated-svd.js';
import { dot, least, norm, orthonormal, scaled } from '../vectors.js';
import { columnsOf, independent, mixed } from './mixtures.js';
import { type RectifiedLayer, type SilentUnits, silentUnits } from './silent-units.js';

/** A layer's gradient as left diag(values) right^T: what mixtures of both sides mean, and which of them are a sample. */

export type Factors = Pick<TruncatedSvd, 'left' | 'right' | 'values' | 'rank'>;

/** One sample: mixtures of the left singular vectors, and of the right ones times their values, which are its two sides. */
export interface Found {
  /** a, of length one: the slopes are a multiple of left a. */
  readonly slopes: Float64Array;
  /** b, (x, 1) being right diag(values) b: at right angles to the slopes of every other sample. */
  readonly input: Float64Array;
  /** Whether x is known as exactly as its slopes: the units that it leaves silent would also bear a rough one. */
  readonly isSettled: boolean;
}

export interface ToldAgain {
  readonly found: Found;
  readonly told: SilentUnits;
  /** x, n numbers. */
  readonly input: Float64Array;
}

/** Entries of inputs less their bound, as mixtures of a basis: with orthonormal columns. */
export interface BoundedRows {
  readonly rows: Matrix;
  /** Their sum, of length one. */
  readonly mean: Float64Array;
  /** L L^T of what the rows were before: mixtures of the basis are L^-T of theirs. */
  readonly factor: Cholesky;
}

/** What noise leaves of silent units' slopes is the noise over the smallest singular value; at least and at most this is accepted. */
const MOST_LEFT_OVER = { clean: 5e-4, noisy: 0.02 };
const NOISES = 5;
const LEAST_EVIDENCE = 20;
/** Units that stand against other slopes: of an input that may be wrong, a few could by chance. */
const AGAINST_ROUGH = 6;
/** Rows whose zeros are looked for, for each sample and at least; more where these do not suffice. */
const ROWS_EACH = 16;
const FEWEST_ROWS = 1024;
/** Rows shorter than this share of their mean length say nothing. */
const SILENT_ROW = 1e-5;
/** How near the same multiple of the bias' row entries are that all samples share, and how many it takes. */
const CONSTANT = 1e-4;
const FEWEST_CONSTANT = 4;
/** How near to right angles an input is to other samples' slopes. */
const RIGHT_ANGLE = { clean: 1e-5, noisy: 1e-3 };

export class FactoredLayer {
  readonly left: Matrix;
  readonly right: Matrix;
  readonly values: Float64Array;
  readonly rank: number;

  /**
   * @param floor singular values below are noise
   * @param random uniform in [0, 1)
   */
  constructor(
    { left, right, values, rank }: Factors,
    readonly rectified: RectifiedLayer,
    private readonly floor: number,
    private readonly random: () => number,
  ) {
    this.left = { rows: left.length / rank, cols: rank, data: left };
    this.right = { rows: right.length / rank, cols: rank, data: right };
    this.values = values;
    this.rank = rank;
  }

  randomDirection(size: number): Float64Array {
    const direction = Float64Array.from({ length: size }, () => gaussian(this.random));
    return scaled(direction, 1 / norm(direction));
  }

  /** An orthonormal basis of what is at right angles to orthonormal mixtures. */
  complement(taken: readonly Float64Array[]): Float64Array[] {
    const all = [...taken];
    while (all.length < this.rank) {
      all.push(orthonormal(this.randomDirection(this.rank), all));
    }
    return all.slice(taken.length);
  }

  /** right diag(values) b: n + 1 numbers, of which the last is the bias' one, up to the factor that it shows. */
  inputOf(mixture: Float64Array): Float64Array {
    return multiply(
      this.right,
      mixture.map((own, at) => own * this.values[at]!),
    );
  }

  /** Bounds that are given, and what the rows themselves show: entries that are the same in all samples are multiples of the bias' row. */
  boundsWith(given: readonly Float64Array[]): readonly Float64Array[] {
    const { right, rank } = this;
    const entries = right.rows - 1;
    const bias = right.data.subarray(entries * rank);
    const length = dot(bias, bias);
    if (rank < 2 || !(length > 0)) {
      return given;
    }
    const ratios: number[] = [];
    for (let at = 0; at < entries; at++) {
      const row = right.data.subarray(at * rank, (at + 1) * rank);
      const ratio = dot(row, bias) / length;
      const off = row.reduce((sum, own, k) => sum + (own - ratio * bias[k]!) ** 2, 0);
      if (off < (CONSTANT * ratio) ** 2 * length) {
        ratios.push(ratio);
      }
    }
    const lowest = least(ratios);
    return ratios.length >= FEWEST_CONSTANT && lowest < 0 ? [new Float64Array(entries).fill(lowest), ...given] : given;
  }

  /**
   * Entries of the inputs less their bound, as mixtures of a basis: some of them, with orthonormal columns.
   *
   * @param bound n numbers
   * @param basis of b
   * @param more times as many entries as usual
   * @returns undefined where too few entries vary
   */
  rowsAbove(bound: Float64Array, basis: readonly Float64Array[], more: number): BoundedRows | undefined {
    const size = basis.length;
    const columns = basis.map((own) => this.inputOf(own));
    const entries = bound.length;
    const rows: Float64Array[] = [];
    for (let at = 0; at < entries; at++) {
      rows.push(Float64Array.from(columns, (column) => column[at]! - bound[at]! * column[entries]!));
    }
    const usual = Math.sqrt(rows.reduce((sum, row) => sum + dot(row, row), 0) / entries);
    const quiet = Math.max(SILENT_ROW * usual, NOISES * this.noise * Math.sqrt(size));
    const loud = rows.filter((row) => norm(row) > quiet);
    const wanted = more * Math.max(FEWEST_ROWS, ROWS_EACH * size);
    const chosen = loud.length > wanted ? loud.filter(() => this.random() * loud.length < wanted) : loud;
    if (chosen.length < 2 * size) {
      return undefined;
    }
    const { data, factor } = whitenedRows(chosen, size);
    const bounded: Matrix = { rows: chosen.length, cols: size, data };
    const mean = multiplyTransposed(bounded, new Float64Array(chosen.length).fill(1));
    return { rows: bounded, mean: scaled(mean, 1 / norm(mean)), factor };
  }

  /** An orthonormal basis of what is at right angles to the inputs that were found, as other samples' slopes are. */
  freeSlopes(found: readonly Found[]): Float64Array[] {
    const exact = found.filter(
      ({ input, isSettled }, at) =>
        isSettled &&
        found.every(
          ({ slopes }, other) => other === at || Math.abs(dot(slopes, input)) < this.rightAngle * norm(input),
        ),
    );
    return this.complement(
      independent(exact.map(({ input }) => scaled(input, 1 / norm(input)))).map(({ unit }) => unit),
    );
  }

  /** The sample whose input a mixture is, if it is one's: of whichever length, and either sign. @param found those known */
  sampleOf(mixture: Float64Array, isSettled: boolean, found: readonly Found[]): Found | undefined {
    const row = this.inputOf(mixture);
    const one = row[row.length - 1]!;
    if (one === 0) {
      return undefined;
    }
    const input = scaled(row.subarray(0, row.length - 1), 1 / one);
    const told = isSettled ? this.told(input, found) : silentUnits(input, this.left, this.rectified, AGAINST_ROUGH);
    return told && this.isConvincing(told)
      ? { slopes: told.mixture, input: scaled(mixture, 1 / one), isSettled }
      : undefined;
  }

  /** Whether a sample is still confirmed, beside all others. */
  toldAgain(own: Found, all: readonly Found[]): ToldAgain | undefined {
    const row = this.inputOf(own.input);
    const input = row.slice(0, row.length - 1);
    const told = this.told(
      input,
      all.filter((other) => other !== own),
    );
    return told && this.isConvincing(told) ? { found: own, told, input } : undefined;
  }

  /** Where another sample leaves the same units silent, its input being known tells both apart. */
  private told(input: Float64Array, others: readonly Found[]): SilentUnits | undefined {
    const isLast = others.length === this.rank - 1 && others.every(({ isSettled }) => isSettled);
    const told = isLast ? undefined : silentUnits(input, this.left, this.rectified, 1);
    if (told || others.length === 0) {
      return told;
    }
    const basis = this.freeSlopes(others);
    const rows = columnsOf(basis.map((own) => multiply(this.left, own)));
    const reduced = basis.length < this.rank ? silentUnits(input, rows, this.rectified, 1) : undefined;
    return reduced && { ...reduced, mixture: mixed(basis, reduced.mixture) };
  }

  /** Standard deviation of the gradient's numbers, as the floor of its singular values tells it. */
  get noise(): number {
    return this.floor / (Math.sqrt(this.left.rows) + Math.sqrt(this.right.rows));
  }

  /** The cosine that counts as a right angle, as noise leaves it. */
  get rightAngle(): number {
    return this.within(RIGHT_ANGLE);
  }

  private isConvincing({ leftOver, evidence }: SilentUnits): boolean {
    return leftOver <= this.within(MOST_LEFT_OVER) && evidence >= LEAST_EVIDENCE;
  }

  private within({ clean, noisy }: { readonly clean: number; readonly noisy: number }): number {
    return Math.min(noisy, Math.max(clean, (NOISES * this.floor) / this.values[this.rank - 1]!));
  }
}
