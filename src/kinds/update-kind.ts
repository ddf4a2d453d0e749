import { basename } from 'node:path';
import { UnusableInputError } from '../protocol/errors.js';
import type { UpdateReport } from '../protocol/report.js';
import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { type Orientation, differenceEvidence, orientationByLabels, roundingError } from './difference.js';
import { isOptimiserState } from './file-kind.js';
import { constantSize, pruning, quantisedGrid } from './patterns.js';
import { type MatchedEntries, type SampledPair, samplePairs } from './sampling.js';
import { type SideEvidence, hasStatistics, isEvenNoise, isMatrix, likenessOf, sideEvidence } from './sides.js';

/**
 * What the file given as a gradient is, told from the contents of both files before anything is recovered from it
 *. File names decide nothing that contents leave open.
 */

export interface SettledUpdate {
  readonly update: UpdateReport;
  /**
   * What `update.sign` of a difference was told from: the rounding of single entries and a counter are conclusive, labels
   * are not; null when it was assumed.
   */
  readonly signToldBy: 'rounding' | 'counter' | 'labels' | null;
}

/**
 * Reads about 2^20 elements of each file and the last matrix.
 *
 * @param pairs which captured tensor belongs to which parameter
 * @throws UnusableInputError when the files are swapped, or what was given as a gradient is a state of an optimiser or
 *   other weights
 */
export function settleKind(
  checkpoint: TensorFile,
  gradients: TensorFile,
  pairs: readonly MatchedEntries[],
): SettledUpdate {
  refuseOptimiserState(gradients);
  const samples = samplePairs(checkpoint, gradients, pairs);
  const likeness = likenessOf(samples);
  if (likeness?.identical === true) {
    return plain('checkpoint', 'Every tensor that was looked at is the same as in the checkpoint.');
  }
  const difference = settleDifference(gradients, samples);
  if (difference) {
    return difference;
  }
  if (likeness && likeness.cosine > 0.5 && likeness.scale > 0.3 && likeness.scale < 3) {
    throw notAGradient(
      gradients,
      `weights, like those of ${checkpoint.path} (median cosine ${likeness.cosine.toPrecision(3)}, ${likeness.scale.toPrecision(3)} times their size)`,
    );
  }
  const changed = settleChanged(samples);
  const given = sideEvidence(samples, 'gradient');
  // An update that was pruned or quantised has lost traits of its own, so more is asked of the other file.
  refuseSwapped(checkpoint, gradients, samples, given, changed ? 4 : 3);
  if (changed) {
    return changed;
  }
  refuseWeights(gradients, given);
  return settleGradient(gradients, given);
}

/**
 * Needs no matching, so that a state whose tensors fit no checkpoint gets its own words.
 *
 * @throws UnusableInputError for the state of an optimiser
 */
export function refuseOptimiserState(gradients: TensorFile): void {
  const example = isOptimiserState(gradients);
  if (example !== undefined) {
    throw notAGradient(gradients, `the state of an optimiser ("${example}")`);
  }
}

function notAGradient(gradients: TensorFile, found: string): UnusableInputError {
  return new UnusableInputError({
    code: 'not-a-gradient',
    file: gradients.path,
    found,
    expected: 'a captured gradient, or the difference of the weights after and before a step',
    advice: 'Give the gradient, or subtract the weights before from the weights after and give that difference.',
  });
}

function plain(kind: UpdateReport['kind'], ...reasons: string[]): SettledUpdate {
  return { update: { kind, reasons, sign: 1, absoluteError: null }, signToldBy: null };
}

const PERCENT = (share: number): string => `${Number((100 * share).toPrecision(3))} %`;

const STEPS_OF_GRID = 50;

