import { refuseOptimiserState, settleKind } from '../kinds/update-kind.js';
import type { WeightDecay } from '../kinds/weight-decay.js';
import { settleStates } from '../kinds/two-states.js';
import type { UpdateReport } from '../protocol/report.js';
import { type Capture, isCapturedTraining, readCapture } from './capture.js';
import type { TensorFile } from '../formats/tensor-file.js';
import type { Fact } from './facts.js';
import { type Matching, matchTensors } from './matching.js';
import { UPDATE_ALONE } from './no-checkpoint.js';
import { type Statements, statementsOf, withStatements } from './stated-training.js';

/** Which captured tensor is of which parameter. */
export const MATCHING: Fact<Matching> = {
  id: 'matching',
  compute({ given: { checkpoint, gradients } }) {
    refuseOptimiserState(gradients);
    return matchTensors(checkpoint, gradients);
  },
  describe: ({ how, pairs, unmatched }) => ({ how, pairs: pairs.length, unmatched: unmatched.length }),
};

/** The notes that gradleak_capture.py leaves beside a dump; undefined where there are none. */
export const CAPTURE: Fact<Capture | undefined> = {
  id: 'capture',
  compute: ({ given: { gradients } }) => readCapture(gradients.path),
  describe: (capture) => capture ?? null,
};

/** What was stated of a client's training; undefined where nobody said anything. */
export const STATED_TRAINING: Fact<Statements | undefined> = {
  id: 'stated-training',
  async compute(facts) {
    const capture = await facts.get(CAPTURE).catch(() => undefined);
    return statementsOf(facts.given.request.training, capture?.training);
  },
  describe: (stated) => stated ?? null,
};

/**
 * What the file given as a gradient is.
 *
 * @throws UnusableInputError when it is another file than a captured update
 */
export const UPDATE: Fact<UpdateReport> = {
  id: 'update',
  async compute(facts) {
    const { checkpoint, gradients, origin, request } = facts.given;
    if (request.checkpoint === undefined) {
      refuseOptimiserState(gradients);
      return UPDATE_ALONE;
    }
    // Types of numbers tell what they are, and what is read after something was taken off has others.
    const pairs = origin?.pairs ?? (await facts.get(MATCHING)).pairs;
    const given = origin?.difference ?? gradients;
    const settled = origin?.after
      ? settleStates(checkpoint, origin.after, given, pairs, statedBy(checkpoint, origin.after))
      : settleKind(checkpoint, given, pairs);
    const update = origin?.decay ? { ...settled, reasons: [...settled.reasons, decayReason(origin.decay)] } : settled;
    const capture = await facts.get(CAPTURE).catch(() => undefined);
    const stated = await facts.get(STATED_TRAINING);
    if (stated) {
      return withStatements(update, stated);
    }
    // A gradient that gradleak_capture.py writes is a gradient and nothing else: noise in it is somebody's defence.
    return update.kind === 'unknown' && capture
      ? {
          ...update,
          kind: 'gradient',
          reasons: [
            'The contents alone do not say so; capture.json beside the file, which gradleak_capture.py writes with a gradient, does.',
          ],
        }
      : update;
  },
  describe: (update) => update,
};

/** Weights that changed much are known as one model's by what the capture wrote of them. */
function statedBy({ path }: TensorFile, after: TensorFile): string | undefined {
  return isCapturedTraining(path, after.path)
    ? "capture.json says that the file holds weights of the checkpoint's own model"
    : undefined;
}

function decayReason({ factor, vectors }: WeightDecay): string {
  const left = vectors ? '' : ' (biases and other vectors have none)';
  return `It holds ${Math.abs(factor).toPrecision(3)} times the weights${left}, as weight decay leaves them: the sums of the head over its classes, which a softmax's gradient makes zero, are that multiple of the weights' sums. It was taken off.`;
}
