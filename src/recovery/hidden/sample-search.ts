import { solveUpper } from '../cholesky.js';
import { type Matrix, multiply } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { EITHER_SIGN, NON_NEGATIVE, sparseDirection } from '../sparse-direction.js';
import { dot, dotAt, norm, withoutShares } from '../vectors.js';
import type { FactoredLayer, Found } from './factored-layer.js';
import { INDEPENDENT, columnsOf, coordinates, independent, inverseOf, mixed } from './mixtures.js';
import { vanishingOn } from './vanishing.js';

/** Looks for the samples of a batch among mixtures of a layer's rows, which are their inputs, and of its columns, which are their slopes. */

/** Entries of a search that are looked at where fewer did not suffice. */
export const MORE_ROWS = 4;
/** Mixtures are begun at the mean, moved by this. */
const TOWARDS_MEAN = 0.5;
/** Searches without a new sample, before slopes are looked at and before giving up. */
const INPUT_TRIES = 6;
const MOST_ROUNDS = 3;
/** Entries below this share of the root mean square are zero. */
const ZERO = 1e-3;
const SAME = 1e-5;
const SLOPE_TRIES_EACH = 8;
const FEWEST_SLOPE_TRIES = 24;
const DUAL_TURNS = 60;
/** Zeros beyond those that any mixture can be given, at least, and as a share of all units. */
const SURPLUS = { clear: 8, likely: 6 };
const SURPLUS_SHARE = { clear: 0.1, likely: 0.05 };
/** Entries at their bound, beyond those that any mixture can be given, that settle an input. */
const SETTLING_ZEROS = 8;

/** Slopes that are zero so often that they may be one sample's. */
interface Likely {
  readonly zeros: number;
  readonly isClear: boolean;
  readonly mixture: Float64Array;
}

export class SampleSearch {
  found: readonly Found[] = [];
  private likely: readonly Likely[] = [];

  /**
   * @param random uniform in [0, 1)
   * @param pause with how many samples were found
   */
  constructor(
    private readonly layer: FactoredLayer,
    private readonly random: () => number,
    private readonly pause: Pause<number>,
  ) {}

  /** @param bounds what no entry of an input is below, n numbers each */
  async run(bounds: readonly Float64Array[]): Promise<void> {
    for (let round = 0; !this.isDone && round < MOST_ROUNDS; round++) {
      const before = this.found.length;
      await this.byInputs(bounds, round === 0 ? 1 : MORE_ROWS);
      await this.bySlopes();
      round = this.found.length > before ? 0 : round;
    }
  }

  private get isDone(): boolean {
    return this.found.length === this.layer.rank;
  }

  private tellAndPause(): Promise<void> {
    return this.pause(this.found.length);
  }

  /** Mixtures of the rows that are not below their bound, and at it most often. */
  private async byInputs(bounds: readonly Float64Array[], more: number): Promise<void> {
    for (let failed = 0; failed < INPUT_TRIES && !this.isDone; failed++) {
      for (const bound of bounds) {
        const own = await this.extremeInput(bound, more, failed % 2 === 1);
        if (own && this.isNew(own)) {
          this.found = [...this.found, own];
          failed = -1;
          break;
        }
      }
    }
  }

  /** Other samples' inputs are at right angles to the slopes of those found: what is left to look in. */
  private async extremeInput(bound: Float64Array, more: number, restricted: boolean): Promise<Found | undefined> {
    const free = this.free(restricted);
    const bounded = this.layer.rowsAbove(bound, free, more);
    if (!bounded) {
      return undefined;
    }
    const { rows, mean, factor } = bounded;
    const start = this.layer.randomDirection(free.length);
    mean.forEach((own, at) => (start[at]! += TOWARDS_MEAN * own));
    const direction = await sparseDirection(rows.data, free.length, start, NON_NEGATIVE, () => this.tellAndPause());
    const isSettled = isSettledBy(rows, direction, 0);
    return this.layer.sampleOf(mixed(free, solveUpper(factor, direction)), isSettled, this.found);
  }

  /** An orthonormal basis of what is at right angles to all slopes that were found, and to those that are only likely. */
  private free(isWithLikely: boolean): Float64Array[] {
    const likely = isWithLikely ? this.likely.filter(({ isClear }) => isClear).map(({ mixture }) => mixture) : [];
    const taken = independent([...this.found.map(({ slopes }) => slopes), ...likely]).map(({ unit }) => unit);
    return this.layer.complement(taken.length < this.layer.rank ? taken : taken.slice(0, this.found.length));
  }

