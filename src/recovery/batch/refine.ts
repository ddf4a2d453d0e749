import { type Cholesky, factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import { gram, multiply, multiplyTransposed, productWithTransposed } from '../linear-algebra.js';
import { dot, dotAt, joined, scaled } from '../vectors.js';
import { type Candidate, type Evaluated, type SampleProblem, awayFromSpan, evaluate } from './sample-problem.js';
import { mayBeSample } from './sample-tests.js';
import type { Pause } from '../pause.js';

/** How a step is solved for: with this linearisation's normal matrix, an older one's, or an older one's as preconditioner. */
type Matrix = 'new' | 'old' | 'preconditioner';

interface Step {
  readonly candidate: Evaluated;
  readonly damping: number;
  /** Whether nothing is left to gain. */
  readonly isLast: boolean;
}

/**
 * Levenberg-Marquardt on the normalised residual ||N e|| / ||e||. Unnormalised, a saturated softmax (e = 0) would be a
 * false zero. The label's entries at the candidate's classes are unknowns even where the family fixes them: a
 * float32 softmax errs most there, and that error would otherwise leak into every class. What they come out as is evidence.
 *
 * A normal matrix costs classes rank^2, its product with a vector classes rank. So where the rank is large, steps are
 * solved for by conjugate gradients; the normal matrix of an earlier iteration, or of another candidate, makes that short.
 */
export class Refiner {
  private readonly most: number;
  private readonly jacobian: Float64Array;
  /** J^T N J where it was last made, lower triangle, `most` numbers a row. */
  private readonly normal: Float64Array;
  private isMade = false;
  private flat: Float64Array | undefined;
  /** Where the last search passed. */
  private path: Passed[] = [];
  /** Where searches passed that led to no sample, by their labels' classes. */
  private readonly vain = new Map<string, readonly Passed[]>();
  /** Candidates to come that do without the normal matrix of another one, since it did not serve the last. */
  private caution = 0;

  constructor(
    private readonly problem: SampleProblem,
    mostClasses: number,
    /** Called between iterations, which take long for large batches; may throw to stop. */
    private readonly pause: Pause,
  ) {
    this.most = problem.rank + mostClasses + 1;
    this.jacobian = new Float64Array(problem.rank * problem.classes);
    this.normal = new Float64Array(this.most * this.most);
  }

  /**
   * @param freeFlat whether the label's flat part is an unknown, too
   */
  async refine(start: Candidate, freeFlat: boolean, iterations: number): Promise<Evaluated> {
    const { problem } = this;
    let isIterated = problem.rank >= LEAST_ITERATED;
    this.path = [];
    let current = evaluate(problem, start);
    let damping = 1e-2;
    let stalled = 0;
    let isLent = isIterated && this.isMade && this.caution === 0;
    this.caution = Math.max(this.caution - 1, 0);
    let isStale = !isLent;

    for (let iteration = 0; iteration < iterations && current.cost > CONVERGED; iteration++) {
      if (!Number.isFinite(current.cost) || this.isVain(current)) {
        break;
      }
      const { q, classes, weights, flat, cost } = current;
      this.path.push({ q, classes, weights, flat, cost });
      await this.pause();
      const point = new Linearisation(problem, current, freeFlat);
      if (isLent && iteration === 0) {
        this.fillBorder(point);
      }
      let next = isStale ? undefined : this.step(point, damping, isIterated ? 'preconditioner' : 'old');
      if (!next || (!isIterated && next.candidate.cost > WORTHWHILE * current.cost)) {
        this.caution = isLent ? CAUTION : this.caution;
        isLent = false;
        this.fillNormal(point);
        next = this.step(point, damping, 'new');
      }
      if (!next) {
        break;
      }
      isStale = !isIterated && next.candidate.cost > WORTHWHILE * current.cost;
      damping = Math.max(next.damping / 5, 1e-12);
      stalled = iteration > 2 && current.cost - next.candidate.cost < STALL * current.cost ? stalled + 1 : 0;
      current = next.candidate;
      if (stalled >= MOST_STALLS || next.isLast) {
        if (!isIterated || current.cost > NEAR || mayBeSample(problem, current)) {
          break;
        }
        // Near a solution, what is left of inexact steps is all there is to gain.
        [isIterated, isStale, stalled] = [false, true, 0];
      }
    }
    return current;
  }

  /** undefined when no damping lowers the cost, or when an older normal matrix does not serve. */
  private step(point: Linearisation, from: number, matrix: Matrix): Step | undefined {
    const { current, freeFlat, slope } = point;
    let damping = from;
    for (let attempt = 0; attempt < (matrix === 'old' ? 1 : MOST_ATTEMPTS); attempt++) {
      const step = this.solve(point, damping, matrix);
      if (step === 'slow') {
        return undefined;
      }
      if (step) {
        const candidate = evaluate(this.problem, moved(current, step, freeFlat));
        // To first order a step lowers the cost by this much; at the minimum only rounding is left to follow.
        const hasNothing = -dot(slope, step) < NOTHING_TO_GAIN * current.cost;
        if (candidate.cost < current.cost) {
          return { candidate, damping, isLast: hasNothing && damping <= LIGHT_DAMPING };
        }
        if (hasNothing) {
          return { candidate: current, damping, isLast: true };
        }
      }
      damping *= 6;
    }
    return undefined;
  }

  private fillNormal(point: Linearisation): void {
    const { jacobian, normal, most } = this;
    const { classes, rank, left, rowError } = this.problem;
    fillDirections(this.problem, point.current.p, jacobian, point.mean);
    const spanned = productWithTransposed(jacobian, left, rank, rank, classes);
    gram(jacobian, rank, classes, normal, most);
    subtractGram(spanned, rank, rank, normal, most);
    const { classes: labelled } = point.current;
    labelled.forEach((row, at) => {
      // J_label is -1 / rowError at one class, so its N is -(axis - U U^T axis) / rowError.
      const along = Float64Array.from({ length: rank }, (_, direction) => left[direction * classes + row]!);
      const to = (rank + at) * most;
      for (let direction = 0; direction < rank; direction++) {
        const within = dotAt(spanned, direction * rank, along, rank);
        normal[to + direction] = (within - jacobian[direction * classes + row]!) / rowError[row]!;
      }
      for (let other = 0; other <= at; other++) {
        const otherRow = labelled[other]!;
        const distance =
          Number(other === at) - along.reduce((sum, value, k) => sum + value * left[k * classes + otherRow]!, 0);
        normal[to + rank + other] = distance / rowError[row]! / rowError[otherRow]!;
      }
    });
    if (point.freeFlat) {
      const away = this.awayOfFlat();
      const to = (point.unknowns - 1) * most;
      normal.set(multiply({ rows: rank, cols: classes, data: jacobian }, away), to);
      labelled.forEach((row, at) => (normal[to + rank + at] = -away[row]! / rowError[row]!));
      normal[to + point.unknowns - 1] = dot(away, away);
    }
    this.isMade = true;
  }

  /** N times the flat part's column of the Jacobian, -1 / rowError. */
  private awayOfFlat(): Float64Array {
    this.flat ??= awayFromSpan(
      this.problem,
      this.problem.rowError.map((value) => -1 / value),
    );
    return this.flat;
  }

  /** The rows of the label's unknowns where the rest is another candidate's. */
  private fillBorder(point: Linearisation): void {
    const { rank } = this.problem;
    for (let at = rank; at < point.unknowns; at++) {
      const axis = new Float64Array(point.unknowns);
      axis[at] = 1;
      this.normal.set(point.normalTimes(axis).subarray(0, at + 1), at * this.most);
    }
  }

  /** Remembers where the last search passed, since it led to no sample: others that come there are given up. */
  giveUp(): void {
    const [first] = this.path;
    if (first) {
      const key = keyOf(first);
      this.vain.set(key, [...(this.vain.get(key) ?? []), ...this.path].slice(-MOST_VAIN));
    }
  }

  private isVain(current: Evaluated): boolean {
    return this.vain.get(keyOf(current))?.some((other) => isNear(current, other)) ?? false;
  }

  /** -(H + damping diag H)^-1 slope; undefined when that is not positive definite, 'slow' when it takes too many products. */
  private solve(point: Linearisation, damping: number, matrix: Matrix): Float64Array | 'slow' | undefined {
    const { normal, most } = this;
    const { unknowns } = point;
    const system = new Float64Array(unknowns * unknowns);
    for (let i = 0; i < unknowns; i++) {
      system.set(normal.subarray(i * most, i * most + i + 1), i * unknowns);
    }
    point.normalise(system);
    let largest = 0;
    for (let i = 0; i < unknowns; i++) {
      largest = Math.max(largest, system[i * unknowns + i]!);
    }
    const ridge = new Float64Array(unknowns);
    for (let i = 0; i < unknowns; i++) {
      const own = i * unknowns + i;
      ridge[i] = damping * Math.abs(system[own]!) + 1e-14 * largest + 1e-300;
      system[own]! += ridge[i]!;
    }
    const factored = factoriseSmall(system, unknowns);
    if (factored.deficiency > 0) {
      return undefined;
    }
    return matrix === 'preconditioner'
      ? iterated(point, ridge, factored, Math.max(Math.ceil(MOST_PRODUCTS * unknowns), 4))
      : solveUpper(factored, solveLower(factored, scaled(point.slope, -1)));
  }
}

/** Squared relative misfits below this are rounding of our own. */
const CONVERGED = 1e-26;
const STALL = 0.03;
const MOST_STALLS = 2;
/** Below this cost, a search that has come to rest may be at a sample and not yet close enough to be known as one. */
const NEAR = 1e-4;
const MOST_ATTEMPTS = 8;
/** While a step with an older normal matrix cuts the cost to this share, a new one is not worth its price. */
const WORTHWHILE = 0.25;
/** From this rank on, conjugate gradients cost less than a normal matrix. */
const LEAST_ITERATED = 24;
/** Products per unknown that cost about half of a normal matrix. */
const MOST_PRODUCTS = 0.12;
/** Candidates that make their own normal matrix after one that another's did not serve. */
const CAUTION = 2;
/** Points kept for each set of classes. */
const MOST_VAIN = 64;
/** Relative difference between two points that lead to the same end. */
const SAME_POINT = 0.02;
/** Damping that leaves a step about as long as without. */
const LIGHT_DAMPING = 1e-2;
/** A step that lowers the cost by less than this share follows rounding. */
const NOTHING_TO_GAIN = 1e-4;
/** A step need not be solved for better than this, relative: the next one makes up for it. */
const INEXACT = 0.02;

/** The Jacobian of the normalised residual at a candidate, by its products: that of e is diag(p / rowError) (A - 1 mean^T). */
class Linearisation {
  /** Features' coordinates, the label's entries, its flat part. */
  readonly unknowns: number;
  /** A^T p, rank. */
  readonly mean: Float64Array;
  /** Of half the cost, unknowns. */
  readonly slope: Float64Array;
  /** p / rowError, classes. */
  private readonly scale: Float64Array;
  /** J^T N e / ||e||^2 and J^T e / ||e||^2. */
  private readonly towards: Float64Array;
  private readonly own: Float64Array;

  constructor(
    private readonly problem: SampleProblem,
    readonly current: Evaluated,
    readonly freeFlat: boolean,
  ) {
    const { classes, rank, logits, rowError } = problem;
    const { p, e, misfit, size, cost } = current;
    this.unknowns = rank + current.weights.length + (freeFlat ? 1 : 0);
    this.scale = new Float64Array(classes);
    const three = joined([p, misfit, e]);
    let sumTowards = 0;
    let sumOwn = 0;
    for (let row = 0; row < classes; row++) {
      const scale = p[row]! / rowError[row]!;
      this.scale[row] = scale;
      sumTowards += three[classes + row]! *= scale;
      sumOwn += three[2 * classes + row]! *= scale;
    }
    const products = productWithTransposed(three, logits, 3, rank, classes);
    this.mean = products.slice(0, rank);
    this.towards = new Float64Array(this.unknowns);
    this.own = new Float64Array(this.unknowns);
    for (let at = 0; at < rank; at++) {
      this.towards[at] = (products[rank + at]! - sumTowards * this.mean[at]!) / size;
      this.own[at] = (products[2 * rank + at]! - sumOwn * this.mean[at]!) / size / size;
    }
    this.labelBack(misfit, this.towards, 1 / size);
    this.labelBack(e, this.own, 1 / size / size);
    this.slope = this.towards.map((value, at) => value - cost * this.own[at]!);
  }

  /** J v, classes. */
  private forward(v: Float64Array): Float64Array {
    const { classes, rank, logits, rowError } = this.problem;
    const { weights, classes: labelled } = this.current;
    const out = multiplyTransposed({ rows: rank, cols: classes, data: logits }, v);
    let mean = 0;
    for (let at = 0; at < rank; at++) {
      mean += this.mean[at]! * v[at]!;
    }
    const flat = this.freeFlat ? v[this.unknowns - 1]! : 0;
    for (let row = 0; row < classes; row++) {
      out[row] = this.scale[row]! * (out[row]! - mean) - flat / rowError[row]!;
    }
    for (let at = 0; at < weights.length; at++) {
      const row = labelled[at]!;
      out[row]! -= v[rank + at]! / rowError[row]!;
    }
    return out;
  }

  /** J^T e, unknowns. */
  private back(e: Float64Array): Float64Array {
    const { classes, rank, logits } = this.problem;
    const weighted = new Float64Array(classes);
    let sum = 0;
    for (let row = 0; row < classes; row++) {
      const value = this.scale[row]! * e[row]!;
      weighted[row] = value;
      sum += value;
    }
    const out = new Float64Array(this.unknowns);
    out.set(multiply({ rows: rank, cols: classes, data: logits }, weighted));
    for (let at = 0; at < rank; at++) {
      out[at]! -= sum * this.mean[at]!;
    }
    this.labelBack(e, out, 1);
    return out;
  }

  /** The label's part of J^T e times a factor. */
  private labelBack(e: Float64Array, out: Float64Array, factor: number): void {
    const { classes, rank, rowError } = this.problem;
    this.current.classes.forEach((row, at) => (out[rank + at] = (-factor * e[row]!) / rowError[row]!));
    if (this.freeFlat) {
      let sum = 0;
      for (let row = 0; row < classes; row++) {
        sum += e[row]! / rowError[row]!;
      }
      out[this.unknowns - 1] = -factor * sum;
    }
  }

  /** J^T N J v, unknowns. */
  normalTimes(v: Float64Array): Float64Array {
    return this.back(awayFromSpan(this.problem, this.forward(v)));
  }

  /** The lower triangle of J^T N J to that of the normalised residual's normal matrix, in place. */
  normalise(system: Float64Array): void {
    const { unknowns, towards, own } = this;
    const { size, cost } = this.current;
    const factor = 1 / size / size;
    for (let i = 0; i < unknowns; i++) {
      const ofTowards = towards[i]!;
      const ofOwn = own[i]!;
      for (let j = 0; j <= i; j++) {
        const at = i * unknowns + j;
        system[at] = factor * system[at]! - ofTowards * own[j]! - ofOwn * towards[j]! + cost * ofOwn * own[j]!;
      }
    }
  }

  /** The normalised residual's normal matrix times v, unknowns. */
  normalisedTimes(v: Float64Array): Float64Array {
    const { towards, own } = this;
    const { size, cost } = this.current;
    const alongTowards = dot(towards, v);
    const alongOwn = dot(own, v);
    return this.normalTimes(v).map(
      (value, at) =>
        value / size / size - towards[at]! * alongOwn - own[at]! * alongTowards + cost * own[at]! * alongOwn,
    );
  }
}

/** Conjugate gradients for (H + ridge) step = -slope. */
function iterated(
  point: Linearisation,
  ridge: Float64Array,
  preconditioner: Cholesky,
  mostProducts: number,
): Float64Array | 'slow' | undefined {
  const rest = scaled(point.slope, -1);
  const step = new Float64Array(rest.length);
  let towards = solveUpper(preconditioner, solveLower(preconditioner, rest.slice()));
  const direction = towards.slice();
  const first = dot(rest, towards);
  let size = first;
  for (let products = 0; products < mostProducts; products++) {
    const image = point.normalisedTimes(direction);
    for (let at = 0; at < image.length; at++) {
      image[at]! += ridge[at]! * direction[at]!;
    }
    const curvature = dot(direction, image);
    if (!(curvature > 0)) {
      return undefined;
    }
    const length = size / curvature;
    for (let at = 0; at < step.length; at++) {
      step[at]! += length * direction[at]!;
      rest[at]! -= length * image[at]!;
    }
    towards = solveUpper(preconditioner, solveLower(preconditioner, rest.slice()));
    const next = dot(rest, towards);
    if (!(next > INEXACT ** 2 * first)) {
      return step;
    }
    for (let at = 0; at < step.length; at++) {
      direction[at] = towards[at]! + (next / size) * direction[at]!;
    }
    size = next;
  }
  return 'slow';
}

type Passed = Candidate & { readonly cost: number };

function keyOf({ classes }: Candidate): string {
  return classes.join();
}

function isNear(one: Passed, other: Passed): boolean {
  if (!(Math.abs(one.cost - other.cost) < SAME_POINT * other.cost)) {
    return false;
  }
  // The flat part is of every class.
  const smoothed = Math.max(one.flat, other.flat, 0);
  return (
    Math.abs(one.flat - other.flat) <= SAME_POINT * smoothed &&
    one.weights.every((value, at) => Math.abs(value - other.weights[at]!) < SAME_POINT) &&
    isNearFeature(one.q, other.q)
  );
}

function isNearFeature(one: Float64Array, other: Float64Array): boolean {
  let squares = 0;
  let most = 0;
  for (let at = 0; at < one.length; at++) {
    squares += (one[at]! - other[at]!) ** 2;
    most += other[at]! ** 2;
  }
  return squares <= SAME_POINT ** 2 * most;
}

function moved(current: Evaluated, step: Float64Array, freeFlat: boolean): Candidate {
  const { q, classes, weights, flat } = current;
  const most = 1 / current.p.length;
  return {
    q: q.map((value, at) => value + step[at]!),
    classes,
    weights: weights.map((value, at) => clamp(value + step[q.length + at]!, LEAST_WEIGHT, MOST_WEIGHT)),
    flat: freeFlat ? clamp(flat + step[q.length + weights.length]!, -0.1 * most, 0.8 * most) : flat,
  };
}

const LEAST_WEIGHT = 0.01;
const MOST_WEIGHT = 1.3;

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}

