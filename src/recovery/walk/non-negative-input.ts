import type { ProductKernel } from '../../graph/product-kernel.js';
import { inverseLower } from '../cholesky.js';
import { GrowingCholesky } from '../growing-cholesky.js';
import { nonNegative } from '../non-negative.js';
import { transposed } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { norm } from '../vectors.js';
import { type Row, type Rows, median, perEquation, scaledColumns } from './conv-equations.js';
import { CLEAN, MOST_REWEIGHTINGS, Reweighting, isChecked } from './reweighting.js';

/**
 * The input of convolutions where the equations of their gradients are fewer than its entries, or badly conditioned: a
 * rectifier's output is never negative and has many zeros, which often leaves a single solution (Bruckstein, Elad and
 * Zibulevsky, IEEE Trans. Inf. Theory 2008). Whether it does is not supposed but shown, channel by channel, by a
 * combination of the equations in which every entry that is zero has a positive factor and every other entry none.
 */

/** Entries that are known otherwise, as below a shortcut. */
export interface GivenEntries {
  /** channels x unknowns */
  readonly values: Float64Array;
  /** The same shape, 1 where a value is given. */
  readonly isGiven: Uint8Array;
  /** The same shape, standard errors; zero where none is given. */
  readonly deviation: Float64Array;
}

export interface NonNegativeSystem {
  readonly rows: Rows;
  /** unknowns x equations */
  readonly design: Float64Array;
  readonly channels: number;
  /** Of the channels that are solved for. */
  readonly given: GivenEntries | undefined;
  /** Relative error of the gradients' numbers. */
  readonly error: number;
}

export interface NonNegativeSolution {
  /** channels x unknowns */
  readonly values: Float64Array;
  /** Standard errors, of the same shape. */
  readonly deviation: Float64Array;
  /** Of the same shape, 1 where more than one value is possible. */
  readonly unknown: Uint8Array;
  /** Root mean square over equations of what is left, for channels with one solution; they are of the size of one. */
  readonly residual: number;
  readonly equations: number;
  /** Output channels that contradict the others. */
  readonly outlying: readonly Row[];
}

/**
 * Bound on how far another solution's entries may be, in units of the values' root mean square: with more, the values
 * are not told. Expected errors are far smaller.
 */
const MOST_ERROR = 0.03;
/** Standard deviations that the noise along one combination of the equations may have. */
const SIGMAS = 10;
/** Multiplications for all channels of a node. */
const MOST_WORK = 4e10;
/** Rounding makes some 1e-8 of a margin that is not there. */
const LEAST_MARGIN = 1e-6;
/** Deviation of an entry times its column's length: beyond, others span its column, down to rounding. */
const MOST_DEVIATION = 1e6;
/** Share of the equations that zeros must leave over. */
const SPARE = 0.98;
/** Share of the entries: with less, the layers below are not told apart from what they might be. */
const LEAST_TOLD = 0.5;
/** More than for least squares: a wrong delta may be fitted by other zeros, too. */
const ENOUGH_CHECKS = 2;
/** Where no output channel has stood out for so many rounds, all are used as if there had been none. */
const MOST_QUIET = 12;
/** Without the output channels that nothing checks, others may lose what checked them. */
const MOST_WITHDRAWALS = 4;

/**
 * @param pause between multiplications
 * @returns undefined where less than half of the entries have a single solution
 */
