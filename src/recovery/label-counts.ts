import { softmax } from './activation.js';
import type { HeadGradient } from './head-gradient.js';
import { multiply } from './linear-algebra.js';
import { norm } from './vectors.js';
import type { Pause } from './pause.js';

/**
 * How often each class occurs in a batch of known size, by published estimators, each cited
 * where it is computed. None is right everywhere, so several are run and their agreement is the evidence.
 */
export interface CountEstimate {
  readonly name: 'llg' | 'e2egi' | 'gradinversion' | 'bias-corrected' | 'ilrg';
  /** What must hold for it to be right. */
  readonly assumption: string;
  /** K whole numbers that sum to the batch size, or fewer where `multiplicity` is false. */
  readonly counts: readonly number[];
  /** False for an estimator that only tells which classes occur. */
  readonly multiplicity: boolean;
}

export interface LabelCounts {
  readonly estimators: readonly CountEstimate[];
  /** Per class, the count that a strict majority of the counting estimators gives; null where there is none. */
  readonly agreed: readonly (number | null)[];
}

/**
 * @param batchSize number of samples, at least 1
 * @param pause called between blocks of work so that a caller can cancel
 */
export async function countLabels(head: HeadGradient, batchSize: number, pause: Pause): Promise<LabelCounts> {
  const rowSums = rowSumsOf(head);
  const estimators: CountEstimate[] = [
    {
      name: 'llg',
      assumption: 'non-negative features and samples of similar impact (Wainakh et al., arXiv 2105.09369)',
      counts: greedy(rowSums, batchSize, llgImpact(rowSums, batchSize)),
      multiplicity: true,
    },
    {
      name: 'e2egi',
      assumption: 'an untrained head, whose probabilities are nearly uniform (E2EGI)',
      counts: greedy(rowSums, batchSize, e2egiImpact(rowSums, batchSize)),
      multiplicity: true,
    },
    {
      name: 'gradinversion',
      assumption: 'no class occurs twice, non-negative features (Yin et al., arXiv 2104.07586)',
      counts: distinctClasses(head, batchSize),
      multiplicity: false,
    },
  ];
  const { biasGradient } = head;
  if (biasGradient && norm(biasGradient) > 0) {
    estimators.push({
      name: 'bias-corrected',
      assumption: 'a bias gradient and samples of similar impact (Geiping et al., breaching)',
      counts: greedy(biasGradient, batchSize, negativeSum(biasGradient) / batchSize),
      multiplicity: true,
    });
    estimators.push({
      name: 'ilrg',
      assumption:
        'a bias gradient, and features that agree within a class (Ma et al., ICLR 2023; non-negative least squares)',
      counts: roundToSum(await labelFrequencies(head, biasGradient, pause), batchSize),
      multiplicity: true,
    });
  }
  return { estimators, agreed: majority(estimators, head.weight.rows) };
}

function rowSumsOf(head: HeadGradient): Float64Array {
  return multiply(head.weightGradient, new Float64Array(head.weightGradient.cols).fill(1));
}

function negativeSum(g: Float64Array): number {
  return g.reduce((sum, value) => sum + Math.min(value, 0), 0);
}

/** LLG's average impact of one sample: m = (1/B)(1 + 1/K) sum of the negative row sums. */
function llgImpact(g: Float64Array, batchSize: number): number {
  return (negativeSum(g) / batchSize) * (1 + 1 / g.length);
}

/** E2EGI: every class's positive part is p / B times the features, and p is 1 / K. */
function e2egiImpact(g: Float64Array, batchSize: number): number {
  const top = g.reduce((most, value) => Math.max(most, value), 0);
  return (-g.length * top) / batchSize;
}

/** First every class with a negative sum once, then the most negative one again and again; each costs `impact`. */
function greedy(sums: Float64Array, batchSize: number, impact: number): number[] {
  const left = sums.slice();
  const counts = new Array<number>(sums.length).fill(0);
  let placed = 0;
  const place = (index: number): void => {
    counts[index]!++;
    left[index]! -= impact;
    placed++;
  };
  const negative = [...sums.keys()].filter((i) => sums[i]! < 0).sort((i, j) => sums[i]! - sums[j]!);
  negative.slice(0, batchSize).forEach(place);
  while (placed < batchSize) {
    place(left.reduce((best, value, index) => (value < left[best]! ? index : best), 0));
  }
  return counts;
}

