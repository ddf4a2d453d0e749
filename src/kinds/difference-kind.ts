import { type TensorEntry, type TensorFile, isFloating } from '../formats/tensor-file.js';
import type { SignToldBy, UpdateReport } from '../protocol/report.js';
import { type Orientation, differenceEvidence, orientationByLabels, roundingError } from './difference.js';
import { constantSize } from './patterns.js';
import type { SampledPair } from './sampling.js';
import { isMatrix } from './sides.js';
import { weightDecayOf } from './weight-decay.js';

/** A difference of weights: its sign, and whether one step made it. */

/** A share as people read it. */
export const PERCENT = (share: number): string => `${Number((100 * share).toPrecision(3))} %`;

/** Updates below the weights' grid are one step of it or none, whatever made them. */
const STEPS_OF_GRID = 50;

/** @returns undefined for numbers that are no difference of two stored states of these weights */
export function settleDifference(gradients: TensorFile, samples: readonly SampledPair[]): UpdateReport | undefined {
  const evidence = differenceEvidence(samples);
  if (!evidence) {
    return undefined;
  }
  const steps = countedSteps(gradients);
  const sign = settleSign(evidence.orientation, steps, samples);
  return settled(samples, steps, sign, [
    `Of ${evidence.telling} entries that could have shown otherwise, ${PERCENT(1 - evidence.misfit)} are the exact difference of two stored weights; a gradient has digits of its own.`,
    ...sign.reasons,
  ]);
}

/** The difference of two files that hold the weights before and after: kind and sign need no evidence. */
export function settleSubtracted(
  gradients: TensorFile,
  samples: readonly SampledPair[],
  reasons: readonly string[],
): UpdateReport {
  const sign: SettledSign = { orientation: 'after-before', toldBy: 'files', reasons: [] };
  return settled(samples, countedSteps(gradients), sign, reasons);
}

function settled(
  samples: readonly SampledPair[],
  steps: CountedSteps | undefined,
  { orientation, toldBy }: SettledSign,
  reasons: readonly string[],
): UpdateReport {
  const head = samples.findLast(isMatrix) ?? samples.at(-1);
  const absoluteError = head ? roundingError(head, orientation) : 0;
  const constant = constantSize(samples);
  const size = constant && constant.size > STEPS_OF_GRID * absoluteError ? constant : undefined;
  const count = Math.abs(steps?.value ?? 0);
  return {
    kind: size ? 'adam-step' : count > 1 ? 'several-steps' : 'difference',
    reasons: [
      ...reasons,
      ...(size ? [sizeReason(size.size, size.decay)] : []),
      ...(steps && !(size && count === 1) ? [stepsReason(steps)] : []),
      ...(!size && !steps ? [UNCOUNTED] : []),
    ],
    sign: orientation === 'before-after' ? 1 : -1,
    signToldBy: toldBy,
    ...(count > 0 ? { steps: count } : {}),
    absoluteError,
  };
}

/** Said of what has no counter. */
export const UNCOUNTED =
  'Nothing in the file counts steps; it is read as one, and what one step does not explain down to rounding is not shown.';

/** Of a step that keeps no magnitudes. */
export function sizeReason(size: number, decay: number): string {
  const with_ =
    Math.abs(decay) > 1e-3 ? `, after weight decay of about ${Math.abs(decay).toPrecision(2)} is taken off` : '';
  return `Nearly all entries have one size, ${size.toPrecision(3)}${with_}: the first step of Adam, or a sign, which keeps no magnitudes.`;
}

interface CountedSteps {
  readonly name: string;
  /** Negative in weights before minus weights after. */
  readonly value: number;
}

function stepsReason({ name, value }: CountedSteps): string {
  const count = Math.abs(value);
  return count === 1
    ? `"${name}" differs by 1: one batch was seen in training mode, so one step was made.`
    : `"${name}" differs by ${count}: that many batches were seen in training mode, each in a step of its own unless gradients were added up over them.`;
}

/** Batch normalisation counts its forward passes in training mode: a whole number without shape, whether it has its name or not. */
export function countedSteps(gradients: TensorFile): CountedSteps | undefined {
  const counters = gradients.entries.filter(
    ({ name, positional, dtype, shape }) =>
      /(^|[./])num_batches_tracked$/.test(name) ||
      (!isFloating(dtype) && shape.length === 0 && (positional || /^arr_\d+$/.test(name))),
  );
  const [first, ...others] = counters.map((entry) => firstOf(gradients, entry));
  const isOne = first !== undefined && others.every((value) => value === first);
  return isOne && Number.isInteger(first) && first !== 0 ? { name: counters[0]!.name, value: first } : undefined;
}

function firstOf(file: TensorFile, { name }: TensorEntry): number | undefined {
  try {
    return file.read(name, { start: 0, end: 1 }).data[0];
  } catch {
    return undefined;
  }
}

interface SettledSign {
  readonly orientation: Orientation;
  readonly toldBy: SignToldBy | null;
  readonly reasons: string[];
}

const ORDER: Record<Orientation, string> = {
  'after-before': 'weights after minus weights before',
  'before-after': 'weights before minus weights after',
};

function settleSign(
  byRounding: Orientation | null,
  steps: CountedSteps | undefined,
  samples: readonly SampledPair[],
): SettledSign {
  if (byRounding) {
    return {
      orientation: byRounding,
      toldBy: 'rounding',
      reasons: [`Where a weight changes its exponent, only ${ORDER[byRounding]} fits.`],
    };
  }
  if (steps) {
    const orientation = steps.value > 0 ? 'after-before' : 'before-after';
    return { orientation, toldBy: 'counter', reasons: [`"${steps.name}" grew in ${ORDER[orientation]}.`] };
  }
  const decay = weightDecayOf(samples);
  if (decay) {
    const orientation = decay.factor < 0 ? 'after-before' : 'before-after';
    return { orientation, toldBy: 'decay', reasons: [`Weight decay makes weights smaller in ${ORDER[orientation]}.`] };
  }
  const perClass = classSums(samples);
  const byLabels = perClass && orientationByLabels(perClass);
  return byLabels
    ? {
        orientation: byLabels,
        toldBy: 'labels',
        reasons: [
          `Rounding leaves the sign open; few large entries against many small ones in the head suggest ${ORDER[byLabels]}, but soft labels may look so too.`,
        ],
      }
    : {
        orientation: 'after-before',
        toldBy: null,
        reasons: [
          `The sign is not known: neither rounding nor the head tells it; ${ORDER['after-before']} is assumed.`,
        ],
      };
}

/** One number per class in the head: its bias, or the row sums where features have one sign; undefined without either. */
function classSums(samples: readonly SampledPair[]): Float64Array | undefined {
  const head = samples.findLast(isMatrix);
  if (!head) {
    return undefined;
  }
  const { rows, columns, gradient } = head;
  const bias = samples.slice(samples.indexOf(head)).find((sample) => sample.vector && sample.rows === rows);
  if (bias) {
    return bias.gradient;
  }
  const sums = new Float64Array(rows);
  let oneSigned = 0;
  for (let row = 0; row < rows; row++) {
    const own = gradient.subarray(row * columns, (row + 1) * columns);
    sums[row] = own.reduce((sum, value) => sum + value, 0);
    oneSigned += own.every((value) => value >= 0) || own.every((value) => value <= 0) ? 1 : 0;
  }
  return oneSigned >= rows / 2 ? sums : undefined;
}