export async function solveNonNegative(
  system: NonNegativeSystem,
  product: ProductKernel,
  pause: Pause,
): Promise<NonNegativeSolution | undefined> {
  const { rows } = system;
  const reweighting = new Reweighting(system.error);
  const budget: Budget = { spent: 0, pause };
  let weights: Float64Array = new Float64Array(rows.rows.length).fill(1);
  let kept: Float64Array = weights;
  let values: Float64Array | undefined;
  let quiet = 0;
  for (let round = 0; round < MOST_REWEIGHTINGS && quiet < MOST_QUIET && budget.spent <= MOST_WORK; round++) {
    const search = new Search(system, perEquation(rows, weights), product, budget);
    values = await search.solve(values);
    const off = search.leftOf(rows);
    const middle = median(off.filter((own) => own > 0));
    const next = reweighting.kept(off, middle);
    const isSettled = middle < CLEAN && next.every((own, at) => own === kept[at]);
    kept = next;
    if (isSettled) {
      break;
    }
    quiet = kept.includes(0) ? 0 : quiet + 1;
    weights = reweighting.next(off, middle);
  }
  let used = perEquation(rows, kept);
  for (let round = 0; round <= MOST_WITHDRAWALS && used.includes(1); round++) {
    const search = new Search(system, used, product, budget);
    values = await search.solve(values);
    const checks: Checks = { found: new Float64Array(rows.count), most: new Float64Array(rows.count) };
    const found = await search.told(checks);
    const checked = checkedOf(rows, used, tiedTogether(search.weighted, rows.count), checks);
    if (!found || checked.every((own, at) => own === used[at])) {
      return found && { ...found, outlying: rows.rows.filter((_, at) => kept[at] === 0) };
    }
    used = checked;
  }
  return undefined;
}

/** Of each equation, how many would contradict it, and what that comes to at most, {@link isChecked}. */
interface Checks {
  readonly found: Float64Array;
  readonly most: Float64Array;
}

/**
 * Leaves out what of an output channel nothing checks, for each set of unknowns on its own: with strides, kernel offsets
 * see different ones.
 *
 * @param used of each equation, 1 where it is used
 */
function checkedOf({ rows }: Rows, used: Float64Array, tied: readonly Tied[], checks: Checks): Float64Array {
  const rowOf = new Int32Array(used.length);
  rows.forEach(({ first, taps }, row) => rowOf.fill(row, first, first + taps));
  const next = new Float64Array(used.length);
  for (const { equations } of tied) {
    const byRow = new Map<number, number[]>();
    for (const at of equations) {
      const own = byRow.get(rowOf[at]!) ?? [];
      byRow.set(rowOf[at]!, own);
      own.push(at);
    }
    for (const own of byRow.values()) {
      const sumOf = (of: Float64Array): number => own.reduce((sum, at) => sum + of[at]!, 0);
      const mayStay = isChecked(sumOf(checks.found), sumOf(checks.most), ENOUGH_CHECKS);
      own.forEach((at) => (next[at] = mayStay ? used[at]! : 0));
    }
  }
  return next;
}

interface Budget {
  spent: number;
  readonly pause: Pause;
}

/** The entries of one channel that equations tie together. */
interface Part {
  readonly channel: number;
  /** Unknowns that are not given. */
  readonly missing: readonly number[];
  readonly equations: readonly number[];
  /** missing x missing */
  readonly normal: Float64Array;
  readonly found: Float64Array;
}

class Search {
  private readonly unknowns: number;
  /** unknowns x equations */
  readonly weighted: Float64Array;
  private readonly values: Float64Array;
  private parts: Part[] = [];
  private off = new Float64Array(0);

  constructor(
    private readonly system: NonNegativeSystem,
    private readonly weights: Float64Array,
    private readonly product: ProductKernel,
    private readonly budget: Budget,
  ) {
    this.unknowns = system.design.length / system.rows.count;
    this.weighted = scaledColumns(system.design, weights);
    this.values = system.given?.values.slice() ?? new Float64Array(system.channels * this.unknowns);
  }

