import type { TensorFile } from '../formats/tensor-file.js';
import { UnusableInputError } from '../protocol/errors.js';
import type { UpdateReport } from '../protocol/report.js';
import { coarserType, onOwnGrid } from './rounding.js';
import { countedSteps, settleSubtracted } from './difference-kind.js';
import { type MatchedEntries, type SampledPair, samplePairs } from './sampling.js';

/** Weights before and after, each in a file of its own: whether both are of one model, and what their difference is. */

interface Relation {
  /** Median over the matrices of the correlation of their entries before and after; undefined without any to look at. */
  readonly correlation: number | undefined;
  /** Median of the least-squares factor from before to after. */
  readonly factor: number | undefined;
  /** ||after - before|| / ||before|| over everything that was looked at. */
  readonly change: number;
}

/** Matrices of fewer entries correlate by chance. */
const FEWEST_ENTRIES = 16;
/** Matrices of two models that were trained apart have correlations about 0; those of one model lose theirs with every epoch. */
const ONE_MODEL = 0.6;

/**
 * Whether a file holds later weights of the checkpoint's own model.
 *
 * @param pairs which of its tensors belongs to which parameter
 * @param isStated whoever wrote both files says so: then they only have to differ
 */
export function isLaterState(
  checkpoint: TensorFile,
  file: TensorFile,
  pairs: readonly MatchedEntries[],
  isStated: boolean,
): boolean {
  const { correlation = 0, factor = 0, change } = relationOf(samplePairs(checkpoint, file, pairs));
  return change > 0 && (isStated || (correlation >= ONE_MODEL && factor > 0.5 && factor < 2));
}

/**
 * What the difference of two states of one model is.
 *
 * @param difference after minus before
 * @param stated who says what they are, as the beginning of a sentence, where it is not told from the weights
 * @throws UnusableInputError when the file given as the checkpoint is the later of both
 */
export function settleStates(
  checkpoint: TensorFile,
  after: TensorFile,
  difference: TensorFile,
  pairs: readonly MatchedEntries[],
  stated?: string,
): UpdateReport {
  const sampled = samplePairs(checkpoint, after, pairs);
  const steps = countedSteps(difference);
  if (steps && steps.value < 0) {
    throw new UnusableInputError({
      code: 'swapped-files',
      file: after.path,
      found: `weights that have seen ${-steps.value} fewer ${steps.value === -1 ? 'batch' : 'batches'} than ${checkpoint.path} ("${steps.name}")`,
      expected: 'the weights after the training here, and those before it as the checkpoint',
      advice: 'The two files look swapped: exchange them.',
    });
  }
  const { correlation, change } = relationOf(sampled);
  const samples = onOwnGrid(
    sampled.map((sample): SampledPair => ({
      ...sample,
      gradient: sample.gradient.map((value, index) => value - sample.parameter[index]!),
      gradientType: 'float64',
      parameterType: coarserType(sample.parameterType, sample.gradientType),
    })),
  );
  return settleSubtracted(difference, samples, [
    `${stated ?? "The file holds weights of the checkpoint's own model"} (${correlation === undefined ? '' : `median correlation ${correlation.toPrecision(4)}, `}changed by ${change.toPrecision(2)} of their size): they are taken as those after the training, the checkpoint's as those before it, and their difference was audited.`,
  ]);
}

function relationOf(samples: readonly SampledPair[]): Relation {
  const found = samples
    .filter(({ columns, gradient }) => columns > 1 && gradient.length >= FEWEST_ENTRIES)
    .flatMap(({ gradient, parameter }) => correlationOf(parameter, gradient));
  let squares = 0;
  let size = 0;
  for (const { gradient, parameter } of samples) {
    for (const [index, value] of gradient.entries()) {
      squares += (value - parameter[index]!) ** 2;
      size += parameter[index]! ** 2;
    }
  }
  return {
    correlation: median(found.map(({ correlation }) => correlation)),
    factor: median(found.map(({ factor }) => factor)),
    change: size > 0 ? Math.sqrt(squares / size) : squares,
  };
}

/** Means are taken off, since weights of one sign are alike in nothing else. Nothing for weights that are all equal. */
function correlationOf(before: Float64Array, after: Float64Array): { correlation: number; factor: number }[] {
  const [centre, centreAfter] = [meanOf(before), meanOf(after)];
  let cross = 0;
  let own = 0;
  let other = 0;
  for (const [index, value] of before.entries()) {
    const [left, right] = [value - centre, after[index]! - centreAfter];
    cross += left * right;
    own += left * left;
    other += right * right;
  }
  return own > 0 && other > 0 ? [{ correlation: cross / Math.sqrt(own * other), factor: cross / own }] : [];
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function median(values: number[]): number | undefined {
  return values.sort((one, other) => one - other)[Math.floor(values.length / 2)];
}
