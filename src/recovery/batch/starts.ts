import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import { gaussian } from '../gaussian.js';
import { gram, multiply, multiplyTransposed, productWithTransposed } from '../linear-algebra.js';
import { dot, norm, scaled } from '../vectors.js';
import { fillDirections, subtractGram } from './refine.js';
import { type Candidate, type SampleProblem, awayFromSpan, errorOf, probabilities } from './sample-problem.js';

/** Where the search for samples begins. Every start is a feature; the labels that fit it best are tried first. */

export interface LabelFamily {
  /** Number of classes that a label may stand out at. */
  readonly classes: 1 | 2;
  /** Whether every class has a common share (label smoothing), and that share's values to start from. */
  readonly flats: readonly number[];
  /** Whether the common share is unknown. */
  readonly freeFlat: boolean;
}

/** Labels further than this below 1 in sum are not tried: mixup and smoothing leave a label's weights above it. */
const LEAST_SMOOTHED = 0.3;

/**
 * The labels of a family that fit a feature best, each as a candidate with its residual: with e linear in the label's
 * entries, the best entry of every class follows in closed form (orthogonal matching for the second class).
 *
 * @param most number of labels per value of the flat part
 */
export function labelled(
  problem: SampleProblem,
  q: Float64Array,
  family: LabelFamily,
  most: number,
): { candidate: Candidate; cost: number }[] {
  const { classes, rowError } = problem;
  const p = probabilities(problem, q);
  return family.flats.flatMap((flat) => {
    const e = errorOf(problem, p, [], [], flat);
    const away = awayFromSpan(problem, e);
    const sum = 1 - flat * classes;
    const single = bestClasses(problem, e, away, family.freeFlat ? [LEAST_SMOOTHED, 1] : [0.9 * sum, 1.1 * sum], most);
    const ones = single.map(({ row, weight, cost }) => ({
      candidate: { q, classes: [row], weights: Float64Array.of(weight), flat },
      cost,
    }));
    if (family.classes === 1) {
      return ones;
    }
    const firsts = bestClasses(problem, e, away, [0.1 * sum, 0.95 * sum], most);
    return firsts.flatMap(({ row, weight }) => {
      const rest = e.slice();
      rest[row]! -= weight / rowError[row]!;
      const restAway = awayFromSpan(problem, rest);
      const left = Math.max(sum - weight, 0.05);
      const second = bestClasses(problem, rest, restAway, [0.3 * left, 1.3 * left], 2).find((one) => one.row !== row);
      return second
        ? [
            {
              candidate: { q, classes: [row, second.row], weights: Float64Array.of(weight, second.weight), flat },
              cost: second.cost,
            },
          ]
        : [];
    });
  });
}

function bestClasses(
  { classes, rowError, distance }: SampleProblem,
  e: Float64Array,
  away: Float64Array,
  [least, most]: readonly [number, number],
  count: number,
): { row: number; weight: number; cost: number }[] {
  let awaySquares = 0;
  let squares = 0;
  for (let row = 0; row < classes; row++) {
    awaySquares += away[row]! ** 2;
    squares += e[row]! ** 2;
  }
  const best: { row: number; weight: number; cost: number }[] = [];
  for (let row = 0; row < classes; row++) {
    const free = (away[row]! / distance[row]!) * rowError[row]!;
    const weight = Math.min(Math.max(free, least), most);
    const scaled = weight / rowError[row]!;
    const misfit = awaySquares - 2 * scaled * away[row]! + scaled * scaled * distance[row]!;
    const size = squares - 2 * scaled * e[row]! + scaled * scaled;
    const cost = Math.max(misfit, 0) / Math.max(size, 1e-300);
    if (best.length < count || cost < best[best.length - 1]!.cost) {
      best.push({ row, weight, cost });
      best.sort((one, other) => one.cost - other.cost);
      best.length = Math.min(best.length, count);
    }
  }
  return best;
}

/** Classes by leverage, highest first. */
export function classesByLeverage({ leverage }: SampleProblem, most: number): number[] {
  return [...leverage.keys()].sort((i, j) => leverage[j]! - leverage[i]!).slice(0, most);
}

/**
 * A class's own row of the gradient: where one sample dominates it, the row is that sample's feature times
 * c (p - y), and p - y is about -1 at the label and 1 at a confident mistake.
 */
export function rowStart(problem: SampleProblem, row: number, factor: number): Float64Array {
  const { classes, left, values, rowError } = problem;
  const scale = factor * rowError[row]!;
  return values.map((value, at) => scale * value * left[at * classes + row]!);
}

/** Features that solve the equations to first order around q = 0, for untrained heads. */
export class LinearisedStarts {
  /** Of (p - y) / rowError with respect to q, transposed: rank x classes. */
  private readonly jacobian: Float64Array;
  /** Its share of U: J^T U, rank x rank. */
  private readonly spanned: Float64Array;
  private readonly factored;
  private readonly centre: Float64Array;

  constructor(private readonly problem: SampleProblem) {
    const { classes, rank, left } = problem;
    this.centre = probabilities(problem, new Float64Array(rank));
    this.jacobian = new Float64Array(rank * classes);
    fillDirections(problem, this.centre, this.jacobian);
    this.spanned = productWithTransposed(this.jacobian, left, rank, rank, classes);
    const normal = new Float64Array(rank * rank);
    gram(this.jacobian, rank, classes, normal, rank);
    subtractGram(this.spanned, rank, rank, normal);
    ridge(normal, rank, 1e-10);
    this.factored = factoriseSmall(normal, rank);
  }

