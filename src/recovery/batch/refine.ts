import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import { scaled } from '../vectors.js';
import { type Candidate, type Evaluated, type SampleProblem, evaluate } from './sample-problem.js';
import type { Pause } from '../pause.js';

/**
 * Levenberg-Marquardt on the normalised residual ||N e|| / ||e||. Unnormalised, a saturated softmax (e = 0) would be a
 * false zero. The label's entries at the candidate's classes are unknowns even where the family fixes them: a
 * float32 softmax errs most there, and that error would otherwise leak into every class. What they come out as is evidence.
 */
export class Refiner {
  private readonly jacobian: Float64Array;
  private readonly spanned: Float64Array;
  private readonly normal: Float64Array;
  private readonly system: Float64Array;
  /** J^T N e / ||e||^2 and J^T e / ||e||^2 at the last linearisation. */
  private towards = new Float64Array(0);
  private own = new Float64Array(0);

  constructor(
    private readonly problem: SampleProblem,
    mostClasses: number,
    /** Called between iterations, which take long for large batches; may throw to stop. */
    private readonly pause: Pause,
  ) {
    const most = problem.rank + mostClasses + 1;
    this.jacobian = new Float64Array(problem.classes * most);
    this.spanned = new Float64Array(problem.rank * most);
    this.normal = new Float64Array(most * most);
    this.system = new Float64Array(most * most);
  }

  /**
   * @param freeFlat whether the label's flat part is an unknown, too
   */
  async refine(start: Candidate, freeFlat: boolean, iterations: number): Promise<Evaluated> {
    const { problem } = this;
    let current = evaluate(problem, start);
    let damping = 1e-2;
    let stalled = 0;
    let isStale = true;

    for (let iteration = 0; iteration < iterations && current.cost > CONVERGED; iteration++) {
      if (!Number.isFinite(current.cost)) {
        break;
      }
      await this.pause();
      const { unknowns, slope } = this.linearise(current, freeFlat);
      let next: { candidate: Evaluated; damping: number } | undefined;
      if (!isStale) {
        next = this.step(current, freeFlat, unknowns, slope, damping, 1);
      }
      if (!next || next.candidate.cost > WORTHWHILE * current.cost) {
        this.fillNormal(current, unknowns);
        next = this.step(current, freeFlat, unknowns, slope, damping, 8);
      }
      if (!next) {
        break;
      }
      isStale = next.candidate.cost > WORTHWHILE * current.cost;
      damping = Math.max(next.damping / 5, 1e-12);
      stalled = iteration > 2 && current.cost - next.candidate.cost < STALL * current.cost ? stalled + 1 : 0;
      current = next.candidate;
      if (stalled >= MOST_STALLS) {
        break;
      }
    }
    return current;
  }

  private step(
    current: Evaluated,
    freeFlat: boolean,
    unknowns: number,
    slope: Float64Array,
    from: number,
    attempts: number,
  ): { candidate: Evaluated; damping: number } | undefined {
    let damping = from;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const step = this.solve(unknowns, slope, damping);
      if (step) {
        const candidate = evaluate(this.problem, moved(current, step, freeFlat));
        if (candidate.cost < current.cost) {
          return { candidate, damping };
        }
      }
      damping *= 6;
    }
    return undefined;
  }

  /** Fills the Jacobian of e; returns the gradient of half the cost. */
  private linearise(current: Evaluated, freeFlat: boolean): { unknowns: number; slope: Float64Array } {
    const { problem, jacobian } = this;
    const unknowns = fillJacobian(problem, current, freeFlat, jacobian);
    const { size, cost, misfit, e } = current;
    const a = new Float64Array(unknowns);
    const b = new Float64Array(unknowns);
    for (let row = 0; row < problem.classes; row++) {
      const at = row * unknowns;
      const towards = misfit[row]!;
      const own = e[row]!;
      for (let col = 0; col < unknowns; col++) {
        const value = jacobian[at + col]!;
        a[col]! += value * towards;
        b[col]! += value * own;
      }
    }
    this.towards = a.map((value) => value / size);
    this.own = b.map((value) => value / size / size);
    return { unknowns, slope: this.towards.map((value, at) => value - cost * this.own[at]!) };
  }

  /** The normal matrix of the normalised residual, lower triangle; this is what an iteration costs. */
  private fillNormal({ size, cost }: Evaluated, unknowns: number): void {
    const { jacobian, spanned, normal, towards, own } = this;
    const { classes, rank, left } = this.problem;
    accumulate(left, rank, jacobian, unknowns, classes, spanned);
    accumulateSquare(jacobian, unknowns, classes, normal, 1);
    accumulateSquare(spanned, unknowns, rank, normal, -1);
    for (let i = 0; i < unknowns; i++) {
      for (let j = 0; j <= i; j++) {
        const at = i * unknowns + j;
        normal[at] =
          normal[at]! / size / size - towards[i]! * own[j]! - own[i]! * towards[j]! + cost * own[i]! * own[j]!;
      }
    }
  }

  /** -(H + damping diag H)^-1 slope by Cholesky; undefined when that is not positive definite. */
  private solve(unknowns: number, slope: Float64Array, damping: number): Float64Array | undefined {
    const { normal, system } = this;
    let largest = 0;
    for (let i = 0; i < unknowns; i++) {
      largest = Math.max(largest, normal[i * unknowns + i]!);
    }
    for (let i = 0; i < unknowns; i++) {
      for (let j = 0; j <= i; j++) {
        system[i * unknowns + j] = normal[i * unknowns + j]!;
      }
      const own = i * unknowns + i;
      system[own]! += damping * Math.abs(normal[own]!) + 1e-14 * largest + 1e-300;
    }
    const factored = factoriseSmall(system, unknowns);
    const step = solveUpper(factored, solveLower(factored, scaled(slope, -1)));
    return factored.deficiency === 0 ? step : undefined;
  }
}

