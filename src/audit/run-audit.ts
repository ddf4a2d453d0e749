import { performance } from 'node:perf_hooks';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import { AUDIT_STAGES, type AuditProgress, type AuditRequest, type AuditStage } from '../protocol/audit-request.js';
import type {
  BatchDescription,
  ConsistencyCheck,
  FeatureStatistics,
  LabelCountReport,
  LandscapeReport,
  Report,
  SampleReport,
  Verdict,
} from '../protocol/report.js';
import { openTensorFile } from '../formats/open.js';
import type { Dtype, TensorFile } from '../formats/tensor-file.js';
import { estimateBatch } from '../recovery/batch-size.js';
import {
  type GradientShape,
  type HeadGradient,
  effectiveRoundoff,
  shapeOfGradient,
} from '../recovery/head-gradient.js';
import { countLabels } from '../recovery/label-counts.js';
import { landscapeOf } from '../recovery/landscape.js';
import { recoverLikePaper } from '../recovery/paper-method.js';
import { type HeadFactors, factorsOf } from '../recovery/head-factors.js';
import { type RecoveredSample, recoverFromFactors } from '../recovery/single-sample.js';
import * as consistency from './consistency.js';
import { findingsOf } from './findings.js';
import { type HeadTensors, findHead, toMatrix } from './head.js';
import { findClassNames, refuseSameFile, sameFile } from './inputs.js';
import { matchTensors } from './matching.js';
import { type NoiseSweep, sweepNoise } from './noise-sweep.js';
import { FEATURES_FILE, prepareFolder, writeResults } from './output.js';
import { type Rebuilt, nothingRebuilt, rebuildInput } from './reconstruction/stage.js';
import { addImageTruth, compareWithTruth, readTruth } from './truth.js';
import { TOOL_VERSION } from './version.js';

/** The pipeline: files in, report out. Formats know nothing of attacks, recovery nothing of files; both meet here. */

export interface AuditHooks {
  progress(progress: AuditProgress): void;
  /** Lets other work run; throws CancelledError once the user has asked to stop. */
  pause(): Promise<void>;
}

export interface AuditResult {
  readonly report: Report;
  /** One row per sample, d numbers each. */
  readonly features: readonly Float64Array[];
  /** Reconstructed inputs, flat. */
  readonly inputs?: readonly Float64Array[];
}

/**
 * Audits one captured gradient.
 *
 * @returns a report that says `cancelled` when the user stopped it after the checks were done
 * @throws UnusableInputError when the input cannot be used; CancelledError when stopped before the checks were done
 */
export async function runAudit(request: AuditRequest, hooks: AuditHooks): Promise<AuditResult> {
  const started = performance.now();
  refuseSameFile(request);
  prepareFolder(request);
  const files: TensorFile[] = [];
  try {
    await step(hooks, 'open', 'Opening the files');
    const checkpoint = openTensorFile(request.checkpoint);
    files.push(checkpoint);
    const gradients = openTensorFile(request.gradients);
    files.push(gradients);
    return await auditFiles(request, hooks, checkpoint, gradients, started);
  } finally {
    for (const file of files) {
      file.close();
    }
  }
}

async function step(hooks: AuditHooks, stage: AuditStage, message: string): Promise<void> {
  hooks.progress({ stage, message, fraction: AUDIT_STAGES.indexOf(stage) / AUDIT_STAGES.length });
  await hooks.pause();
}

