import { basename } from 'node:path';
import { UnusableInputError } from '../protocol/errors.js';
import type { UpdateReport } from '../protocol/report.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { differenceEvidence } from './difference.js';
import { PERCENT, settleDifference, sizeReason } from './difference-kind.js';
import { isOptimiserState } from './file-kind.js';
import { constantSize, pruning, quantisedGrid } from './patterns.js';
import { onOwnGrid } from './rounding.js';
import { type MatchedEntries, type SampledPair, samplePairs } from './sampling.js';
import { type SideEvidence, hasStatistics, isEvenNoise, isMatrix, likenessOf, rms, sideEvidence } from './sides.js';

/**
 * What the file given as a gradient is, told from the contents of both files before anything is recovered from it. File
 * names decide nothing that contents leave open.
 */

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
): UpdateReport {
  refuseOptimiserState(gradients);
  const samples = onOwnGrid(samplePairs(checkpoint, gradients, pairs));
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
      `weights that are like those of ${checkpoint.path} (median cosine ${likeness.cosine.toPrecision(3)}, ${likeness.scale.toPrecision(3)} times their size), and too far from them to be known as the same model after some training`,
    );
  }
  const changed = settleChanged(samples);
  const given = sideEvidence(samples, 'gradient');
  // An update that was pruned or quantised has lost traits of its own, so more is asked of the other file.
  refuseSwapped(checkpoint, gradients, samples, given, changed ? 4 : 3);
  if (changed) {
    return changed;
  }
  refuseWeights(checkpoint, gradients, samples, given);
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
    expected: "a captured gradient, the weights after a step from the checkpoint's, or the difference of both",
    advice: 'Give the gradient, or the weights of the same model after the training: their difference is taken then.',
  });
}

function plain(kind: UpdateReport['kind'], ...reasons: string[]): UpdateReport {
  return { kind, reasons, sign: 1, absoluteError: null };
}

function settleChanged(samples: readonly SampledPair[]): UpdateReport | undefined {
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
          `"${lowRank.name}" has rank ${lowRank.rank} of ${lowRank.most}, as the gradient of ${lowRank.rank === 1 ? 'one sample, or of nearly equal ones,' : 'few samples'} has.`,
        ]
      : []),
    ...(zeroRows === undefined
      ? []
      : [`"${zeroRows}" is zero in whole rows and nowhere else, as the gradient of unused or dead units is.`]),
  ];
}

/** Weights of another model or run, which need not be like the checkpoint's. */
function refuseWeights(
  checkpoint: TensorFile,
  gradients: TensorFile,
  samples: readonly SampledPair[],
  given: SideEvidence,
): void {
  if (traits(given) > 0) {
    return;
  }
  if (!isEvenNoise(given) && haveSizesOfWeights(samples)) {
    throw notAGradient(
      gradients,
      `what looks like weights of another model: its tensors have the sizes of those of ${checkpoint.path}, one by one, and are not like them`,
    );
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

const FEWEST_MATRICES = 3;

/** Whether every tensor is as large as the weights that it is matched with, which gradients of different layers are not. */
function haveSizesOfWeights(samples: readonly SampledPair[]): boolean {
  const ratios = samples
    .filter(({ columns, gradient }) => columns > 1 && gradient.length >= 64)
    .map(({ gradient, parameter }) => rms(gradient) / rms(parameter));
  return ratios.length >= FEWEST_MATRICES && ratios.every((ratio) => ratio > 0.5 && ratio < 2);
}

function settleGradient(gradients: TensorFile, given: SideEvidence): UpdateReport {
  const reasons = gradientReasons(given);
  if (reasons.length > 0) {
    return plain('gradient', ...reasons);
  }
  const unknown = 'Nothing in the numbers says that they are a gradient: no head sums to zero, no matrix has low rank.';
  return GRADIENT_NAME.test(basename(gradients.path))
    ? plain('unknown', unknown, `Only the file's name, "${basename(gradients.path)}", suggests a gradient.`)
    : plain('unknown', unknown);
}
