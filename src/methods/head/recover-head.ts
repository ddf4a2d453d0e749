import type { AuditRequest } from '../../protocol/audit-request.js';
import { CancelledError } from '../../protocol/errors.js';
import type { BatchDescription, ConsistencyCheck, LabelCountReport, SampleReport } from '../../protocol/report.js';
import type { BatchRecovery, BatchSample } from '../../recovery/batch/batch-result.js';
import { mostSamples, recoverBatch } from '../../recovery/batch/recover-batch.js';
import { type WhitenedHead, whiten } from '../../recovery/batch/whiten.js';
import { type BatchEstimate, estimateBatch } from '../../recovery/batch/batch-size.js';
import { type HeadFactors, factorsOf } from '../../recovery/head-factors.js';
import type { GradientShape, HeadGradient } from '../../recovery/head-gradient.js';
import { type LabelCounts, countLabels } from '../../recovery/label-counts.js';
import { recoverLikePaper } from '../../recovery/paper-method.js';
import type { RecoveredSample } from '../../recovery/recovered-sample.js';
import { asOneSample } from '../../recovery/one-sample.js';
import { recoverFromFactors } from '../../recovery/single-sample.js';
import { type AuditHooks, fractionAt } from '../../facts/hooks.js';
import { norm } from '../../recovery/vectors.js';
import { counted } from '../../words/count-words.js';
import { MOST_FEATURE_ERROR, describeBatchSample, describeSample } from './sample-report.js';

/** From the head's gradient to labels and features: of one sample, or of every sample of a batch. */

export interface RecoveredHead {
  readonly samples: readonly SampleReport[];
  /** One row per sample. */
  readonly features: readonly Float64Array[];
  /** The one sample of a gradient that holds one. */
  readonly single: RecoveredSample | undefined;
  readonly factors: HeadFactors | undefined;
  /** The samples of a gradient that holds several. */
  readonly several: readonly BatchSample[];
  /** Whether those explain the gradient down to its noise. */
  readonly complete: boolean;
  /** Standard deviation of added noise per number of a batch's gradient. */
  readonly noise: number;
  readonly batch: BatchDescription;
  readonly labelCounts: LabelCountReport | null;
  readonly checks: readonly ConsistencyCheck[];
  /** Why what was found must not be relied on, one sentence; undefined where it may be. */
  readonly unassessed: string | undefined;
  /** `before` anything was recovered, or with what is here. */
  readonly cancelled: 'before' | 'during' | undefined;
}

const NOTHING = {
  samples: [],
  features: [],
  single: undefined,
  factors: undefined,
  several: [],
  complete: false,
  noise: 0,
  labelCounts: null,
  checks: [],
  unassessed: undefined,
  cancelled: undefined,
} as const;

/** What is known of the file before anything is recovered. */
export interface UpdateFacts {
  /** A difference of weights: the gradient times an unknown learning rate, with an error that does not shrink with the number. */
  readonly isDifference: boolean;
  /** Whether something besides the numbers tells that one step was made. */
  readonly isOneStep: boolean;
  /** Samples in the batch, where whoever made the dump or asks for the audit says so. */
  readonly statedSize: number | undefined;
}

/** Stopping keeps what was found until then. */
export async function recoverHead(
  request: AuditRequest,
  hooks: AuditHooks,
  head: HeadGradient,
  shape: GradientShape,
  update: UpdateFacts,
): Promise<RecoveredHead> {
  try {
    return shape.nature === 'batch'
      ? await recoverSeveral(request, hooks, head, update)
      : await recoverOne(request, hooks, head, shape, update);
  } catch (error) {
    if (error instanceof CancelledError) {
      const evidence = 'The audit was stopped before this was known.';
      return { ...NOTHING, batch: { size: null, lowerBound: 1, evidence }, cancelled: 'before' };
    }
    throw error;
  }
}

