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
  const kept = Math.ceil((1 - leftOut) * outputs.length);
  const fits = slopesAsked(classifier, scale, outputs)
    .map((asked, index): Omit<LabelFit, 'next'> => {
      const rest = slopes.map((own, unit) => own - asked[unit]!);
      const units = nearestOf(rest, kept);
      const size = normOn(units, slopes);
      return { index, off: size > 0 ? normOn(units, rest) / size : 1, units };
    })
    .sort((one, other) => one.off - other.off);
  return { ...fits[0]!, next: (fits[1] ?? fits[0]!).off };
}

/**
 * The multiple of other slopes that is missing in those of a sample, so that they are a class' as nearly as can be.
 *
 * @param others m numbers
 * @returns that multiple, and what is left then over the slopes' length
 */
export function missingShare(
  classifier: LayerState,
  scale: number,
  outputs: Float64Array,
  slopes: Float64Array,
  others: Float64Array,
  leftOut: number,
): { readonly share: number; readonly off: number } {
  const kept = Math.ceil((1 - leftOut) * outputs.length);
  const fits = slopesAsked(classifier, scale, outputs).map((asked) => {
    const rest = asked.map((own, unit) => own - slopes[unit]!);
    let units = [...rest.keys()];
    let share = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const [along, square] = [dotOn(units, others, rest), dotOn(units, others, others)];
      share = square > 0 ? along / square : 0;
      units = nearestOf(
        rest.map((own, unit) => own - share * others[unit]!),
        kept,
      );
    }
    const left = rest.map((own, unit) => own - share * others[unit]!);
    return { share, off: normOn(units, left) / normOn(units, asked) };
  });
  return fits.reduce((best, own) => (own.off < best.off ? own : best));
}

/** Of units that are left out, and the rest fitted again. */
const ROUNDS = 4;

/** Slopes for each class, m numbers each. */
function slopesAsked(classifier: LayerState, scale: number, outputs: Float64Array): Float64Array[] {
  const hidden = outputs.map((own) => Math.max(own, 0));
  const p = softmax(outputsOf(hidden, classifier));
  return Array.from(p, (_, index) => {
    const pull = p.map((own, other) => scale * (own - Number(other === index)));
    return multiplyTransposed(classifier.weight, pull).map((own, unit) => (outputs[unit]! > 0 ? own : 0));
  });
}

/** The entries nearest to zero. */
function nearestOf(values: Float64Array, count: number): number[] {
  return [...values.keys()].sort((one, other) => Math.abs(values[one]!) - Math.abs(values[other]!)).slice(0, count);
}

function dotOn(units: readonly number[], one: Float64Array, other: Float64Array): number {
  return units.reduce((sum, unit) => sum + one[unit]! * other[unit]!, 0);
}

/** Length of the part of a vector that some units have. */
export function normOn(units: readonly number[], values: Float64Array): number {
  return Math.sqrt(units.reduce((sum, unit) => sum + values[unit]! ** 2, 0));
}
