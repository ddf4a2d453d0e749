import { softmax } from '../activation.js';
import { matrixProduct, multiply, multiplyTransposed, productWithTransposed, transposed } from '../linear-algebra.js';
import { smallSvd } from '../truncated-svd.js';
import { dot, norm } from '../vectors.js';
import type { WhitenedHead } from './whiten.js';

/**
 * The equations that one sample of a batch fulfils, in whitened units: its feature is x = V q, and
 * e = (softmax(A q + b) - y) / rowError lies in the span of U, so N e = 0 with N = I - U U^T. Found samples are taken
 * out of the gradient; the rest is a problem of the same form and fewer unknowns.
 */
export interface SampleProblem {
  readonly classes: number;
  /** Number of unknowns in q. */
  readonly rank: number;
  readonly rowError: Float64Array;
  /** U^T, rank x classes, row-major. */
  readonly left: Float64Array;
  /** Singular values, rank. */
  readonly values: Float64Array;
  /** A^T: logits per unit of q, rank x classes, row-major. */
  readonly logits: Float64Array;
  readonly offset: Float64Array | undefined;
  /** Standard deviation of a whitened entry of the gradient that no sample explains. */
  readonly sigma: number;
  /** N_cc: how far each class's axis is from the span of U. */
  readonly distance: Float64Array;
  /** Leverage of each class in the unscaled column space: classes that samples are about stand out. */
  readonly leverage: Float64Array;
  /** Maps q into the base problem's: baseRank x rank, row-major; absent in the base problem. */
  readonly basis: Float64Array | undefined;
}

/** A label and a feature that may be a sample's. */
export interface Candidate {
  q: Float64Array;
  /** Classes whose label entries are free. */
  readonly classes: readonly number[];
  /** Their label entries above `flat`. */
  weights: Float64Array;
  /** Label entry of every class: epsilon / K with label smoothing. */
  flat: number;
}

/** A candidate with what it makes of the equations. */
export interface Evaluated extends Candidate {
  /** softmax(A q + b). */
  p: Float64Array;
  /** (p - y) / rowError. */
  e: Float64Array;
  /** ||e||. */
  size: number;
  /** N e / ||e||. */
  misfit: Float64Array;
  /** ||misfit||^2. */
  cost: number;
}

/** The problem of the strongest `rank` directions. */
export function baseProblem(head: WhitenedHead, rank: number): SampleProblem {
  const { classes, columns, weight, svd } = head;
  const left = transposed(svd.left, classes, svd.rank).slice(0, rank * classes);
  const right = transposed(svd.right, columns, svd.rank).slice(0, rank * columns);
  // What lies below the rank is noise to this problem, however well it is known.
  const below = (svd.values[rank] ?? svd.next) / (Math.sqrt(classes) + Math.sqrt(columns));
  return withLeverage({
    classes,
    rank,
    rowError: head.rowError,
    left,
    values: svd.values.slice(0, rank),
    logits: productWithTransposed(right, weight.data, rank, classes, columns),
    offset: head.offset,
    sigma: Math.max(head.sigma, below),
    basis: undefined,
  });
}

/** Coordinates of found samples in the base problem. */
export interface FoundShare {
  readonly q: Float64Array;
  /** U^T e. */
  readonly r: Float64Array;
  /** The sample's part of the gradient is coefficient U r q^T V^T. */
  readonly coefficient: number;
}

/** The base problem without what has been found. */
export function deflate(base: SampleProblem, found: readonly FoundShare[]): SampleProblem {
  const size = base.rank;
  const rank = size - found.length;
  const columns = Array.from({ length: size }, (_, col) => {
    const column = new Float64Array(size);
    column[col] = base.values[col]!;
    for (const { q, r, coefficient } of found) {
      const weight = coefficient * q[col]!;
      for (let row = 0; row < size; row++) {
        column[row]! -= weight * r[row]!;
      }
    }
    return column;
  });
  const svd = smallSvd(columns);
  const kept = Math.min(rank, svd.rank);
  const left = transposed(firstColumns(svd.left, size, svd.rank, kept), size, kept);
  const basis = firstColumns(svd.right, size, svd.rank, kept);
  const perSide = 2 * Math.sqrt(base.classes);
  return withLeverage({
    ...base,
    rank: kept,
    values: svd.values.slice(0, kept),
    left: matrixProduct(left, base.left, kept, size, base.classes),
    logits: matrixProduct(transposed(basis, size, kept), base.logits, kept, size, base.classes),
    // What the found samples' errors leave behind shows in the values that should be zero.
    sigma: Math.max(base.sigma, (svd.values[kept] ?? 0) / perSide),
    basis,
  });
}

