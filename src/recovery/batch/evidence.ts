import { factoriseSmall, inverseOf } from '../cholesky.js';
import { FLOAT32_ROUNDOFF } from '../head-gradient.js';
import { gram, matrixProduct, multiplyTransposed, productWithTransposed, transposed } from '../linear-algebra.js';
import { norm } from '../vectors.js';
import { fillJacobian } from './refine.js';
import { type Evaluated, type SampleProblem, alongSpan, awayFromSpan } from './sample-problem.js';
import type { WhitenedHead } from './whiten.js';

/** What speaks for or against a candidate, all from the gradient and the checkpoint alone. */
export interface Evidence {
  /** Misfit in units of its expected noise, squared, per degree of freedom: about 1 for a sample. */
  readonly chi: number;
  /** Expected relative error of the feature. */
  readonly featureError: number;
  /** Expected error of the label's entries. */
  readonly weightError: number;
  /** Expected noise of e against e itself: near 1, anything would fit. */
  readonly weakness: number;
  /** Equations that noise leaves something of, less the unknowns: at 0 or below, there is always a solution. */
  readonly surplus: number;
  /** c in G = sum_i c e_i x_i^T: 1 / B for a mean over B samples, n / B for n samples that are one to this gradient. */
  readonly coefficient: number;
  /** Expected relative error of the coefficient. */
  readonly coefficientError: number;
  /** U^T e. */
  readonly r: Float64Array;
}

/** A float32 forward pass errs by about this many roundings in a logit and in a probability. */
const FORWARD_ROUNDINGS = 4;
/** Error of p - y at the labelled class, where a float32 softmax subtracts two numbers near 1. */
const LABEL_ERROR = 2e-7;

/** An entry of p - y this many times its error tells something. */
const TELLING = 5;

/** What judging many candidates of one problem has in common. */
export class Judge {
  /** V^T columnScale^2 V: lengths of features from their coordinates. */
  private readonly metric: Float64Array;
  private readonly weightNorms: Float64Array;
  /** V^T in whitened units, rank x columns. */
  private readonly right: Float64Array;
  private readonly scaleSquares: number;
  private readonly jacobian: Float64Array;
  /** U, classes x rank. */
  private byClass: Float64Array | undefined;

  constructor(
    private readonly head: WhitenedHead,
    private readonly problem: SampleProblem,
    mostClasses: number,
  ) {
    const { classes, columns, columnScale, weight, svd } = head;
    const { rank } = problem;
    const own = problem.basis ? problem.basis.length / rank : rank;
    const right = transposed(svd.right, columns, svd.rank).slice(0, own * columns);
    this.right = problem.basis ? matrixProduct(transposed(problem.basis, own, rank), right, rank, own, columns) : right;
    const scaledRight = this.right.map((value, at) => value * columnScale[at % columns]!);
    this.metric = productWithTransposed(scaledRight, scaledRight, rank, rank, columns);
    this.weightNorms = new Float64Array(classes);
    for (let row = 0; row < classes; row++) {
      this.weightNorms[row] = norm(weight.data.subarray(row * columns, (row + 1) * columns));
    }
    this.scaleSquares = columnScale.reduce((sum, value) => sum + value * value, 0);
    this.jacobian = new Float64Array((rank + mostClasses + 1) * classes);
  }

  /** The feature in the model's own units, columns long. */
  feature(q: Float64Array): Float64Array {
    return this.whitened(q).map((value, at) => value * this.head.columnScale[at]!);
  }

  /** The feature in whitened units, columns long. */
  private whitened(q: Float64Array): Float64Array {
    return multiplyTransposed({ rows: this.problem.rank, cols: this.head.columns, data: this.right }, q);
  }

  /** @param freeFlat whether the label's flat part was an unknown */
  judge(candidate: Evaluated, freeFlat: boolean): Evidence {
    const { problem } = this;
    const { classes, rank, values, sigma } = problem;
    const r = alongSpan(problem, candidate.e);
    const dualOfX = norm(r.map((value, at) => value / values[at]!));
    const dualOfE = norm(candidate.q.map((value, at) => value / values[at]!));
    const errors = this.errors(candidate, sigma * dualOfX, sigma * dualOfE);
    const unknowns = fillJacobian(problem, candidate, freeFlat, this.jacobian);
    const freedom = Math.max(classes - rank - unknowns, 1);
    let chi = 0;
    let noise = 0;
    let telling = 0;
    for (let row = 0; row < classes; row++) {
      chi += (candidate.misfit[row]! * candidate.size) ** 2 / errors[row]!;
      if (!candidate.classes.includes(row)) {
        noise += errors[row]!;
        telling += candidate.e[row]! ** 2 > TELLING ** 2 * errors[row]! ? 1 : 0;
      }
    }
    const dual = r.map((value, at) => value / values[at]!);
    const { coordinates, weights, alongDual } = this.spread(unknowns, errors, dual);
    const outside = (sigma * dualOfE) ** 2 * this.scaleSquares;
    const bilinear = candidate.q.reduce((sum, value, at) => sum + (value * r[at]!) / values[at]!, 0);
    const length = Math.sqrt(this.lengthSquared(candidate.q));
    return {
      chi: chi / freedom,
      featureError: Math.sqrt(coordinates + outside) / length,
      weightError: weights,
      surplus: telling - 2 * rank - (freeFlat ? 1 : 0),
      weakness: Math.sqrt(noise) / candidate.size,
      coefficient: 1 / bilinear,
      coefficientError: Math.hypot(sigma * dualOfX * dualOfE, alongDual) / Math.abs(bilinear),
      r,
    };
  }