  /**
   * @param near values found with other weights
   * @returns channels x unknowns
   */
  async solve(near: Float64Array | undefined): Promise<Float64Array> {
    const { channels, given, rows } = this.system;
    const { unknowns, weighted, product } = this;
    const normal = await product(weighted, weighted, unknowns, unknowns, rows.count);
    const right = scaledColumns(rows.right, this.weights);
    const projected = await product(right, weighted, channels, unknowns, rows.count);
    const tied = tiedTogether(this.weighted, rows.count);
    for (let channel = 0; channel < channels; channel++) {
      for (const { entries, equations } of tied) {
        const isGiven = (at: number): boolean => given?.isGiven[channel * unknowns + at] === 1;
        const missing = entries.filter((at) => !isGiven(at));
        if (missing.length === 0 || this.budget.spent > MOST_WORK) {
          continue;
        }
        const own = Float64Array.from(missing, (at) => projected[channel * unknowns + at]!);
        entries.filter(isGiven).forEach((from) => {
          const value = this.values[channel * unknowns + from]!;
          missing.forEach((at, to) => (own[to]! -= value * normal[at * unknowns + from]!));
        });
        const submatrix = missing.length === unknowns ? normal : submatrixOf(normal, unknowns, missing);
        const start = near && Float64Array.from(missing, (at) => near[channel * unknowns + at]!);
        const found = await nonNegative(submatrix, own, start, this.mayGoOn);
        missing.forEach((at, from) => (this.values[channel * unknowns + at] = found[from]!));
        this.parts.push({ channel, missing, equations, normal: submatrix, found });
      }
    }
    const byEquation = transposed(weighted, unknowns, rows.count);
    const reached = await product(this.values, byEquation, channels, rows.count, unknowns);
    this.off = right.map((own, at) => own - reached[at]!);
    return this.values;
  }

  /** Root mean square of what is left for each output channel, over channels that zeros leave equations to judge by. */
  leftOf({ rows, count }: Rows): Float64Array {
    const judged = [...new Set(this.parts.filter((part) => this.isOver(part)).map(({ channel }) => channel))];
    return Float64Array.from(rows, ({ first, taps }) => {
      let sum = 0;
      for (const channel of judged) {
        for (let at = channel * count + first; at < channel * count + first + taps; at++) {
          sum += this.off[at]! ** 2;
        }
      }
      return Math.sqrt(sum / Math.max(1, judged.length * taps));
    });
  }

  private isOver({ found, equations }: Part): boolean {
    return positivesOf(found) <= SPARE * equations.length;
  }

  /** @param checks filled */
  async told(checks: Checks): Promise<Omit<NonNegativeSolution, 'outlying'> | undefined> {
    const { channels, rows, given } = this.system;
    const { unknowns } = this;
    const unknown = Uint8Array.from({ length: channels * unknowns }, (_, at) => 1 - (given?.isGiven[at] ?? 0));
    const deviation = given?.deviation.slice() ?? new Float64Array(channels * unknowns);
    const most = (MOST_ERROR * norm(this.values)) / Math.sqrt(this.values.length);
    const isTellable = (part: Part): boolean => this.isOver(part) && this.leastBound(part) <= most;
    const atMost = this.parts.reduce((sum, part) => sum + (isTellable(part) ? part.missing.length : 0), 0);
    const others = unknown.reduce((sum, own) => sum + 1 - own, 0);
    if (others + atMost < LEAST_TOLD * unknown.length) {
      return undefined;
    }
    let squares = 0;
    let equations = 0;
    for (const part of this.parts) {
      const own = this.isOver(part) ? await this.errorsOf(part, most, checks) : undefined;
      if (!own?.bound.every((bound) => bound <= most)) {
        continue;
      }
      part.missing.forEach((at, from) => {
        unknown[part.channel * unknowns + at] = 0;
        deviation[part.channel * unknowns + at] = own.deviation[from]!;
      });
      squares += own.square;
      equations += part.equations.length;
    }
    const told = unknown.reduce((sum, own) => sum + 1 - own, 0) / unknown.length;
    const isEmpty = this.values.every((own, at) => unknown[at] === 1 || own === 0);
    return isEmpty || told < LEAST_TOLD
      ? undefined
      : {
          values: this.values.map((own, at) => (unknown[at] === 1 ? 0 : own)),
          deviation,
          unknown,
          residual: Math.sqrt(squares / Math.max(1, equations)),
          equations: rows.count,
        };
  }

