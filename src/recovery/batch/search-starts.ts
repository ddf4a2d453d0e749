import { norm } from '../vectors.js';
import type { Candidate, Evaluated, SampleProblem } from './sample-problem.js';
import {
  type LabelFamily,
  LinearisedStarts,
  classesByLeverage,
  labelled,
  predictedStarts,
  randomStarts,
  rowStart,
} from './starts.js';

/** Where a search for samples starts from, the longer it lasts the further afield. */

/** What a search has found, which later starts build on. */
export interface SoFar {
  readonly found: readonly { readonly candidate: Evaluated }[];
  /** Weight of one sample in the gradient, 0 while it is not known. */
  readonly coefficient: number;
  readonly random: () => number;
}

const ROW_FACTORS = [-0.3, -0.5, -1.5, -3, 0.5, 1, 3];

/** Candidates to start from, the most promising first. */
export function startsOf(problem: SampleProblem, family: LabelFamily, effort: number, so: SoFar): Candidate[] {
  const { rank } = problem;
  const labels = effort === 0 ? 1 : 3;
  const withLabels = (features: readonly Float64Array[]): Candidate[] =>
    features
      .flatMap((q) => labelled(problem, q, family, labels))
      .sort((one, other) => one.cost - other.cost)
      .map(({ candidate }) => candidate);
  const wide = Math.min(2 * rank + 5, problem.classes);
  const scale = so.coefficient || 1 / rank;
  if (effort === 0) {
    const factors = so.coefficient ? [-1] : [-1, -rank * 0.1];
    const rows = classesByLeverage(problem, rank + 2).flatMap((row) =>
      factors.map((factor) => rowStart(problem, row, factor / scale)),
    );
    return [...withLabels(rows), ...linearised(problem, family, wide)];
  }
  if (effort === 1) {
    const classes = classesByLeverage(problem, wide);
    const rows = classes.flatMap((row) => ROW_FACTORS.map((factor) => rowStart(problem, row, factor / scale)));
    return withLabels([...rows, ...predictedStarts(problem, classes)]);
  }
  const known = so.found.map(({ candidate }) => project(problem, candidate.q));
  const sizes = so.found.map(({ candidate }) => norm(candidate.q)).sort((one, other) => one - other);
  const [strongest] = classesByLeverage(problem, 1);
  const size = sizes[Math.floor(sizes.length / 2)] ?? norm(rowStart(problem, strongest ?? 0, 1 / scale));
  return withLabels(randomStarts(rank, known, size, 40 * (effort - 1) + 4 * rank, so.random));
}

function linearised(problem: SampleProblem, family: LabelFamily, wide: number): Candidate[] {
  const linear = new LinearisedStarts(problem);
  const classes = classesByLeverage(problem, wide);
  return family.flats.flatMap((flat) => {
    const sum = 1 - flat * problem.classes;
    if (family.classes === 1) {
      return classes.map((row) => ({
        q: linear.start([row], [sum], flat),
        classes: [row],
        weights: Float64Array.of(sum),
        flat,
      }));
    }
    return linear.pairs(classes, flat, 4 * problem.rank + 8).map(({ classes: pair, weights }) => ({
      q: linear.start(pair, weights, flat),
      classes: pair,
      weights: Float64Array.from(weights),
      flat,
    }));
  });
}

/** Base coordinates to a deflated problem's. */
function project(problem: SampleProblem, q: Float64Array): Float64Array {
  const { basis, rank } = problem;
  if (!basis) {
    return q;
  }
  const out = new Float64Array(rank);
  for (let row = 0; row < q.length; row++) {
    for (let col = 0; col < rank; col++) {
      out[col]! += basis[row * rank + col]! * q[row]!;
    }
  }
  return out;
}