  /** Expected squared error of each entry of N e: the dump's noise through U and V, and the forward pass's rounding. */
  private errors(candidate: Evaluated, ofE: number, ofX: number): Float64Array {
    const { classes, columns, weight } = this.head;
    const { rowError, rank, logits, offset } = this.problem;
    const x = this.whitened(candidate.q);
    const z = multiplyTransposed({ rows: rank, cols: classes, data: logits }, candidate.q);
    let top = -Infinity;
    for (let row = 0; row < classes; row++) {
      z[row]! += offset?.[row] ?? 0;
      top = Math.max(top, z[row]!);
    }
    const errors = new Float64Array(classes);
    for (let row = 0; row < classes; row++) {
      let squares = 0;
      for (let col = 0; col < columns; col++) {
        const term = weight.data[row * columns + col]! * x[col]!;
        squares += term * term;
      }
      const forward = FORWARD_ROUNDINGS * FLOAT32_ROUNDOFF * (Math.sqrt(squares) + top - z[row]!);
      const relative = candidate.p[row]! / rowError[row]!;
      const label = candidate.classes.includes(row) ? LABEL_ERROR / rowError[row]! : 0;
      errors[row] = ofE ** 2 + relative ** 2 * ((ofX * this.weightNorms[row]!) ** 2 + forward ** 2) + label ** 2;
    }
    return errors;
  }

  /** Expected squared error of the feature within V, and errors of the label's entries and of q along a direction. */
  private spread(
    unknowns: number,
    errors: Float64Array,
    dual: Float64Array,
  ): { coordinates: number; weights: number; alongDual: number } {
    const { problem, jacobian } = this;
    const { classes, rank, left } = problem;
    const own = transposed(jacobian.subarray(0, unknowns * classes), classes, unknowns);
    this.byClass ??= transposed(left, rank, classes);
    const spanned = productWithTransposed(own, left, unknowns, rank, classes);
    const inSpan = productWithTransposed(spanned, this.byClass, unknowns, classes, rank);
    const weight = errors.map((error) => 1 / Math.sqrt(error));
    for (let at = 0; at < unknowns; at++) {
      const from = at * classes;
      for (let row = 0; row < classes; row++) {
        inSpan[from + row] = (own[from + row]! - inSpan[from + row]!) * weight[row]!;
      }
    }
    const normal = new Float64Array(unknowns * unknowns);
    gram(inSpan, unknowns, classes, normal, unknowns);
    const scales = Float64Array.from({ length: unknowns }, (_, at) => Math.sqrt(normal[at * unknowns + at]!) + 1e-300);
    for (let i = 0; i < unknowns; i++) {
      for (let j = 0; j <= i; j++) {
        normal[i * unknowns + j]! /= scales[i]! * scales[j]!;
      }
    }
    const factored = factoriseSmall(normal, unknowns);
    if (factored.deficiency > 0 || !Number.isFinite(factored.lower[0]!)) {
      return { coordinates: Infinity, weights: Infinity, alongDual: Infinity };
    }
    const covariance = inverseOf(factored);
    let coordinates = 0;
    let weights = 0;
    let along = 0;
    for (let at = 0; at < unknowns; at++) {
      for (let other = 0; at < rank && other <= at; other++) {
        const value = (covariance[at * unknowns + other]! * (other < at ? 2 : 1)) / scales[other]! / scales[at]!;
        coordinates += value * this.metric[other * rank + at]!;
        along += value * dual[other]! * dual[at]!;
      }
      if (at >= rank) {
        weights = Math.max(weights, Math.sqrt(Math.max(covariance[at * unknowns + at]!, 0)) / scales[at]!);
      }
    }
    return { coordinates: Math.max(coordinates, 0), weights, alongDual: Math.sqrt(Math.max(along, 0)) };
  }

  private lengthSquared(q: Float64Array): number {
    const { rank } = this.problem;
    let sum = 0;
    for (let i = 0; i < rank; i++) {
      for (let j = 0; j < rank; j++) {
        sum += q[i]! * q[j]! * this.metric[i * rank + j]!;
      }
    }
    return sum;
  }

  /**
   * Odds of the label against the same feature labelled with another class, the one whose exchange costs the least
   * misfit. 0 to 1.
   */
  confidence(candidate: Evaluated, { chi }: Evidence): number {
    const { problem } = this;
    const { rowError, distance } = problem;
    const own = candidate.classes[0]!;
    const others = [...distance.keys()]
      .filter((row) => !candidate.classes.includes(row))
      .sort((i, j) => distance[i]! / rowError[i]! ** 2 - distance[j]! / rowError[j]! ** 2)
      .slice(0, 3);
    const rises = others.map((row) => {
      const change = new Float64Array(problem.classes);
      change[own] = candidate.weights[0]! / rowError[own]!;
      change[row] = -candidate.weights[0]! / rowError[row]!;
      const away = awayFromSpan(problem, change);
      const floor = candidate.cost * candidate.size ** 2 + 1e-300;
      return away.reduce((sum, value) => sum + value * value, 0) / floor;
    });
    const least = Math.min(...rises, Infinity);
    return least === Infinity ? 1 : 1 / (1 + Math.exp(-Math.min(least / (2 * Math.max(chi, 1)), 700)));
  }
}