async function auditFiles(
  request: AuditRequest,
  hooks: AuditHooks,
  checkpoint: TensorFile,
  gradients: TensorFile,
  started: number,
): Promise<AuditResult> {
  await step(hooks, 'match', 'Matching gradients to parameters');
  const matching = matchTensors(checkpoint, gradients);
  const tensors = findHead(matching, checkpoint, gradients, request);
  await step(hooks, 'read', `Reading the head ${tensors.weight.parameter.name}`);
  const head = readHead(tensors, checkpoint, gradients);
  const readMs = performance.now() - started;

  await step(hooks, 'check', 'Checking that the files belong together');
  const shape = shapeOfGradient(head.gradient);
  const headNames = new Set([tensors.weight.gradient.name, tensors.biasGradient?.name ?? '']);
  const checks: ConsistencyCheck[] = [
    consistency.checkFileSafety([checkpoint, gradients]),
    consistency.checkMatching(matching, gradients),
    ...consistency.checkValues(matching, gradients, headNames),
    consistency.checkPrecision(head.gradient, head.storedRoundoff),
  ];

  await step(hooks, 'recover', 'Recovering labels and features');
  const recoverStarted = performance.now();
  const recovered = await recover(request, hooks, head.gradient, shape).catch(keepOnCancel);
  const recoverMs = performance.now() - recoverStarted;
  checks.push(
    ...consistency.checkSums(head.gradient, shape, recovered.factors?.biasMisfit ?? 0),
    consistency.checkRank(shape),
    ...recovered.checks,
  );

  const cancelled = recovered === CANCELLED;
  if (!cancelled) {
    await step(hooks, 'describe', 'Describing what was found');
  }
  const samples = recovered.samples.map((sample, row) =>
    describeSample(sample, row, head.gradient, recovered.factors, request.out !== undefined),
  );
  const features = recovered.samples.map(({ feature }) => feature);
  const truth = request.truth === undefined ? undefined : readTruth(request.truth);
  const classNames = findClassNames(request, tensors.classes);
  const className = (index: number): string => classNames?.[index] ?? `class ${index}`;
  const [first] = recovered.samples;
  const sweep: NoiseSweep | undefined =
    first?.status === 'recovered' && shape.nature === 'single' ? sweepNoise(head.gradient, first) : undefined;
  const assemble = (stoppedEarly: boolean, rebuilt?: Rebuilt, reconstructMs = 0): Report => ({
    schemaVersion: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    verdict: verdictOf(recovered, samples, tensors, className, shape),
    ...(stoppedEarly ? { cancelled: true as const } : {}),
    inputs: { checkpoint: describeFile(checkpoint), gradients: describeFile(gradients) },
    head: {
      weight: tensors.weight.parameter.name,
      bias: tensors.bias?.name ?? null,
      classes: tensors.classes,
      features: tensors.features,
      layout: tensors.layout,
      biasGradient: tensors.biasGradient !== undefined,
      activation: first?.activation ?? 'softmax',
    },
    consistency: checks,
    batch: recovered.batch,
    samples,
    labelCounts: recovered.labelCounts,
    ...(classNames ? { classNames } : {}),
    findings: findingsOf({
      files: [checkpoint, gradients],
      samples,
      labelCounts: recovered.labelCounts,
      batchSize: recovered.batch.size,
      className,
      sweep,
      hidden: shape.nature === 'hidden',
    }),
    ...(rebuilt === undefined ? {} : { network: rebuilt.reconstruction?.network ?? null }),
    ...(rebuilt?.reconstruction?.engine ? { engine: rebuilt.reconstruction.engine } : {}),
    timings: {
      readMs,
      recoverMs,
      ...(rebuilt === undefined ? {} : { reconstructMs }),
      totalMs: performance.now() - started,
    },
    ...(truth === undefined ? {} : { truth: compareWithTruth(truth, samples, features, recovered.labelCounts) }),
  });
  const [description] = samples;
  if (request.out !== undefined && request.reconstruction && description) {
    // Reconstruction takes long and may take the process along; until then labels and features are safe.
    description.reconstruction = nothingRebuilt('The audit ended before the input was found.');
    writeResults(request.out, assemble(true), features, undefined);
    delete description.reconstruction;
  }
  const reconstructStarted = performance.now();
  const rebuilt = cancelled
    ? undefined
    : await rebuildInput(
        request.reconstruction,
        (progress) => {
          hooks.progress(progress);
        },
        () => hooks.pause(),
        {
          checkpoint,
          gradients,
          matching,
          headWeight: tensors.weight.parameter.name,
          head: head.gradient,
          shape,
          factors: recovered.factors,
          sample: first,
          truth,
        },
      );
  const reconstructMs = performance.now() - reconstructStarted;
  if (rebuilt?.reconstruction && description) {
    description.reconstruction = rebuilt.reconstruction.report;
    await addImageTruth(rebuilt.reconstruction, truth, request.reconstruction?.lpips);
  } else if (rebuilt?.problem !== undefined && description) {
    description.reconstruction = nothingRebuilt(rebuilt.problem);
  }
  const stoppedEarly = cancelled || rebuilt?.reconstruction?.stopped === true || rebuilt?.cancelled === true;
  const report = assemble(stoppedEarly, rebuilt, reconstructMs);
  if (request.out !== undefined) {
    writeResults(
      request.out,
      report,
      features,
      rebuilt?.reconstruction && {
        reconstruction: rebuilt.reconstruction,
        truth: truth?.image,
      },
    );
  }
  const input = rebuilt?.reconstruction?.input;
  return { report, features, ...(input ? { inputs: [input] } : {}) };
}