function settleDifference(gradients: TensorFile, samples: readonly SampledPair[]): SettledUpdate | undefined {
  const evidence = differenceEvidence(samples);
  const head = samples.findLast(isMatrix) ?? samples.at(-1);
  if (!evidence || !head) {
    return undefined;
  }
  const reasons = [
    `Of ${evidence.telling} entries that could have shown otherwise, ${PERCENT(1 - evidence.misfit)} are the exact difference of two stored weights; a gradient has digits of its own.`,
  ];
  const steps = countedSteps(gradients);
  const sign = settleSign(evidence.orientation, steps, samples);
  reasons.push(...sign.reasons);
  const absoluteError = roundingError(head, sign.orientation);
  const constant = constantSize(samples);
  // Updates below the weights' grid are one step of it or none, whatever made them.
  const size = constant && constant.size > STEPS_OF_GRID * absoluteError ? constant : undefined;
  if (size) {
    reasons.push(sizeReason(size.size, size.decay));
  } else if (Math.abs(steps?.value ?? 0) > 1) {
    reasons.push(`"${steps?.name ?? ''}" differs by ${Math.abs(steps?.value ?? 0)}: that many steps were made.`);
  } else if (steps) {
    reasons.push(`"${steps.name}" differs by 1: one step was made.`);
  }
  const kind = size ? 'adam-step' : Math.abs(steps?.value ?? 0) > 1 ? 'several-steps' : 'difference';
  return {
    update: {
      kind,
      reasons,
      sign: sign.orientation === 'before-after' ? 1 : -1,
      absoluteError,
    },
    signToldBy: sign.toldBy,
  };
}

function sizeReason(size: number, decay: number): string {
  const with_ =
    Math.abs(decay) > 1e-3 ? `, after weight decay of about ${Math.abs(decay).toPrecision(2)} is taken off` : '';
  return `Nearly all entries have one size, ${size.toPrecision(3)}${with_}: the first step of Adam, or a sign, which keeps no magnitudes.`;
}

/** Batch normalisation counts its forward passes in training mode. */
function countedSteps(gradients: TensorFile): { name: string; value: number } | undefined {
  const entry = gradients.entries.find(({ name }) => /(^|[./])num_batches_tracked$/.test(name));
  const value = entry && firstOf(gradients, entry);
  return entry && value !== undefined && Number.isInteger(value) && value !== 0
    ? { name: entry.name, value }
    : undefined;
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
  readonly toldBy: SettledUpdate['signToldBy'];
  readonly reasons: string[];
}

const ORDER: Record<Orientation, string> = {
  'after-before': 'weights after minus weights before',
  'before-after': 'weights before minus weights after',
};

