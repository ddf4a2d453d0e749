import { softmax } from '../activation.js';
import { multiplyTransposed } from '../linear-algebra.js';
import { least } from '../vectors.js';
import { type LayerState, outputsOf } from './layer-state.js';

/** The class of a sample whose input and slopes at a hidden layer are known, where a classifier comes right above that layer. */

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
/** Active units that a class is told by, at least. */
const FEWEST_ACTIVE = 8;

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
  const rests = slopesAsked(classifier, scale, outputs).map((asked) => slopes.map((own, unit) => own - asked[unit]!));
  const lengths = rests.map((rest) => normOn(unitsKept(rest, outputs, leftOut), rest));
  const index = lengths.reduce((best, own, at) => (own < lengths[best]! ? at : best), 0);
  // All classes are compared where the best one fits, or each could leave out what speaks against it.
  const units = unitsKept(rests[index]!, outputs, leftOut);
  const active = units.filter((unit) => outputs[unit]! > 0);
  const size = normOn(active, slopes);
  const offs = rests.map((rest) => (size > 0 && active.length >= FEWEST_ACTIVE ? normOn(units, rest) / size : 1));
  const next = least(offs.filter((_, at) => at !== index));
  return { index, off: offs[index]!, units, next };
}

/** All silent units and all active ones, but for a share of each that fits worst: it may have changed sides. */
function unitsKept(rest: Float64Array, outputs: Float64Array, leftOut: number): number[] {
  const best = (units: number[]): number[] =>
    units
      .sort((one, other) => Math.abs(rest[one]!) - Math.abs(rest[other]!))
      .slice(0, units.length - Math.floor(leftOut * units.length));
  const all = [...rest.keys()];
  return [...best(all.filter((unit) => outputs[unit]! > 0)), ...best(all.filter((unit) => !(outputs[unit]! > 0)))];
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
  const fits = slopesAsked(classifier, scale, outputs).map((asked) => {
    const rest = asked.map((own, unit) => own - slopes[unit]!);
    let units = [...rest.keys()];
    let share = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const [along, square] = [dotOn(units, others, rest), dotOn(units, others, others)];
      share = square > 0 ? along / square : 0;
      units = unitsKept(
        rest.map((own, unit) => own - share * others[unit]!),
        outputs,
        leftOut,
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
  const mean = multiplyTransposed(classifier.weight, p);
  const { data, cols } = classifier.weight;
  return Array.from(p, (_, index) =>
    mean.map((own, unit) => (outputs[unit]! > 0 ? scale * (own - data[index * cols + unit]!) : 0)),
  );
}

function dotOn(units: readonly number[], one: Float64Array, other: Float64Array): number {
  return units.reduce((sum, unit) => sum + one[unit]! * other[unit]!, 0);
}

/** Length of the part of a vector that some units have. */
export function normOn(units: readonly number[], values: Float64Array): number {
  return Math.sqrt(units.reduce((sum, unit) => sum + values[unit]! ** 2, 0));
}