async function recoverOne(
  request: AuditRequest,
  hooks: AuditHooks,
  head: HeadGradient,
  shape: GradientShape,
  { isDifference, isOneStep, statedSize }: UpdateFacts,
): Promise<RecoveredHead> {
  const factors = factorsOf(head, shape);
  const found =
    request.method === 'paper'
      ? await recoverLikePaper(head, factors, shape.nature !== 'single', () => hooks.pause())
      : recoverFromFactors(factors, shape, { isScaleKnown: !isDifference });
  const single = asOneSample(found, factors, shape, statedSize);
  return {
    ...NOTHING,
    samples: [describeSample(single, 0, head, factors, request.out !== undefined)],
    features: [single.feature],
    single,
    factors,
    batch: describeSingle(shape, single, statedSize, isDifference),
    checks: single.isOneTold ? [fitCheck(single, shape.nature !== 'single'), ...scaleCheck(single, isDifference)] : [],
    unassessed: unassessedSingle(single, shape, isDifference) ?? unsureSoft(single, shape, { isDifference, isOneStep }),
  };
}

function unassessedSingle(
  { isReversed, isOneTold, activation, reason, status }: RecoveredSample,
  { nature }: GradientShape,
  isDifference: boolean,
): string | undefined {
  if (isReversed || (!isOneTold && nature !== 'single' && activation === 'sigmoid')) {
    return reason;
  }
  return isDifference && status === 'not-identifiable' ? BEYOND_ONE_STEP : undefined;
}

/** Rounding of the weights above this share of the update hides samples, and makes many labels fit. */
const MOST_ROUNDING = 1e-3;

/** Sums of p - y over several steps on one sample, or over samples that rounding hides, look like those of a soft label. */
function unsureSoft(
  { status, label }: RecoveredSample,
  { rounding, rankOne: { total, u, v } }: GradientShape,
  { isDifference, isOneStep }: Pick<UpdateFacts, 'isDifference' | 'isOneStep'>,
): string | undefined {
  const isHard = label.kind === 'hard' && status === 'recovered';
  const isClear = rounding * Math.sqrt(u.length * v.length) <= MOST_ROUNDING * total;
  return !isDifference || isHard || (isOneStep && isClear) ? undefined : SOFT_OR_STEPS;
}

const SOFT_OR_STEPS =
  'This difference of weights is of rank one down to its rounding, and no hard label explains it. A soft label would; so would several steps on one sample, or a batch whose samples the rounding of the weights hides. Which it is is not known, so neither is shown. Capture the gradient of one step to audit it.';

const BEYOND_ONE_STEP =
  'No samples were found that explain this difference of weights as one plain SGD step, down to its rounding: it may be of several local steps or another optimiser, have weight decay in part of the layers, or be of a batch whose samples cannot be told apart. Capture the gradient of one step to audit it.';

/** Above this share of noise, other samples could hide behind it. */
const CLEAR_OF_NOISE = 0.5;

function describeSingle(
  shape: GradientShape,
  { isOneTold, scale }: RecoveredSample,
  statedSize: number | undefined,
  isDifference: boolean,
): BatchDescription {
  if (!isOneTold) {
    return { size: statedSize ?? null, lowerBound: 1, evidence: 'The rank of this head tells no number of samples.' };
  }
  const silent = isDifference ? undefined : batchOfScale(scale);
  if (silent !== undefined && shape.nature === 'single') {
    return {
      size: statedSize ?? null,
      lowerBound: 1,
      evidence: `The head's gradient has rank one and is 1/${silent} of what one sample gives: that is one sample in a batch of ${silent}, whose other samples are predicted so surely that they add nothing, or one sample alone with a gradient that was scaled.`,
    };
  }
  const evidence = {
    single: "The head's gradient has rank one, to within the rounding of its numbers, as that of one sample has.",
    'single-noisy':
      "The head's gradient has rank one, as that of one sample has, plus noise that is independent from entry to entry.",
    hidden: 'The noise hides how many samples there are.',
    batch: '',
  }[shape.nature];
  const clear = shape.rankOne.residual < CLEAR_OF_NOISE * shape.rankOne.total;
  return { size: clear ? 1 : null, lowerBound: 1, evidence };
}