/** Squared relative misfits below this are rounding of our own. */
const CONVERGED = 1e-26;
const STALL = 0.03;
const MOST_STALLS = 2;
/** While a step with an older normal matrix cuts the cost to this share, a new one is not worth its price. */
const WORTHWHILE = 0.25;

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

/** d e / d (q, weights, flat), classes x unknowns, row-major; returns the number of unknowns. */
export function fillJacobian(
  { classes, rank, logits, rowError }: SampleProblem,
  { p, classes: labelled, weights }: Evaluated,
  freeFlat: boolean,
  jacobian: Float64Array,
): number {
  const unknowns = rank + weights.length + (freeFlat ? 1 : 0);
  const mean = new Float64Array(rank);
  for (let row = 0; row < classes; row++) {
    const weight = p[row]!;
    for (let col = 0; col < rank; col++) {
      mean[col]! += weight * logits[row * rank + col]!;
    }
  }
  for (let row = 0; row < classes; row++) {
    const scale = p[row]! / rowError[row]!;
    const from = row * rank;
    const to = row * unknowns;
    for (let col = 0; col < rank; col++) {
      jacobian[to + col] = scale * (logits[from + col]! - mean[col]!);
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

/** out = L^T J: (rows x rank)^T times rows x cols, four rows at a time so that the result is touched a quarter as often. */
export function accumulate(
  l: Float64Array,
  rank: number,
  j: Float64Array,
  cols: number,
  rows: number,
  out: Float64Array,
): void {
  out.fill(0, 0, rank * cols);
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const j0 = row * cols;
    const j1 = j0 + cols;
    const j2 = j1 + cols;
    const j3 = j2 + cols;
    for (let k = 0; k < rank; k++) {
      const w0 = l[row * rank + k]!;
      const w1 = l[(row + 1) * rank + k]!;
      const w2 = l[(row + 2) * rank + k]!;
      const w3 = l[(row + 3) * rank + k]!;
      const to = k * cols;
      for (let col = 0; col < cols; col++) {
        out[to + col]! += w0 * j[j0 + col]! + w1 * j[j1 + col]! + w2 * j[j2 + col]! + w3 * j[j3 + col]!;
      }
    }
  }
  for (; row < rows; row++) {
    for (let k = 0; k < rank; k++) {
      const weight = l[row * rank + k]!;
      for (let col = 0; col < cols; col++) {
        out[k * cols + col]! += weight * j[row * cols + col]!;
      }
    }
  }
}

/** Lower triangle of J^T J: written for sign 1, subtracted for sign -1. */
export function accumulateSquare(j: Float64Array, cols: number, rows: number, out: Float64Array, sign: 1 | -1): void {
  if (sign === 1) {
    out.fill(0, 0, cols * cols);
  }
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const j0 = row * cols;
    const j1 = j0 + cols;
    const j2 = j1 + cols;
    const j3 = j2 + cols;
    for (let i = 0; i < cols; i++) {
      const w0 = sign * j[j0 + i]!;
      const w1 = sign * j[j1 + i]!;
      const w2 = sign * j[j2 + i]!;
      const w3 = sign * j[j3 + i]!;
      const to = i * cols;
      for (let k = 0; k <= i; k++) {
        out[to + k]! += w0 * j[j0 + k]! + w1 * j[j1 + k]! + w2 * j[j2 + k]! + w3 * j[j3 + k]!;
      }
    }
  }
  for (; row < rows; row++) {
    for (let i = 0; i < cols; i++) {
      const weight = sign * j[row * cols + i]!;
      for (let k = 0; k <= i; k++) {
        out[i * cols + k]! += weight * j[row * cols + k]!;
      }
    }
  }
}