  /** The q for which N ((p(q) - y) / rowError) is smallest to first order, with y = flat + weights at the classes. */
  start(classes: readonly number[], weights: readonly number[], flat: number): Float64Array {
    const away = awayFromSpan(this.problem, errorOf(this.problem, this.centre, classes, weights, flat));
    return scaled(this.solve(away), -1);
  }

  /** Least squares of J q = away, which lies outside of the span of U. */
  private solve(away: Float64Array): Float64Array {
    const { rank, classes } = this.problem;
    const slope = multiply({ rows: rank, cols: classes, data: this.jacobian }, away);
    return solveUpper(this.factored, solveLower(this.factored, slope));
  }

  /**
   * Pairs of classes by how well a mixed label explains the equations to first order, best first: with features
   * eliminated, each pair is a 2 x 2 least-squares problem in its two label entries.
   */
  pairs(candidates: readonly number[], flat: number, most: number): { classes: [number, number]; weights: number[] }[] {
    const { problem, centre } = this;
    const { rowError } = problem;
    const whole = 1 - flat * problem.classes;
    const constant = this.eliminate(errorOf(problem, centre, [], [], flat));
    const axes = candidates.map((row) => {
      const axis = new Float64Array(problem.classes);
      axis[row] = 1 / rowError[row]!;
      return this.eliminate(axis);
    });
    const found: { classes: [number, number]; weights: number[]; cost: number }[] = [];
    for (let i = 0; i < axes.length; i++) {
      for (let j = 0; j < i; j++) {
        // y_j = whole - y_i: one unknown, so that a wrong pair cannot shrink its label to fit.
        const difference = axes[i]!.map((value, at) => value - axes[j]![at]!);
        const rest = constant.map((value, at) => value - whole * axes[j]![at]!);
        const size = dot(difference, difference);
        const weight = dot(difference, rest) / Math.max(size, 1e-300);
        if (weight < 0.02 * whole || weight > 0.98 * whole) {
          continue;
        }
        const cost = dot(rest, rest) - weight * weight * size;
        found.push({ classes: [candidates[i]!, candidates[j]!], weights: [weight, whole - weight], cost });
      }
    }
    return found.sort((one, other) => one.cost - other.cost).slice(0, most);
  }

  /** Takes out what a feature could explain to first order. */
  private eliminate(e: Float64Array): Float64Array {
    const { problem, jacobian, spanned } = this;
    const { rank, classes, left } = problem;
    const away = awayFromSpan(problem, e);
    const q = this.solve(away);
    const explained = multiplyTransposed({ rows: rank, cols: classes, data: jacobian }, q);
    const inSpan = multiplyTransposed({ rows: rank, cols: rank, data: spanned }, q);
    const along = multiplyTransposed({ rows: rank, cols: classes, data: left }, inSpan);
    for (let row = 0; row < classes; row++) {
      away[row]! -= explained[row]! - along[row]!;
    }
    return away;
  }
}

/** "Predicted as j": least-squares logits for class j standing out by each margin, for trained heads. */
export function predictedStarts(problem: SampleProblem, classes: readonly number[]): Float64Array[] {
  const { rank, logits, classes: all } = problem;
  const centred = logits.slice();
  for (let at = 0; at < rank; at++) {
    const own = centred.subarray(at * all, (at + 1) * all);
    const mean = own.reduce((sum, value) => sum + value, 0) / all;
    for (let row = 0; row < all; row++) {
      own[row]! -= mean;
    }
  }
  const normal = new Float64Array(rank * rank);
  gram(centred, rank, all, normal, rank);
  ridge(normal, rank, 1e-10);
  const factored = factoriseSmall(normal, rank);
  return classes.flatMap((row) => {
    const own = Float64Array.from({ length: rank }, (_, at) => centred[at * all + row]!);
    const towards = solveUpper(factored, solveLower(factored, own));
    const z = multiplyTransposed({ rows: rank, cols: all, data: centred }, towards);
    const second = z.reduce((top, value, other) => (other === row ? top : Math.max(top, value)), -Infinity);
    return MARGINS.map((margin) => {
      const factor = Math.min(margin / Math.max(z[row]! - second, 0.05), 4 * margin);
      return towards.map((value) => value * factor);
    });
  });
}

const MARGINS = [2, 5, 9, 14];

/** Random features of the size and about the mean of those found so far. */
export function randomStarts(
  rank: number,
  found: readonly Float64Array[],
  typicalSize: number,
  count: number,
  random: () => number,
): Float64Array[] {
  const mean = new Float64Array(rank);
  for (const q of found) {
    q.forEach((value, at) => (mean[at]! += value / found.length));
  }
  const around = norm(mean) / Math.sqrt(rank);
  return Array.from({ length: count }, (_, index) => {
    const draws = Float64Array.from({ length: rank }, () => gaussian(random));
    const between = (least: number, most: number): number => least + (most - least) * random();
    if (index % 3 === 0 && around > 0) {
      const spread = around * between(0.3, 2);
      return draws.map((value, at) => mean[at]! + value * spread);
    }
    if (index % 3 === 1 && found.length > 0) {
      const near = found[Math.floor(random() * found.length)]!;
      const spread = (typicalSize / Math.sqrt(rank)) * between(0, 0.5);
      const factor = between(0.5, 1.5);
      return draws.map((value, at) => near[at]! * factor + value * spread);
    }
    const size = (typicalSize * between(0.2, 1.2)) / norm(draws);
    return draws.map((value) => value * size);
  });
}

function ridge(normal: Float64Array, size: number, share: number): void {
  let largest = 0;
  for (let at = 0; at < size; at++) {
    largest = Math.max(largest, normal[at * size + at]!);
  }
  for (let at = 0; at < size; at++) {
    normal[at * size + at]! += share * largest + 1e-300;
  }
}