/** The B classes whose rows have the lowest minimum, of those below zero. */
function distinctClasses(head: HeadGradient, batchSize: number): number[] {
  const { rows, cols, data } = head.weightGradient;
  const minima = Array.from({ length: rows }, (_, row) =>
    data.subarray(row * cols, (row + 1) * cols).reduce((least, value) => Math.min(least, value), Infinity),
  );
  const chosen = [...minima.keys()]
    .filter((row) => minima[row]! < 0)
    .sort((one, other) => minima[one]! - minima[other]!)
    .slice(0, batchSize);
  const counts = new Array<number>(rows).fill(0);
  for (const row of chosen) {
    counts[row] = 1;
  }
  return counts;
}

/**
 * Share of each class in the batch by iLRG, without knowing the batch size: e_i = G_i / g_b,i stands for class
 * i's mean feature and P_i = softmax(W e_i + b) for its mean probabilities; then sum_j f_j P_j - f = g_b
 * and sum_j f_j = 1 are solved for f >= 0 (Ma et al., ICLR 2023, with non-negative least squares).
 */
export async function labelFrequencies(
  head: HeadGradient,
  biasGradient: Float64Array,
  pause: Pause,
): Promise<Float64Array> {
  const { weight, weightGradient: g } = head;
  const classes = weight.rows;
  const columns: Float64Array[] = [];
  for (let i = 0; i < classes; i++) {
    const mean = g.data.subarray(i * g.cols, (i + 1) * g.cols).map((value) => value / biasGradient[i]!);
    const logits = multiply(weight, mean).map((value, k) => value + (head.bias?.[k] ?? 0));
    const p = softmax(logits);
    const usable = p.every(Number.isFinite);
    const column = new Float64Array(classes + 1);
    column.set(usable ? p : new Float64Array(classes).fill(1 / classes));
    column[i]! -= 1;
    column[classes] = 1;
    columns.push(column);
    if (i % 16 === 15) {
      await pause();
    }
  }
  const target = new Float64Array(classes + 1);
  target.set(biasGradient);
  target[classes] = 1;
  return nonNegativeLeastSquares(columns, target, pause);
}

/** min ||A n - t|| with n >= 0, by cyclic coordinate descent, which keeps every step feasible. */
async function nonNegativeLeastSquares(
  columns: readonly Float64Array[],
  target: Float64Array,
  pause: Pause,
): Promise<Float64Array> {
  const solution = new Float64Array(columns.length);
  const residual = target.slice();
  const squares = columns.map((column) => column.reduce((sum, value) => sum + value * value, 0));
  for (let sweep = 0; sweep < 400; sweep++) {
    let moved = 0;
    for (let j = 0; j < columns.length; j++) {
      const column = columns[j]!;
      let slope = 0;
      for (let i = 0; i < column.length; i++) {
        slope += column[i]! * residual[i]!;
      }
      const next = Math.max(0, solution[j]! + slope / squares[j]!);
      const step = next - solution[j]!;
      if (step !== 0) {
        for (let i = 0; i < column.length; i++) {
          residual[i]! -= step * column[i]!;
        }
        solution[j] = next;
        moved = Math.max(moved, Math.abs(step));
      }
    }
    if (moved < 1e-9) {
      break;
    }
    await pause();
  }
  return solution;
}

/** Whole numbers that sum to `total`, by the largest remainders. */
export function roundToSum(values: Float64Array, total: number): number[] {
  const sum = values.reduce((all, value) => all + value, 0);
  const shares = values.map((value) => (sum > 0 ? (value * total) / sum : 0));
  const counts = [...shares].map(Math.floor);
  const missing = total - counts.reduce((all, value) => all + value, 0);
  const byRemainder = [...shares.keys()].sort((i, j) => shares[j]! - counts[j]! - (shares[i]! - counts[i]!));
  for (const index of byRemainder.slice(0, Math.max(missing, 0))) {
    counts[index]!++;
  }
  return counts;
}

function majority(estimators: readonly CountEstimate[], classes: number): (number | null)[] {
  const counting = estimators.filter(({ multiplicity }) => multiplicity);
  return Array.from({ length: classes }, (_, index) => {
    const votes = new Map<number, number>();
    for (const { counts } of counting) {
      const count = counts[index] ?? 0;
      votes.set(count, (votes.get(count) ?? 0) + 1);
    }
    const [winner] = [...votes].sort((one, other) => other[1] - one[1]);
    return winner && winner[1] * 2 > counting.length ? winner[0] : null;
  });
}