interface ReadHead {
  readonly gradient: HeadGradient;
  /** Unit roundoff of the type that the gradient is stored in. */
  readonly storedRoundoff: number;
}

const ROUNDOFF: Partial<Record<Dtype, number>> = {
  float64: 2 ** -53,
  float32: 2 ** -24,
  float16: 2 ** -11,
  bfloat16: 2 ** -8,
  float8_e4m3fn: 2 ** -4,
  float8_e5m2: 2 ** -3,
};

function readHead(tensors: HeadTensors, checkpoint: TensorFile, gradients: TensorFile): ReadHead {
  const { weight, bias, biasGradient, layout } = tensors;
  const weightData = checkpoint.read(weight.parameter.name).data;
  const gradientData = gradients.read(weight.gradient.name).data;
  consistency.requireUsable(gradients.path, weight.gradient.name, gradientData);
  if (!weightData.every(Number.isFinite)) {
    consistency.requireUsable(checkpoint.path, weight.parameter.name, weightData);
  }
  if (weightData.every((value, index) => value === gradientData[index])) {
    throw sameFile(gradients.path);
  }
  const biasGradientData = biasGradient && gradients.read(biasGradient.name).data;
  if (biasGradient && biasGradientData && !biasGradientData.every(Number.isFinite)) {
    consistency.requireUsable(gradients.path, biasGradient.name, biasGradientData);
  }
  const storedRoundoff = ROUNDOFF[weight.gradient.dtype] ?? 2 ** -24;
  return {
    storedRoundoff,
    gradient: {
      weight: toMatrix(weight.parameter, weightData, layout),
      bias: bias && checkpoint.read(bias.name).data,
      weightGradient: toMatrix(weight.gradient, gradientData, layout),
      biasGradient: biasGradientData,
      roundoff: effectiveRoundoff(gradientData, storedRoundoff),
      underflow: weight.gradient.dtype === 'float16' ? 2 ** -24 : 0,
    },
  };
}

interface Recovered {
  readonly samples: readonly RecoveredSample[];
  readonly factors: HeadFactors | undefined;
  readonly batch: BatchDescription;
  readonly labelCounts: LabelCountReport | null;
  readonly checks: readonly ConsistencyCheck[];
}

/** Stopping during the recovery keeps what the checks have found. */
const CANCELLED: Recovered = {
  samples: [],
  factors: undefined,
  batch: { size: null, lowerBound: 1, evidence: 'The audit was stopped before this was known.' },
  labelCounts: null,
  checks: [],
};

function keepOnCancel(error: unknown): Recovered {
  if (error instanceof CancelledError) {
    return CANCELLED;
  }
  throw error;
}

