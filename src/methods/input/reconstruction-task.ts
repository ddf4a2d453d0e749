import type { Detail } from '../../protocol/detail.js';
import { UnusableInputError } from '../../protocol/errors.js';
import type { EngineReport, NetworkReport } from '../../protocol/report.js';
import type { Precision } from '../../recovery/chain/chain-state.js';
import { type HeadFactors, ROUNDED_SUM } from '../../recovery/head-factors.js';
import { FLOAT32_ROUNDOFF, type GradientShape } from '../../recovery/head-gradient.js';
import type { Known } from '../../recovery/matching/objective.js';
import { PRESETS } from '../../recovery/matching/presets.js';
import type { RecoveredSample } from '../../recovery/recovered-sample.js';
import { norm } from '../../recovery/vectors.js';
import type { NamedArray, Reconstruction } from '../method.js';
import type { NetworkTask } from './prepare.js';

/** What a reconstruction starts from and what it gives, and what the head says of label and precision. */

export interface ReconstructionTask extends NetworkTask {
  readonly shape: GradientShape;
  readonly factors: HeadFactors;
  readonly sample: RecoveredSample;
  /** Only for `labels: 'true'`, which is research. */
  readonly trueLabel: readonly number[] | undefined;
}

export interface NetworkReconstruction extends Reconstruction {
  readonly network: NetworkReport;
  readonly engine: EngineReport | undefined;
  /** What was found on the way, for views. */
  readonly details?: readonly Detail[];
  /** Written beside the report. */
  readonly arrays?: readonly NamedArray[];
  /** True when the user stopped it; the best so far is here. */
  readonly stopped: boolean;
}

/** Share of dloss/dlogits from which its rounding shows in a certificate: a tenth of what that may leave of an exact input. */
const ROUNDING_SHOWS = 1e-5;

/**
 * What the attacks are told of the sample: label of K numbers, feature of d, scale of the captured gradient.
 *
 * @throws UnusableInputError when true labels are asked for and none were given
 */
export function knownOf({
  sample,
  factors,
  head,
  request,
  trueLabel,
}: Pick<ReconstructionTask, 'sample' | 'factors' | 'head' | 'request' | 'trueLabel'>): Known {
  const labels = request.settings?.labels ?? PRESETS[request.preset].labels;
  let probabilities = sample.label.probabilities;
  if (labels === 'true') {
    if (!trueLabel) {
      throw new UnusableInputError({
        code: 'bad-arguments',
        file: 'labels',
        found: 'true labels asked for, and none given',
        expected: 'a truth file with "labels"',
        advice: 'Give one, or match with the recovered labels.',
        next: ['recovered-labels', 'give-truth'],
      });
    }
    probabilities = Float64Array.from(trueLabel);
  }
  if (labels === 'hard') {
    const top = probabilities.indexOf(probabilities.reduce((most, own) => Math.max(most, own), -Infinity));
    probabilities = probabilities.map((_, index) => (index === top ? 1 : 0));
  }
  const { captured, problem } = factors;
  const moved = norm(captured.map((value, at) => value - problem.u[at]!));
  const isRecovered =
    labels !== 'free' &&
    probabilities.every((own, at) => Math.abs(own - sample.label.probabilities[at]!) <= ROUNDED_SUM);
  const isRounded = isRecovered && moved > ROUNDING_SHOWS * norm(captured);
  return {
    labels: probabilities,
    classes: head.weight.rows,
    features: sample.feature,
    scale: sample.scale,
    ...(isRounded ? { logitGradients: [captured.map((value) => value / sample.scalar)] } : {}),
  };
}

/** What the captured numbers err by. */
export interface NumberErrors {
  /** Standard deviation of noise on each. */
  readonly noise: number;
  /** Unit roundoff of what is stored, relative. */
  readonly roundoff: number;
  /** Step between stored numbers near zero. */
  readonly underflow: number;
}

export function numberErrorsOf(task: Pick<ReconstructionTask, 'head' | 'shape' | 'absoluteError'>): NumberErrors {
  return { noise: precisionOf(task).noise, roundoff: task.head.roundoff, underflow: task.head.underflow };
}

/** Unit roundoffs are relative; the noise is a standard deviation in the captured gradient's own units. */
export function precisionOf({
  head,
  shape,
  absoluteError,
}: Pick<ReconstructionTask, 'head' | 'shape' | 'absoluteError'>): Precision {
  return {
    // Networks compute in float32 unless the gradient shows more digits; half types round only what is stored.
    forward: Math.min(FLOAT32_ROUNDOFF, Math.max(head.roundoff, 2 ** -53)),
    stored: head.roundoff,
    noise: Math.max(shape.nature === 'single-noisy' ? shape.noise : 0, absoluteError),
  };
}