  /**
   * With A = [F Z] for entries that are and are not positive, y of length one, F^T y = 0 and z^T y >= m |z| for each
   * column z of Z: where b's noise along any one direction is at most e, a non-negative x that explains b has
   * sum |z| x_z <= e / m, and on F is off by at most e (1 + 1 / m) times the root of (F^T F)^-1's diagonal. The largest m
   * is the distance of Z's hull from zero once F is projected out.
   *
   * @param most bound from which on a value is not told
   * @returns undefined where there is no such y, or one whose bounds are larger
   */
  private async errorsOf(part: Part, most: number, checks: Checks): Promise<Errors | undefined> {
    const { missing, equations, normal, found } = part;
    const count = missing.length;
    const positive = positivesOf(found);
    const zero = [...found.keys()].filter((at) => !(found[at]! > 0));
    const whitening = positive ** 2 * (positive / 3 + zero.length + equations.length);
    if (!(await this.mayGoOn(whitening + zero.length ** 2 * positive))) {
      return undefined;
    }
    const free = new GrowingCholesky(normal, count);
    found.forEach((value, at) => {
      if (value > 0) {
        free.append(at);
      }
    });
    const rank = free.variables.length;
    const { inverse, columns } = await inverseLower(free.factor(), this.budget.pause);
    await this.addChecks(part, free, inverse, checks);
    if (this.leastBound(part) > most) {
      return undefined;
    }
    const { square, left } = this.leftIn(part);
    const noise = SIGMAS * left;
    const margin = await this.marginOf(normal, count, free, inverse, zero);
    if (!(margin > LEAST_MARGIN)) {
      return undefined;
    }
    // Roots of (F^T F)^-1's diagonal.
    const own = Float64Array.from({ length: rank }, (_, at) => norm(columns.subarray(at * rank, (at + 1) * rank)));
    if (free.variables.some((at, place) => own[place]! * Math.sqrt(normal[at * count + at]!) > MOST_DEVIATION)) {
      return undefined;
    }
    const bound = new Float64Array(count);
    const deviation = new Float64Array(count);
    free.variables.forEach((at, place) => {
      bound[at] = noise * (1 + 1 / margin) * own[place]!;
      deviation[at] = own[place]! * left;
    });
    for (const at of zero) {
      bound[at] = noise / (margin * Math.sqrt(normal[at * count + at]!));
    }
    return { bound, deviation, square };
  }

  /** @returns the sum of squares of what is left, and its size for each equation that is left over, at least that of rounding */
  private leftIn({ channel, equations, found }: Part): { square: number; left: number } {
    let square = 0;
    for (const equation of equations) {
      square += this.off[channel * this.system.rows.count + equation]! ** 2;
    }
    const each = Math.sqrt(square / Math.max(1, equations.length - positivesOf(found)));
    return { square, left: Math.max(each, this.system.error) };
  }

  /** What the bound on a part's worst entry is at least: no margin of zeros is above one, and no other columns can lower a deviation. */
  private leastBound(part: Part): number {
    const { missing, normal, found } = part;
    const shortest = found.reduce(
      (least, value, at) => (value > 0 ? Math.min(least, normal[at * missing.length + at]!) : least),
      Infinity,
    );
    const margins = positivesOf(found) === found.length ? 1 : 2;
    return (margins * SIGMAS * this.leftIn(part).left) / Math.sqrt(shortest);
  }

  private async addChecks(
    { missing, equations }: Part,
    free: GrowingCholesky,
    inverse: Float64Array,
    checks: Checks,
  ): Promise<void> {
    const { count } = this.system.rows;
    const rank = free.variables.length;
    const own = new Float64Array(equations.length * rank);
    free.variables.forEach((at, place) => {
      const line = missing[at]! * count;
      equations.forEach((equation, row) => (own[row * rank + place] = this.weighted[line + equation]!));
    });
    const whitened = await this.product(own, inverse, equations.length, rank, rank);
    equations.forEach((equation, row) => {
      checks.found[equation]! += 1 - norm(whitened.subarray(row * rank, (row + 1) * rank)) ** 2;
      checks.most[equation]! += 1;
    });
  }