function settleSign(
  byRounding: Orientation | null,
  steps: { name: string; value: number } | undefined,
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

function settleChanged(samples: readonly SampledPair[]): SettledUpdate | undefined {
  const size = constantSize(samples);
  if (size?.how === 'exact') {
    return plain('sign', `Each tensor holds one size only (${size.size.toPrecision(3)}), zero and both signs.`);
  }
  // Most entries of a coarse grid are on its first level, so they too are nearly of one size.
  const grid = quantisedGrid(samples);
  if (grid) {
    return plain(
      'quantised',
      `The ${grid.entries} entries of "${grid.name}" take ${grid.levels} values in equal steps: it was quantised.`,
    );
  }
  if (size) {
    return plain('adam-step', sizeReason(size.size, size.decay));
  }
  const head = samples.findLast(isMatrix);
  const cut = pruning(samples, head);
  return cut
    ? plain(
        'pruned',
        `${PERCENT(cut.zeros)} of "${cut.name}" is zero in single places, which no dead unit explains: entries were dropped.`,
      )
    : undefined;
}

const GRADIENT_NAME = /grad/i;
const CHECKPOINT_NAME = /checkpoint|ckpt|model|weights|state_?dict/i;

/**
 * Compares both files: each trait of a gradient in the checkpoint that the gradient lacks, and the reverse. One trait is
 * not enough, since a head that began at zero sums to zero like a gradient and noise hides a gradient's own traits.
 */
function refuseSwapped(
  checkpoint: TensorFile,
  gradients: TensorFile,
  samples: readonly SampledPair[],
  given: SideEvidence,
  enough: number,
): void {
  const stored = sideEvidence(samples, 'parameter');
  const back = samples.map((sample) => ({
    ...sample,
    gradient: sample.parameter,
    parameter: sample.gradient,
    gradientType: sample.parameterType,
    parameterType: sample.gradientType,
  }));
  const isDifference = differenceEvidence(back) !== undefined;
  const gains = given.gains.length - stored.gains.length;
  const statistics = Number(hasStatistics(gradients)) - Number(hasStatistics(checkpoint));
  const named =
    GRADIENT_NAME.test(basename(checkpoint.path)) &&
    CHECKPOINT_NAME.test(basename(gradients.path)) &&
    !GRADIENT_NAME.test(basename(gradients.path));
  const score =
    traits(stored) -
    traits(given) +
    3 * Math.sign(gains) +
    3 * statistics +
    (isDifference ? 6 : 0) +
    (named ? 1 : 0) +
    (stored.balance?.exact === true && !given.balance && !isEvenNoise(given) ? 1 : 0) +
    (given.initialised.length > 1 && stored.initialised.length === 0 ? 1 : 0);
  if (score < enough) {
    return;
  }
  const weights =
    statistics > 0
      ? 'its buffers'
      : gains > 0
        ? `"${given.gains[0] ?? ''}" is about 1, as normalisation weights are`
        : "none of a gradient's traits";
  throw new UnusableInputError({
    code: 'swapped-files',
    file: gradients.path,
    found: `what looks like weights (${weights}), while ${checkpoint.path} looks like a gradient (${isDifference ? 'the exact difference of two states' : (traitOf(stored) ?? 'no normalisation weights near 1')})`,
    expected: 'the gradient here and the weights there',
    advice: 'The two files look swapped: exchange them.',
  });
}

/** Weight of a gradient's traits in one file. */
function traits({ balance, balancedVector, lowRank, zeroRows }: SideEvidence): number {
  return (
    (balance ? 2 : 0) + (balancedVector === undefined ? 0 : 1) + (lowRank ? 3 : 0) + (zeroRows === undefined ? 0 : 1)
  );
}

function traitOf(evidence: SideEvidence): string | undefined {
  return gradientReasons(evidence)[0]?.replace(/\.$/, '');
}

function gradientReasons({ balance, balancedVector, lowRank, zeroRows }: SideEvidence): string[] {
  return [
    ...(balance
      ? [
          balance.ratio > 1e-2
            ? `The sums of "${balance.name}" over its classes are ${balance.ratio.toPrecision(2)} of its size, far less than independent numbers give: the gradient of a softmax head under noise.`
            : `"${balance.name}" sums to zero over its classes (${balance.ratio.toExponential(1)} of its size), as the gradient of a softmax head does.`,
        ]
      : []),
    ...(balancedVector === undefined
      ? []
      : [`"${balancedVector}" sums to zero, as the gradient of a softmax bias does.`]),
    ...(lowRank
      ? [
          `"${lowRank.name}" has rank ${lowRank.rank} of ${lowRank.most}, as the gradient of ${lowRank.rank === 1 ? 'one sample' : 'few samples'} has.`,
        ]
      : []),
    ...(zeroRows === undefined
      ? []
      : [`"${zeroRows}" is zero in whole rows and nowhere else, as the gradient of unused or dead units is.`]),
  ];
}

/** Weights of another model or run, which need not be like the checkpoint's. */
function refuseWeights(gradients: TensorFile, given: SideEvidence): void {
  if (traits(given) > 0) {
    return;
  }
  if (hasStatistics(gradients) && given.gains.length > 0) {
    throw notAGradient(gradients, `weights with their buffers ("${given.gains[0] ?? ''}" is about 1)`);
  }
  if (given.initialised.length > 1) {
    throw notAGradient(
      gradients,
      `weights as a layer is initialised with ("${given.initialised[0] ?? ''}" fills +-1/sqrt(fan-in))`,
    );
  }
}

function settleGradient(gradients: TensorFile, given: SideEvidence): SettledUpdate {
  const reasons = gradientReasons(given);
  if (reasons.length > 0) {
    return plain('gradient', ...reasons);
  }
  const unknown = 'Nothing in the numbers says that they are a gradient: no head sums to zero, no matrix has low rank.';
  return GRADIENT_NAME.test(basename(gradients.path))
    ? plain('unknown', unknown, `Only the file's name, "${basename(gradients.path)}", suggests a gradient.`)
    : plain('unknown', unknown);
}