const FITS: Record<RecoveredSample['status'], string> = {
  recovered: 'With this checkpoint the gradient gives a label of a known kind.',
  ambiguous: 'With this checkpoint the gradient gives no label that is certain.',
  'not-identifiable': 'With this checkpoint the gradient gives no label.',
};

function fitCheck(sample: RecoveredSample, noisy: boolean): ConsistencyCheck {
  const status = sample.status === 'recovered' ? 'pass' : sample.status === 'ambiguous' || noisy ? 'warn' : 'fail';
  return { id: 'label-fits', status, detail: FITS[sample.status] };
}

/** Larger ones are as likely a clipped gradient's. */
const LARGEST_BATCH = 256;
const WHOLE_WITHIN = 1e-3;

/** The number of samples whose mean a gradient of one of them would be, where its scale is one over a whole number. */
export function batchOfScale(scale: number): number | undefined {
  const size = Math.round(1 / scale);
  return size >= 2 && size <= LARGEST_BATCH && Math.abs(scale * size - 1) < WHOLE_WITHIN ? size : undefined;
}

function scaleCheck({ scale }: RecoveredSample, isDifference: boolean): ConsistencyCheck[] {
  if (scale === 1) {
    return [];
  }
  const size = scale.toPrecision(4);
  const batch = batchOfScale(scale);
  const silent = batch === undefined ? '' : `, or the mean of ${batch} samples of which the others add nothing`;
  return [
    isDifference
      ? {
          id: 'scale',
          status: 'pass',
          detail: `The difference is ${size} times the gradient that a plain mean cross-entropy gives: a learning rate, with what else scales a step.`,
        }
      : {
          id: 'scale',
          status: 'warn',
          detail: `The gradient is ${size} times what a plain mean cross-entropy gives: clipped, or a factor in the loss${silent}.`,
        },
  ];
}

/** A batch gets this long unless the request says otherwise. */
const BATCH_SECONDS = 120;

async function recoverSeveral(
  request: AuditRequest,
  hooks: AuditHooks,
  head: HeadGradient,
  { isDifference }: UpdateFacts,
): Promise<RecoveredHead> {
  const progress = (message: string, share: number): void => {
    hooks.progress({ stage: 'recover', message, fraction: fractionAt('recover', share) });
  };
  let lastPause = 0;
  const whitened = await whiten(head, async (rank) => {
    if (performance.now() - lastPause > 30) {
      const message = `Estimating the batch size: at least ${rank} samples`;
      progress(message, (0.2 * rank) / (rank + 64));
      await hooks.pause();
      lastPause = performance.now();
    }
  });
  progress('Counting labels', 0.2);
  const estimate = await estimateBatch(head, whitened, () => hooks.pause());
  const size = request.batchSize ?? estimate.size;
  const counts = await countLabels(head, size ?? estimate.lowerBound, () => hooks.pause());
  const recovery = await recoverBatch(whitened, {
    size: request.batchSize,
    counts: estimate.counts ?? wholeCounts(counts),
    timeLimitMs: 1000 * (request.batchTimeLimitSeconds ?? BATCH_SECONDS),
    pause: async ({ found, rank }) => {
      const message = `Recovering samples one by one: ${found} found, ${rank} directions in all`;
      progress(message, 0.2 + (0.8 * found) / (found + rank));
      await hooks.pause();
    },
  });
  const written = request.out !== undefined;
  return {
    ...NOTHING,
    samples: recovery.samples.map((sample, row) => describeBatchSample(sample, row, written)),
    features: recovery.samples.map(({ feature }) => feature),
    several: recovery.samples,
    complete: recovery.complete,
    noise: whitened.noise,
    batch: describeBatch(estimate, whitened, recovery, request.batchSize, isDifference),
    labelCounts:
      isDifference && !recovery.complete ? null : describeCounts(counts, recovery, estimate, head, whitened.noise > 0),
    checks: [explainedCheck(recovery, whitened)],
    unassessed: unassessedBatch(head, whitened, recovery, isDifference),
    cancelled: recovery.ended === 'stopped' ? 'during' : undefined,
  };
}