/** A^T p, rank. */
function meanLogits({ classes, rank, logits }: SampleProblem, p: Float64Array): Float64Array {
  return multiply({ rows: rank, cols: classes, data: logits }, p);
}

/**
 * d e / d (q, weights, flat), classes x unknowns, row-major; returns the number of unknowns.
 *
 * @param jacobian as many numbers or more
 */
export function fillJacobian(
  problem: SampleProblem,
  { p, classes: labelled, weights }: Evaluated,
  freeFlat: boolean,
  jacobian: Float64Array,
): number {
  const { classes, rank, logits, rowError } = problem;
  const unknowns = rank + weights.length + (freeFlat ? 1 : 0);
  const mean = meanLogits(problem, p);
  for (let row = 0; row < classes; row++) {
    const to = row * unknowns;
    const scale = p[row]! / rowError[row]!;
    for (let at = 0; at < rank; at++) {
      jacobian[to + at] = scale * (logits[at * classes + row]! - mean[at]!);
    }
    for (let at = 0; at < weights.length; at++) {
      jacobian[to + rank + at] = labelled[at] === row ? -1 / rowError[row]! : 0;
    }
    if (freeFlat) {
      jacobian[to + unknowns - 1] = -1 / rowError[row]!;
    }
  }
  return unknowns;
}

/**
 * d e / d q, transposed: rank x classes, row-major.
 *
 * @param p softmax at the point of linearisation, classes
 * @param mean A^T p where it is known, rank
 */
export function fillDirections(
  problem: SampleProblem,
  p: Float64Array,
  out: Float64Array,
  mean = meanLogits(problem, p),
): void {
  const { classes, rank, logits, rowError } = problem;
  const scale = new Float64Array(classes);
  for (let row = 0; row < classes; row++) {
    scale[row] = p[row]! / rowError[row]!;
  }
  for (let at = 0; at < rank; at++) {
    const from = at * classes;
    const own = mean[at]!;
    for (let row = 0; row < classes; row++) {
      out[from + row] = scale[row]! * (logits[from + row]! - own);
    }
  }
}

/** Subtracts A A^T, A rows x inner, from the lower triangle of a matrix with `stride` numbers a row. */
export function subtractGram(a: Float64Array, rows: number, inner: number, out: Float64Array, stride = rows): void {
  const square = new Float64Array(rows * rows);
  gram(a, rows, inner, square, rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j <= i; j++) {
      out[i * stride + j]! -= square[i * rows + j]!;
    }
  }
}