async function recover(
  request: AuditRequest,
  hooks: AuditHooks,
  head: HeadGradient,
  shape: GradientShape,
): Promise<Recovered> {
  if (shape.nature === 'batch') {
    return recoverBatch(hooks, head, shape);
  }
  const factors = factorsOf(head, shape);
  const sample =
    request.method === 'paper'
      ? await recoverLikePaper(head, factors, shape.nature !== 'single', () => hooks.pause())
      : recoverFromFactors(factors, shape);
  return {
    samples: [sample],
    factors,
    batch: describeSingle(shape),
    labelCounts: null,
    checks: [fitCheck(sample, shape.nature !== 'single'), ...scaleCheck(sample)],
  };
}

/** Above this share of noise, other samples could hide behind it. */
const CLEAR_OF_NOISE = 0.5;

function describeSingle(shape: GradientShape): BatchDescription {
  const evidence = {
    single: 'The head gradient is of rank one down to the rounding of its numbers.',
    'single-noisy': 'The head gradient is of rank one plus noise that is independent from entry to entry.',
    hidden: 'The noise hides how many samples there are.',
    batch: '',
  }[shape.nature];
  const clear = shape.rankOne.residual < CLEAR_OF_NOISE * shape.rankOne.total;
  return { size: clear ? 1 : null, lowerBound: 1, evidence };
}

function fitCheck(sample: RecoveredSample, noisy: boolean): ConsistencyCheck {
  const status = sample.status === 'recovered' ? 'pass' : sample.status === 'ambiguous' || noisy ? 'warn' : 'fail';
  return { id: 'label-fits', status, detail: sample.reason };
}

function scaleCheck({ scale }: RecoveredSample): ConsistencyCheck[] {
  return scale === 1
    ? []
    : [
        {
          id: 'scale',
          status: 'warn',
          detail: `The gradient is ${scale.toPrecision(4)} times what a plain mean cross-entropy gives: clipped, or a factor in the loss.`,
        },
      ];
}

async function recoverBatch(hooks: AuditHooks, head: HeadGradient, shape: GradientShape): Promise<Recovered> {
  const start = AUDIT_STAGES.indexOf('recover') / AUDIT_STAGES.length;
  const batch = await estimateBatch(head, shape, async (pivots) => {
    if (pivots % 8 === 0) {
      const fraction = start + (0.1 * pivots) / (pivots + 64);
      hooks.progress({ stage: 'recover', message: `Estimating the batch size: at least ${pivots} samples`, fraction });
      await hooks.pause();
    }
  });
  hooks.progress({ stage: 'recover', message: 'Counting labels', fraction: start + 0.11 });
  const size = batch.size ?? batch.lowerBound;
  const labelCounts = await countLabels(head, size, () => hooks.pause());
  return {
    samples: [],
    factors: undefined,
    batch: { size: batch.size ?? null, lowerBound: batch.lowerBound, evidence: batch.reason },
    labelCounts: {
      estimators: labelCounts.estimators.map((estimate) => ({ ...estimate, counts: [...estimate.counts] })),
      agreed: [...labelCounts.agreed],
    },
    checks: [],
  };
}

function describeFile(file: TensorFile): Report['inputs']['checkpoint'] {
  return { path: file.path, format: file.format, tensors: file.entries.length };
}

function describeSample(
  sample: RecoveredSample,
  row: number,
  head: HeadGradient,
  factors: HeadFactors | undefined,
  written: boolean,
): SampleReport {
  return {
    label: {
      probabilities: [...sample.label.probabilities],
      kind: sample.label.kind,
      smoothing: sample.label.smoothing,
      classes: sample.label.classes.map(({ index, weight }) => ({ index, weight })),
    },
    feature: { file: written ? FEATURES_FILE : null, row },
    featureStatistics: statisticsOf(sample.feature),
    scalar: sample.lambda,
    residual: sample.residual,
    residualFloor: sample.residualFloor,
    confidence: sample.confidence,
    method: sample.method,
    status: sample.status,
    reason: sample.reason,
    gradientScale: sample.scale,
    landscape: factors ? describeLandscape(head, sample, factors) : null,
  };
}

