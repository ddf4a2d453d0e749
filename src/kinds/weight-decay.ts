import { ulpOf } from './rounding.js';
import type { SampledPair } from './sampling.js';
import { isMatrix } from './sides.js';

/**
 * Weight decay in a difference of weights. p - y sums to zero over the classes, so what is left of the sums of a softmax
 * head's difference is the decay's share, one multiple of the sums of its weights: one unknown, as many equations as features.
 */
export interface WeightDecay {
  /** The difference holds this many times the weights: -lr wd for weights after minus weights before. */
  readonly factor: number;
  /** Standard error of the factor. */
  readonly error: number;
  /** False where the head's bias shows that vectors are left out, as is often done. */
  readonly vectors: boolean;
}

const FEWEST_EQUATIONS = 16;
/** In standard errors: what is taken off must be there. */
const SURE = 12;
/** Mean square of what one decay leaves, in units of rounding. */
const MOST_LEFT = 2;
/** A gradient's own digits, in units of its numbers: sums of a batch in float32. */
const OWN_ROUNDING = 2 ** -22;

/** @returns undefined where the head shows none, is no softmax head's, or is of several steps whose decay is not one multiple */
export function weightDecayOf(samples: readonly SampledPair[]): WeightDecay | undefined {
  const head = samples.findLast(isMatrix);
  if (!head || head.columns < FEWEST_EQUATIONS) {
    return undefined;
  }
  const sums = sumsOf(head);
  const { factor, error } = fitted(sums);
  const left = leftBy(sums, factor);
  return Math.abs(factor) > SURE * error && left <= MOST_LEFT * (head.columns - 1)
    ? { factor, error, vectors: vectorsDecay(samples, head, factor) }
    : undefined;
}

/** What explains the sums this much better than the decay that was known is another one. */
const BETTER = 10;

/** The decay of the same update after somebody made it shorter, which makes its decay smaller too; else the known one. */
export function decayAgain(samples: readonly SampledPair[], known: WeightDecay): WeightDecay {
  const head = samples.findLast(isMatrix);
  if (!head) {
    return known;
  }
  const sums = sumsOf(head);
  const { factor, error } = fitted(sums);
  return leftBy(sums, factor) * BETTER < leftBy(sums, known.factor) ? { ...known, factor, error } : known;
}

interface Sums {
  readonly update: Float64Array;
  readonly weights: Float64Array;
  /** Standard errors of the update's. */
  readonly errors: Float64Array;
}

/** Weighted least squares. */
function fitted({ update, weights, errors }: Sums): { factor: number; error: number } {
  let cross = 0;
  let square = 0;
  for (const [column, weight] of weights.entries()) {
    cross += (update[column]! * weight) / errors[column]! ** 2;
    square += (weight / errors[column]!) ** 2;
  }
  return { factor: cross / square, error: 1 / Math.sqrt(square) };
}

/** Sum of squares in units of the errors. */
function leftBy({ update, weights, errors }: Sums, factor: number): number {
  return update.reduce((sum, value, at) => sum + ((value - factor * weights[at]!) / errors[at]!) ** 2, 0);
}

/** Sums over the rows, one for each column. */
function sumsOf({ rows, columns, gradient, parameter, parameterType }: SampledPair): Sums {
  const [update, weights, squares] = [0, 1, 2].map(() => new Float64Array(columns)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let at = 0; at < rows * columns; at++) {
    const column = at % columns;
    const [step, weight] = [gradient[at]!, parameter[at]!];
    update[column]! += step;
    weights[column]! += weight;
    squares[column]! += ulpOf(Math.abs(weight) + Math.abs(step), parameterType) ** 2 / 12 + (OWN_ROUNDING * step) ** 2;
  }
  return { update, weights, errors: squares.map(Math.sqrt) };
}

/** Which of both fits the sum of the bias; where both do, they differ by less than rounding. */
function vectorsDecay(samples: readonly SampledPair[], head: SampledPair, factor: number): boolean {
  const bias = samples.slice(samples.indexOf(head)).find(({ vector, rows }) => vector && rows === head.rows);
  if (!bias) {
    return true;
  }
  const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);
  const [update, weights] = [sum(bias.gradient), sum(bias.parameter)];
  return Math.abs(update - factor * weights) <= Math.abs(update);
}