/** The strongest directions of a deflated problem; the others count as noise. */
export function truncate(problem: SampleProblem, rank: number): SampleProblem {
  const { classes, rank: size, left, logits, values, basis } = problem;
  const identity = (): Float64Array =>
    Float64Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0));
  return withLeverage({
    ...problem,
    rank,
    values: values.slice(0, rank),
    left: left.slice(0, rank * classes),
    logits: logits.slice(0, rank * classes),
    sigma: Math.max(problem.sigma, (values[rank] ?? 0) / (2 * Math.sqrt(classes))),
    basis: firstColumns(basis ?? identity(), (basis?.length ?? size * size) / size, size, rank),
  });
}

/** A feature of a deflated problem in the base problem's coordinates. */
export function toBase(problem: SampleProblem, q: Float64Array): Float64Array {
  return problem.basis
    ? matrixProduct(problem.basis, q, problem.basis.length / problem.rank, problem.rank, 1)
    : q.slice();
}

function firstColumns(a: Float64Array, rows: number, cols: number, keep: number): Float64Array {
  const out = new Float64Array(rows * keep);
  for (let row = 0; row < rows; row++) {
    out.set(a.subarray(row * cols, row * cols + keep), row * keep);
  }
  return out;
}

function withLeverage(problem: Omit<SampleProblem, 'distance' | 'leverage'>): SampleProblem {
  const { classes, rank, left, rowError } = problem;
  const distance = new Float64Array(classes).fill(1);
  const unscaled = Array.from({ length: rank }, (_, at) => left.slice(at * classes, (at + 1) * classes));
  for (const direction of unscaled) {
    for (let row = 0; row < classes; row++) {
      const value = direction[row]!;
      distance[row]! -= value * value;
      direction[row] = value * rowError[row]!;
    }
  }
  for (let row = 0; row < classes; row++) {
    distance[row] = Math.max(distance[row]!, 1e-15);
  }
  return { ...problem, distance, leverage: leverageOf(unscaled) };
}

/** Squared length of each class's axis projected on the span of the columns, which are overwritten. */
function leverageOf(columns: readonly Float64Array[]): Float64Array {
  const classes = columns[0]?.length ?? 0;
  const leverage = new Float64Array(classes);
  columns.forEach((column, at) => {
    for (let pass = 0; pass < 2; pass++) {
      for (let before = 0; before < at; before++) {
        const other = columns[before]!;
        const along = dot(column, other);
        for (let row = 0; row < classes; row++) {
          column[row]! -= along * other[row]!;
        }
      }
    }
    const size = norm(column);
    for (let row = 0; row < classes; row++) {
      const value = size > 0 ? column[row]! / size : 0;
      column[row] = value;
      leverage[row]! += value * value;
    }
  });
  return leverage;
}

/** Puts a candidate into the equations. */
export function evaluate(problem: SampleProblem, candidate: Candidate): Evaluated {
  const { classes } = problem;
  const { flat } = candidate;
  const p = probabilities(problem, candidate.q);
  const e = errorOf(problem, p, candidate.classes, candidate.weights, flat);
  const misfit = awayFromSpan(problem, e);
  const size = norm(e) + 1e-300;
  const factor = 1 / size;
  let cost = 0;
  for (let row = 0; row < classes; row++) {
    const value = misfit[row]! * factor;
    misfit[row] = value;
    cost += value * value;
  }
  return { ...candidate, p, e, size, misfit, cost };
}

/** (p - y) / rowError, with y = flat + weights at the labelled classes. */
export function errorOf(
  { classes, rowError }: SampleProblem,
  p: Float64Array,
  labelled: readonly number[],
  weights: ArrayLike<number>,
  flat: number,
): Float64Array {
  const e = new Float64Array(classes);
  for (let row = 0; row < classes; row++) {
    e[row] = (p[row]! - flat) / rowError[row]!;
  }
  labelled.forEach((row, at) => (e[row]! -= weights[at]! / rowError[row]!));
  return e;
}

/** softmax(A q + b), classes. */
export function probabilities({ classes, rank, logits, offset }: SampleProblem, q: Float64Array): Float64Array {
  const z = multiplyTransposed({ rows: rank, cols: classes, data: logits }, q);
  if (offset) {
    for (let row = 0; row < classes; row++) {
      z[row]! += offset[row]!;
    }
  }
  return softmax(z);
}

/** U^T e, rank. */
export function alongSpan({ classes, rank, left }: SampleProblem, e: Float64Array): Float64Array {
  return multiply({ rows: rank, cols: classes, data: left }, e);
}

/** N e, classes. */
export function awayFromSpan(problem: SampleProblem, e: Float64Array): Float64Array {
  const { classes, rank, left } = problem;
  const away = multiplyTransposed({ rows: rank, cols: classes, data: left }, alongSpan(problem, e));
  for (let row = 0; row < classes; row++) {
    away[row] = e[row]! - away[row]!;
  }
  return away;
}