/** A few labels among many classes make the sum of cubes a fair share of the cubed norm. */
const REVERSED_SKEW = 0.1;
const ONE = Float64Array.of(1);

function unassessedBatch(
  { biasGradient }: HeadGradient,
  { svd, classes }: WhitenedHead,
  { complete, samples }: BatchRecovery,
  isDifference: boolean,
): string | undefined {
  if (isDifference && !complete) {
    return BEYOND_ONE_STEP;
  }
  // With few samples p - y is small and positive for most classes, large and negative for the few that are labels.
  const skew = (biasGradient?.reduce((sum, value) => sum + value ** 3, 0) ?? 0) / norm(biasGradient ?? ONE) ** 3;
  return samples.length === 0 && 2 * svd.rank <= classes && skew > REVERSED_SKEW
    ? 'The signs of this gradient are those of a weight difference (after minus before), of a negated gradient, or of predictions surer than their smoothed labels, and no sample could be told from it. If it is not the gradient itself, give that.'
    : undefined;
}

/** Counts that the estimators agree on for every class; groups made of them are checked against the gradient. */
function wholeCounts({ agreed }: LabelCounts): number[] | undefined {
  const known = agreed.flatMap((count) => (count === null ? [] : [count]));
  return known.length === agreed.length ? known : undefined;
}

function describeBatch(
  estimate: BatchEstimate,
  whitened: WhitenedHead,
  recovery: BatchRecovery,
  given: number | undefined,
  isDifference: boolean,
): BatchDescription {
  const found = recovery.samples.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
  const fromWeights = Math.round(1 / recovery.coefficient);
  const isBlurred = recovery.samples.some(({ featureError }) => featureError > MOST_FEATURE_ERROR);
  const isMean =
    found > 0 &&
    !isBlurred &&
    // A difference's samples weigh the learning rate over the batch size, and neither is known alone.
    !isDifference &&
    Math.abs(fromWeights * recovery.coefficient - 1) < MEAN_TOLERANCE &&
    fromWeights >= Math.max(found, estimate.lowerBound);
  const common = {
    lowerBound: Math.max(estimate.lowerBound, found),
    found,
    explained: Math.max(0, 1 - recovery.unexplained),
    ...(recovery.ended === 'time' ? { endedEarly: true as const } : {}),
  };
  if (isMean && (recovery.complete || fromWeights > 1)) {
    const hidden = fromWeights - found;
    const rest =
      hidden === 0
        ? `all of them were found.${alike(recovery, whitened.noise > 0)}`
        : `${found} were found; ${hidden} left too little in the gradient, or could not be told from others.`;
    const evidence = `Each sample found has a share of 1/${fromWeights} in the mean, so the batch is of ${counted(fromWeights, 'sample')}; ${rest}`;
    return { ...common, size: fromWeights, evidence };
  }
  if (recovery.complete && !isBlurred) {
    return {
      ...common,
      size: found,
      evidence: `${counted(found, 'sample')} explain the gradient to within its noise, each with the weight ${recovery.coefficient.toPrecision(4)}.`,
    };
  }
  const limit = mostSamples(whitened.classes);
  const reason =
    found === 0 && estimate.lowerBound > limit
      ? ` With ${whitened.classes} classes, the head tells batches of up to ${limit} apart, sample by sample; what it tells of larger ones is how often classes occur.`
      : '';
  return {
    ...common,
    size: given ?? (isSizeTold(estimate, whitened) ? (estimate.size ?? null) : null),
    evidence: given === undefined ? estimate.reason + reason : `${counted(given, 'sample')}, as stated.${reason}`,
  };
}

/** How far the common weight may be from one over a whole number. */
const MEAN_TOLERANCE = 0.01;

