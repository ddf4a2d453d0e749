import { softmax } from '../activation.js';
import { type Matrix, multiply, multiplyTransposed } from '../linear-algebra.js';

/** The class of a sample whose input and slopes at a hidden layer are known, where a classifier comes right above that layer. */

/** A fully connected layer's parameters. */
export interface LayerState {
  /** W, m x n. */
  readonly weight: Matrix;
  /** b, m. */
  readonly bias: Float64Array;
}

/** W x + b, m numbers. */
export function outputsOf(input: Float64Array, { weight, bias }: LayerState): Float64Array {
  return multiply(weight, input).map((own, unit) => own + bias[unit]!);
}

/** Parameters at a share of the way that an update went against its direction. */
export function stateAt(before: LayerState, update: LayerState, share: number): LayerState {
  return {
    weight: { ...before.weight, data: before.weight.data.map((own, at) => own - share * update.weight.data[at]!) },
    bias: before.bias.map((own, at) => own - share * update.bias[at]!),
  };
}

export interface LabelFit {
  readonly index: number;
  /** ||slopes - those of this class|| / ||slopes||, over some units. */
  readonly off: number;
  /** Those units: all, but for a few that fit worst where weights are not known exactly. */
  readonly units: readonly number[];
  /** The same of the next class. */
  readonly next: number;
}

/** A class whose slopes are off by more, or the next one's by not more than so many times as much, is not told. */
const MOST_OFF = 0.25;
const CLEARLY_LESS = 3;

export function isClear({ off, next }: LabelFit): boolean {
  return off < MOST_OFF && next > CLEARLY_LESS * off;
}

/**
 * Slopes of the mean cross-entropy are W^T (p - y) over the batch size where a unit is active.
 *
 * @param classifier the layer above
 * @param scale one over the samples of a batch
 * @param outputs of the hidden layer, m numbers
 * @param slopes m numbers
 * @param leftOut share of the units that may be left out
 */
export function labelOf(
  classifier: LayerState,
  scale: number,
  outputs: Float64Array,
  slopes: Float64Array,
  leftOut: number,
): LabelFit {
  const p = softmax(
    outputsOf(
      outputs.map((own) => Math.max(own, 0)),
      classifier,
    ),
  );
  const kept = Math.ceil((1 - leftOut) * outputs.length);
  const fits = Array.from(p, (_, index): Omit<LabelFit, 'next'> => {
    const asked = multiplyTransposed(
      classifier.weight,
      p.map((own, other) => own - Number(other === index)),
    );
    const rest = slopes.map((own, unit) => own - (outputs[unit]! > 0 ? scale * asked[unit]! : 0));
    const units = [...rest.keys()].sort((one, other) => Math.abs(rest[one]!) - Math.abs(rest[other]!)).slice(0, kept);
    const size = normOn(units, slopes);
    return { index, off: size > 0 ? normOn(units, rest) / size : 1, units };
  }).sort((one, other) => one.off - other.off);
  return { ...fits[0]!, next: (fits[1] ?? fits[0]!).off };
}

/** Length of the part of a vector that some units have. */
export function normOn(units: readonly number[], values: Float64Array): number {
  return Math.sqrt(units.reduce((sum, unit) => sum + values[unit]! ** 2, 0));
}