  private async marginOf(
    normal: Float64Array,
    count: number,
    free: GrowingCholesky,
    inverse: Float64Array,
    zero: readonly number[],
  ): Promise<number> {
    if (zero.length === 0) {
      return Infinity;
    }
    const rank = free.variables.length;
    const lengths = Float64Array.from(zero, (at) => Math.sqrt(normal[at * count + at]!));
    const columns = new Float64Array(zero.length * rank);
    zero.forEach((at, row) => {
      free.variables.forEach((other, place) => (columns[row * rank + place] = normal[at * count + other]!));
    });
    const projected = await this.product(columns, inverse, zero.length, rank, rank);
    const hull = await this.product(projected, projected, zero.length, zero.length, rank);
    zero.forEach((row, i) => {
      zero.forEach((col, j) => {
        const at = i * zero.length + j;
        hull[at] = 1 + (normal[row * count + col]! - hull[at]!) / (lengths[i]! * lengths[j]!);
      });
    });
    const shares = await nonNegative(hull, new Float64Array(zero.length).fill(1), undefined, this.mayGoOn);
    const sum = shares.reduce((total, own) => total + own, 0);
    // What was found may not be the nearest point yet: only the least product with any column bounds.
    const pulls = Float64Array.from(zero, (_, i) =>
      shares.reduce((total, own, j) => total + (own === 0 ? 0 : own * (hull[i * zero.length + j]! - 1)), 0),
    );
    const square = shares.reduce((total, own, i) => total + own * pulls[i]!, 0);
    const least = pulls.reduce((most, own) => Math.min(most, own), Infinity);
    return sum > 0 && square > 0 ? least / Math.sqrt(square) : 0;
  }

  private readonly mayGoOn = async (multiplications: number): Promise<boolean> => {
    this.budget.spent += multiplications;
    await this.budget.pause();
    return this.budget.spent <= MOST_WORK;
  };
}

function positivesOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + Number(value > 0), 0);
}

function submatrixOf(matrix: Float64Array, size: number, of: readonly number[]): Float64Array {
  const out = new Float64Array(of.length ** 2);
  of.forEach((row, i) => {
    of.forEach((col, j) => (out[i * of.length + j] = matrix[row * size + col]!));
  });
  return out;
}

interface Errors {
  /** Of each entry, certain. */
  readonly bound: Float64Array;
  /** Standard errors. */
  readonly deviation: Float64Array;
  /** Sum of squares of what is left. */
  readonly square: number;
}

interface Tied {
  readonly entries: number[];
  readonly equations: number[];
}

/** Sets of unknowns that no equation connects, with their equations; unknowns without any are left out. */
function tiedTogether(design: Float64Array, count: number): Tied[] {
  const unknowns = design.length / count;
  const parent = Int32Array.from({ length: unknowns }, (_, at) => at);
  const rootOf = (at: number): number => {
    let root = at;
    while (parent[root] !== root) {
      root = parent[root]!;
    }
    parent[at] = root;
    return root;
  };
  const firstOf = new Int32Array(count).fill(-1);
  const isSeen = new Uint8Array(unknowns);
  for (let at = 0; at < unknowns; at++) {
    for (let equation = 0; equation < count; equation++) {
      if (design[at * count + equation] !== 0) {
        isSeen[at] = 1;
        const first = firstOf[equation]!;
        if (first < 0) {
          firstOf[equation] = at;
        } else {
          parent[rootOf(at)] = rootOf(first);
        }
      }
    }
  }
  const sets = new Map<number, Tied>();
  const setOf = (at: number): Tied => {
    const root = rootOf(at);
    const own = sets.get(root) ?? { entries: [], equations: [] };
    sets.set(root, own);
    return own;
  };
  isSeen.forEach((own, at) => own === 1 && setOf(at).entries.push(at));
  firstOf.forEach((first, equation) => first >= 0 && setOf(first).equations.push(equation));
  return [...sets.values()];
}