/** Between the last singular value of the samples and the first of rounding; half precision leaves less, and hides some. */
const CLEAR_GAP = 10;

/** Counts that fit by chance tell no size, and noise leaves no gap below the last singular value of the samples. */
function isSizeTold({ counts, chance }: BatchEstimate, { noise, svd }: WhitenedHead): boolean {
  const isClear = (svd.values.at(-1) ?? 0) > CLEAR_GAP * svd.next;
  return counts === undefined ? noise === 0 && isClear : chance <= MOST_CHANCE;
}

/** Under noise, samples known worse than this explain a gradient that others would explain as well. */
const MOST_NOISY_ERROR = 2e-3;

/** Quantised numbers repeat, and shares made of steps are whole numbers of something whatever the labels are. */
function isCoarse(values: Float64Array | undefined): boolean {
  return values !== undefined && new Set(values).size < 0.7 * values.length;
}

/** Shares this near to whole numbers are no accident. */
const MOST_CHANCE = 1e-4;

function describeCounts(
  counts: LabelCounts,
  recovery: BatchRecovery,
  estimate: BatchEstimate,
  { weight: { rows: classes }, biasGradient }: HeadGradient,
  isNoisy: boolean,
): LabelCountReport {
  const estimators = counts.estimators.map((estimate) => ({ ...estimate, counts: [...estimate.counts] }));
  const isTold = recovery.samples.every(
    ({ label, featureError }) =>
      (label.kind === 'hard' || label.kind === 'smoothed') &&
      featureError <= (isNoisy ? MOST_NOISY_ERROR : MOST_FEATURE_ERROR),
  );
  if (!recovery.complete || !isTold) {
    const balanced = estimate.chance <= MOST_CHANCE && !isCoarse(biasGradient) ? estimate.counts : undefined;
    return {
      estimators,
      agreed: [...(balanced ?? counts.agreed)],
      confirmedBy: balanced
        ? "The bias gradient balances: every class's share of it is a whole number of labels, which chance would hardly do."
        : null,
    };
  }
  const exact = new Array<number>(classes).fill(0);
  for (const { label, multiplicity } of recovery.samples) {
    const top = label.classes[0]?.index ?? 0;
    exact[top] = (exact[top] ?? 0) + multiplicity;
  }
  const assumption = 'nothing: every sample was recovered, and together they explain the gradient';
  return {
    estimators: [...estimators, { name: 'samples', assumption, counts: exact, multiplicity: true }],
    agreed: exact,
    confirmedBy: `Every sample was found one by one, and together they explain the gradient.${alike(recovery, isNoisy)}`,
  };
}

/** Equal shares of a mean are one sample each or several each, and noise hides what parts samples of like features. */
function alike({ samples }: BatchRecovery, isNoisy: boolean): string {
  const worst = samples.reduce((most, { featureError }) => Math.max(most, featureError), 0);
  return isNoisy
    ? ` Samples of one class whose features differ by less than about ${(100 * worst).toPrecision(1)} % would count as one under this noise.`
    : '';
}

function explainedCheck(
  { samples, unexplained, complete, ended }: BatchRecovery,
  head: WhitenedHead,
): ConsistencyCheck {
  const left = unexplained < 1e-3 ? unexplained.toExponential(0) : `${(100 * unexplained).toPrecision(2)} %`;
  const noise = head.noise > 0 ? ', added noise included' : '';
  if (complete) {
    return {
      id: 'batch-explained',
      status: 'pass',
      detail: `The samples explain the head's gradient; ${left} of its norm is left${noise}.`,
    };
  }
  const why = {
    complete: '',
    exhausted: 'further samples could not be told from it',
    time: 'the time for it was up',
    stopped: 'the audit was stopped',
  }[ended];
  return {
    id: 'batch-explained',
    status: 'warn',
    detail:
      samples.length === 0
        ? `The head tells no single sample from the others${ended === 'exhausted' ? '' : `: ${why}`}.`
        : `The samples found leave ${left} of the head's gradient unexplained${noise}: ${why}.`,
  };
}