function describeLandscape(head: HeadGradient, sample: RecoveredSample, factors: HeadFactors): LandscapeReport | null {
  const landscape = landscapeOf(head, sample, factors.row);
  return landscape ? { ...landscape, solution: sample.lambda } : null;
}

const PREVIEW_LENGTH = 512;

function statisticsOf(feature: Float64Array): FeatureStatistics {
  let min = Infinity;
  let max = -Infinity;
  let sum = 0;
  let squares = 0;
  for (const value of feature) {
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
    squares += value * value;
  }
  const nearZero = 1e-6 * Math.max(Math.abs(min), Math.abs(max));
  const bins = Math.min(PREVIEW_LENGTH, feature.length);
  const preview = Array.from({ length: bins }, (_, bin) => {
    const from = Math.floor((bin * feature.length) / bins);
    const to = Math.floor(((bin + 1) * feature.length) / bins);
    const part = feature.subarray(from, to);
    return part.reduce((total, value) => total + value, 0) / part.length;
  });
  return {
    length: feature.length,
    min,
    max,
    mean: sum / feature.length,
    norm: Math.sqrt(squares),
    zeroShare: feature.filter((value) => Math.abs(value) <= nearZero).length / feature.length,
    preview,
  };
}

function verdictOf(
  recovered: Recovered,
  samples: readonly SampleReport[],
  tensors: HeadTensors,
  className: (index: number) => string,
  shape: GradientShape,
): Verdict {
  const [sample] = samples;
  if (recovered === CANCELLED) {
    return {
      outcome: 'none',
      sentence: 'The audit was stopped before labels were recovered; the checks of the files are complete.',
    };
  }
  if (!sample) {
    const { agreed = [], estimators = [] } = recovered.labelCounts ?? {};
    const known = agreed.filter((count) => count !== null && count > 0).length;
    const size = recovered.batch.size ?? `at least ${recovered.batch.lowerBound}`;
    return {
      outcome: 'counts',
      sentence: `This gradient is of a batch of ${size} samples; how often each class occurs can be told for ${agreed.filter((count) => count !== null).length} of ${tensors.classes} classes (${known} occur), on which most of ${estimators.length} estimators agree.`,
    };
  }
  if (sample.status === 'not-identifiable') {
    // Noise that hides a label is a defence that worked, not a pair of files that do not fit.
    return { outcome: shape.nature === 'single' ? 'mismatch' : 'none', sentence: sample.reason };
  }
  const names = sample.label.classes
    .slice(0, 3)
    .map(({ index, weight }) =>
      sample.label.classes.length > 1 && weight < 1
        ? `${className(index)} (${(100 * weight).toFixed(1)} %)`
        : className(index),
    );
  const smoothing =
    sample.label.smoothing > 0 ? `, smoothed with epsilon = ${sample.label.smoothing.toPrecision(4)}` : '';
  const what = names.length > 0 ? names.join(' + ') : 'a dense soft label';
  return {
    outcome: 'leaks',
    sentence:
      sample.status === 'recovered'
        ? `This gradient gives away its one sample: ${sample.reconstruction?.verdict === 'exact' ? 'the input itself was computed, ' : ''}the label is ${what}${smoothing}, and all ${tensors.features} numbers of its last-layer feature are known.`
        : `This gradient narrows its one sample down: most likely the label is ${what}${smoothing}, but this is not certain.`,
  };
}

/** The error for a gradient that was captured from other weights; the report that goes with it is complete. */
export function mismatchError(report: Report): UnusableInputError | undefined {
  if (report.verdict.outcome !== 'mismatch') {
    return undefined;
  }
  return new UnusableInputError({
    code: 'other-checkpoint',
    file: report.inputs.gradients.path,
    found: `a gradient that does not fit ${report.inputs.checkpoint.path}`,
    expected: 'the gradient of a sample under this checkpoint',
    advice: report.verdict.sentence,
  });
}