  /** Mixtures of the columns that are zero most often; once all are there, the inputs are dual to them. */
  private async bySlopes(): Promise<void> {
    if (this.isDone) {
      return;
    }
    const { left, rectified } = this.layer;
    const basis = this.layer.freeSlopes(this.found);
    const size = basis.length;
    const all = columnsOf(basis.map((own) => multiply(left, own)));
    const live = Array.from(rectified.isLive.keys()).filter((unit) => rectified.isLive[unit] === 1);
    const rows = new Float64Array(live.length * size);
    live.forEach((unit, at) => rows.set(all.data.subarray(unit * size, (unit + 1) * size), at * size));
    const fewest = (which: keyof typeof SURPLUS): number =>
      size + Math.max(SURPLUS[which], SURPLUS_SHARE[which] * live.length);
    const seen = this.likely.map(({ mixture }) => coordinates(basis, mixture));
    const tries = SLOPE_TRIES_EACH * size + FEWEST_SLOPE_TRIES;
    for (let tried = 0; tried < tries; tried++) {
      const taken = independent(seen).map(({ unit }) => unit);
      if (taken.length >= size && tried >= size) {
        break;
      }
      const random = this.layer.randomDirection(size);
      const start = taken.length < size && tried % 2 === 0 ? withoutShares(random, taken) : random;
      const mixture = await sparseDirection(rows, size, start, EITHER_SIGN, () => this.tellAndPause());
      const sizes = live.map((_, at) => Math.abs(dotAt(rows, at * size, mixture, size)));
      const usual = Math.sqrt(sizes.reduce((sum, own) => sum + own * own, 0) / sizes.length);
      const zeros = sizes.filter((own) => own < ZERO * usual).length;
      if (zeros >= fewest('likely') && seen.every((own) => Math.abs(dot(own, mixture)) < (1 - SAME) * norm(own))) {
        seen.push(mixture);
        const isClear = zeros >= fewest('clear');
        this.likely = [...this.likely, { zeros, isClear, mixture: mixed(basis, mixture) }];
      }
    }
    this.likely = [...this.likely].sort((one, other) => other.zeros - one.zeros);
    await this.takeDuals(
      this.likely.map(({ mixture }) => mixture),
      size,
    );
  }

  /**
   * Inputs at right angles to all slopes but one. Slopes that are zero most often may also be a difference of two samples of one
   * class, so that some of them are left out by turns.
   *
   * @param slopes the likeliest first
   * @param wanted samples that are not known yet
   */
  private async takeDuals(slopes: readonly Float64Array[], wanted: number): Promise<void> {
    const known = this.found.map((own) => own.slopes);
    for (let turn = 0; turn < DUAL_TURNS && !this.isDone; turn++) {
      await this.tellAndPause();
      const tried = turn === 0 ? slopes : slopes.filter(() => this.random() > 1 / (wanted + 1));
      const all = independent([...known, ...tried]);
      const before = this.found.length;
      const duals =
        all.length === this.layer.rank
          ? (inverseOf(all.map(({ vector }) => vector)) ?? [])
          : all.length === this.layer.rank - 1
            ? this.layer.complement(all.map(({ unit }) => unit))
            : [];
      for (const own of duals.flatMap((dual) => this.layer.sampleOf(dual, false, this.found) ?? [])) {
        this.found = this.isNew(own) ? [...this.found, own] : this.found;
      }
      if (duals.length === 0 || this.found.length > before) {
        return;
      }
    }
  }

  /** A wrong input may leave the units silent that another sample does; its slopes are that one's then. */
  private isNew({ slopes }: Found): boolean {
    const taken = independent(this.found.map((own) => own.slopes)).map(({ unit }) => unit);
    return norm(withoutShares(slopes, taken)) > INDEPENDENT;
  }
}

/**
 * Whether the entries that a direction makes zero leave no other: more than any could be given, and not only those that samples share.
 *
 * @param noise of the entries
 */
export function isSettledBy(rows: Matrix, direction: Float64Array, noise: number): boolean {
  const values = multiply(rows, direction);
  const near = Math.max((ZERO * norm(values)) / Math.sqrt(values.length), noise);
  const zeros = Array.from(values.keys()).filter((at) => Math.abs(values[at]!) < near);
  if (zeros.length < rows.cols - 1 + SETTLING_ZEROS) {
    return false;
  }
  return vanishingOn(zeros, rows).against >= SETTLING_ZEROS;
}
