import { performance } from 'node:perf_hooks';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { AUDIT_STAGES, type AuditRequest, type AuditStage } from '../protocol/audit-request.js';
import type { ConsistencyCheck, EmbeddingReport, Report, TruthComparison, UpdateReport } from '../protocol/report.js';
import { readCapture } from './capture.js';
import { methodsOf } from './methods-report.js';
import { openTensorFile } from '../formats/open.js';
import { refuseOptimiserState, settleKind } from '../kinds/update-kind.js';
import type { Dtype, TensorFile } from '../formats/tensor-file.js';
import { type HeadGradient, effectiveRoundoff, shapeOfGradient } from '../recovery/head-gradient.js';
import * as consistency from './consistency.js';
import { findingsOf } from './findings.js';
import { type HeadTensors, findHead, toMatrix } from './head.js';
import type { AuditHooks } from './hooks.js';
import { findEmbeddings } from './embeddings.js';
import { type FoundImprint, readImprints } from './imprint.js';
import { findClassNames, refuseSameFile, sameFile } from './inputs.js';
import { type Matching, matchTensors } from './matching.js';
import { type NoiseSweep, sweepNoise } from './noise-sweep.js';
import { describeFile, notAssessed, notAttacked } from './not-assessed.js';
import { type ImageResults, prepareFolder, writeResults } from './output.js';
import { type Rebuilt, nothingRebuilt, rebuildInput } from './reconstruction/stage.js';
import { recoverHead } from './recover-head.js';
import { addImageTruth, compareWithTruth, readTruth, trueImage } from './truth.js';
import { besideHead, verdictOf } from './verdict.js';
import { TOOL_VERSION } from './version.js';

/** The pipeline: files in, report out. Formats know nothing of attacks, recovery nothing of files; both meet here. */

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
  refuseOptimiserState(gradients);
  const matching = matchTensors(checkpoint, gradients);
  const update = withCapture(settleKind(checkpoint, gradients, matching.pairs).update, request.gradients);
  const beyond = notAttacked(update);
  if (beyond) {
    return notAssessed(request, { checkpoint, gradients }, matching, update, beyond, [], started);
  }
  const imprints = readImprints(checkpoint, gradients, matching);
  const search = findHeadOrNone(matching, checkpoint, gradients, request, imprints);
  if ('why' in search) {
    return reportWithoutHead(request, { checkpoint, gradients, matching, update, imprints, ...search }, started);
  }
  const { tensors, headChecks } = search;
  const embeddings = findEmbeddings(matching, gradients, request, tensors.weight.parameter.name);
  await step(hooks, 'read', `Reading the head ${tensors.weight.parameter.name}`);
  const head = readHead(tensors, checkpoint, gradients, update);
  const readMs = performance.now() - started;

  await step(hooks, 'check', 'Checking that the files belong together');
  const shape = shapeOfGradient(head.gradient);
  const headNames = new Set([tensors.weight.gradient.name, tensors.biasGradient?.name ?? '']);
  const checks: ConsistencyCheck[] = [
    consistency.checkFileSafety([checkpoint, gradients]),
    consistency.checkMatching(matching, gradients),
    ...headChecks,
    ...consistency.checkValues(matching, gradients, headNames),
    consistency.checkPrecision(head.gradient, head.storedRoundoff),
  ];

  await step(hooks, 'recover', 'Recovering labels and features');
  const recoverStarted = performance.now();
  const isDifference = update.kind === 'difference';
  const recovered = await recoverHead(request, hooks, head.gradient, shape, { isDifference });
  const recoverMs = performance.now() - recoverStarted;
  checks.push(
    ...consistency.checkSums(head.gradient, shape, recovered.factors?.biasMisfit ?? 0),
    consistency.checkRank(shape),
    ...recovered.checks,
  );

  const cancelled = recovered.cancelled !== undefined;
  if (!cancelled) {
    await step(hooks, 'describe', 'Describing what was found');
  }
  if (recovered.unassessed !== undefined && !cancelled) {
    // What was found is not relied on, so none of it is shown.
    const files = { checkpoint, gradients };
    return notAssessed(request, files, matching, update, recovered.unassessed, checks.slice(2), started);
  }
  if (shape.nature === 'hidden' && update.kind === 'unknown') {
    const sentence = hiddenSentence(shape.noise);
    return notAssessed(request, { checkpoint, gradients }, matching, update, sentence, checks.slice(2), started);
  }
  const samples = [...recovered.samples];
  const { features, single } = recovered;
  // Only with `--labels true` does the truth take part, and then the result says so; otherwise it is read when all is done.
  const usesTruth = request.reconstruction?.settings?.labels === 'true';
  const given = usesTruth && request.truth !== undefined ? readTruth(request.truth) : undefined;
  const classNames = findClassNames(request, tensors.classes);
  const className = (index: number): string => classNames?.[index] ?? `class ${index}`;
  const sweep: NoiseSweep | undefined =
    single?.status === 'recovered' && shape.nature === 'single' ? sweepNoise(head.gradient, single) : undefined;
  const assemble = (
    stoppedEarly: boolean,
    rebuilt?: Rebuilt,
    reconstructMs = 0,
    comparison?: TruthComparison,
  ): Report => ({
    schemaVersion: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    verdict: verdictOf(recovered, samples, tensors, className, shape),
    ...(stoppedEarly ? { cancelled: true as const } : {}),
    inputs: { checkpoint: describeFile(checkpoint), gradients: describeFile(gradients) },
    update,
    head: {
      weight: tensors.weight.parameter.name,
      bias: tensors.bias?.name ?? null,
      classes: tensors.classes,
      features: tensors.features,
      layout: tensors.layout,
      biasGradient: tensors.biasGradient !== undefined,
      activation: single?.activation ?? 'softmax',
    },
    consistency: checks,
    methods: methodsOf({ recovered, samples, shape, embeddings, imprints, reconstruction: request.reconstruction }),
    batch: recovered.batch,
    samples,
    labelCounts: recovered.labelCounts,
    ...(classNames ? { classNames } : {}),
    findings: findingsOf({
      files: [checkpoint, gradients],
      samples,
      labelCounts: recovered.labelCounts,
      batchSize: recovered.batch.size,
      classes: tensors.classes,
      className,
      sweep,
      embeddings,
      imprints: imprints.map(({ report }) => report),
      hidden: shape.nature === 'hidden',
    }),
    ...(embeddings.length > 0 ? { embeddings } : {}),
    ...(imprints.length > 0 ? { imprints: imprints.map(({ report }) => report) } : {}),
    ...(rebuilt === undefined ? {} : { network: rebuilt.reconstructions[0]?.network ?? null }),
    ...(rebuilt?.reconstructions[0]?.engine ? { engine: rebuilt.reconstructions[0].engine } : {}),
    timings: {
      readMs,
      recoverMs,
      ...(rebuilt === undefined ? {} : { reconstructMs }),
      totalMs: performance.now() - started,
    },
    ...(comparison === undefined ? {} : { truth: comparison }),
  });
  if (request.out !== undefined && request.reconstruction && samples.length > 0) {
    // Reconstruction takes long and may take the process along; until then labels and features are safe.
    for (const sample of samples) {
      sample.reconstruction = nothingRebuilt('The audit ended before the input was found.');
    }
    writeResults(request.out, assemble(true), features, [], imprints);
    for (const sample of samples) {
      delete sample.reconstruction;
    }
  }
  const reconstructStarted = performance.now();
  if (isDifference) {
    for (const sample of samples) {
      sample.reconstruction = nothingRebuilt(
        'Inputs are not reconstructed from differences of weights yet; labels and features are.',
      );
    }
  }
  const rebuilt =
    cancelled || isDifference
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
            sample: single,
            samples: recovered.complete ? recovered.several : [],
            noise: recovered.noise,
            truth: given,
          },
        );
  const reconstructMs = performance.now() - reconstructStarted;
  const truth = request.truth === undefined ? undefined : (given ?? readTruth(request.truth));
  const comparison = truth && compareWithTruth(truth, samples, features, recovered.labelCounts);
  const images: ImageResults[] = [];
  for (const [index, sample] of samples.entries()) {
    const own = rebuilt?.reconstructions[index];
    if (own) {
      if (usesTruth && own.report.method === 'matching') {
        own.report.usedTruth = true;
      }
      sample.reconstruction = own.report;
      const image = truth && trueImage(truth, comparison?.samples[index]?.truthRow ?? index);
      await addImageTruth(own, image, request.reconstruction?.lpips);
      images.push({ sample: index, reconstruction: own, truth: image });
    } else if (rebuilt?.problem !== undefined) {
      sample.reconstruction = nothingRebuilt(rebuilt.problem);
    }
  }
  const stoppedEarly = cancelled || rebuilt?.reconstructions[0]?.stopped === true || rebuilt?.cancelled === true;
  const report = assemble(stoppedEarly, rebuilt, reconstructMs, comparison);
  if (request.out !== undefined) {
    writeResults(request.out, report, features, images, imprints);
  }
  const inputs = images.flatMap(({ reconstruction }) => (reconstruction.input ? [reconstruction.input] : []));
  return { report, features, ...(inputs.length > 0 ? { inputs } : {}) };
}

/**
 * The head; without one, why, and what the embeddings give away all the same.
 *
 * @throws UnusableInputError for a head that the user named and that is not there, and for several or unusable heads unless
 *   other parts leak
 */
function findHeadOrNone(
  matching: Matching,
  checkpoint: TensorFile,
  gradients: TensorFile,
  request: AuditRequest,
  imprints: readonly FoundImprint[],
): { tensors: HeadTensors; headChecks: ConsistencyCheck[] } | Headless {
  try {
    const { found, notes, doubtful } = findHead(matching, checkpoint, gradients, request);
    const headChecks: ConsistencyCheck[] =
      notes.length > 0 ? [{ id: 'head-hint', status: doubtful ? 'warn' : 'pass', detail: notes.join(' ') }] : [];
    if (!('why' in found)) {
      return { tensors: found, headChecks };
    }
    const embeddings = findEmbeddings(matching, gradients, request, found.tied);
    return { embeddings, why: found.why, headChecks };
  } catch (error) {
    const embeddings =
      error instanceof UnusableInputError && request.head === undefined
        ? findEmbeddings(matching, gradients, request, undefined)
        : [];
    if (embeddings.length + imprints.length === 0) {
      throw error;
    }
    return { embeddings, why: messageOf(error), headChecks: [] };
  }
}

interface Headless {
  readonly embeddings: readonly EmbeddingReport[];
  readonly why: string;
  readonly headChecks: readonly ConsistencyCheck[];
}

interface HeadlessFacts extends Headless {
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
  readonly matching: Matching;
  readonly update: UpdateReport;
  readonly imprints: readonly FoundImprint[];
}

/** Embeddings and traps leak without a head; where neither does, no method could judge the file. */
function reportWithoutHead(
  request: AuditRequest,
  { checkpoint, gradients, matching, update, imprints, embeddings, why, headChecks }: HeadlessFacts,
  started: number,
): AuditResult {
  const checks: ConsistencyCheck[] = [{ id: 'head', status: 'warn', detail: why }, ...headChecks];
  // The length of the inputs alone is worth a finding, but labels and texts stay unjudged.
  const leaks = imprints.length > 0 || embeddings.some(({ what }) => what === 'tokens');
  if (embeddings.length + imprints.length === 0) {
    return notAssessed(request, { checkpoint, gradients }, matching, update, why, checks, started);
  }
  const { out } = request;
  const traps = imprints.map(({ report }) => report);
  const totalMs = performance.now() - started;
  const report: Report = {
    schemaVersion: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    verdict: leaks
      ? {
          outcome: 'leaks',
          sentence: `No classifier head was found, but other parts of this gradient leak: ${besideHead(embeddings, traps)}.`,
        }
      : { outcome: 'not-assessed', sentence: `${why} The gradient tells ${besideHead(embeddings, traps)}.` },
    update,
    inputs: { checkpoint: describeFile(checkpoint), gradients: describeFile(gradients) },
    head: null,
    consistency: [
      consistency.checkFileSafety([checkpoint, gradients]),
      consistency.checkMatching(matching, gradients),
      ...checks,
    ],
    batch: { size: null, lowerBound: 1, evidence: 'Without a head, the number of samples is not known.' },
    samples: [],
    labelCounts: null,
    embeddings: [...embeddings],
    ...(traps.length > 0 ? { imprints: traps } : {}),
    findings: findingsOf({
      files: [checkpoint, gradients],
      samples: [],
      labelCounts: null,
      batchSize: null,
      classes: 0,
      className: String,
      sweep: undefined,
      embeddings,
      imprints: traps,
      hidden: false,
    }),
    timings: { readMs: totalMs, recoverMs: 0, totalMs },
  };
  if (out !== undefined) {
    writeResults(out, report, [], [], imprints);
  }
  return { report, features: [] };
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

/** What gradleak_capture.py writes is a gradient and nothing else: noise in it is somebody's defence. */
function withCapture(update: UpdateReport, gradients: string): UpdateReport {
  const reason =
    'The contents alone do not say so; capture.json beside the file, which is written with gradients only, does.';
  try {
    return update.kind === 'unknown' && readCapture(gradients)
      ? { ...update, kind: 'gradient', reasons: [reason] }
      : update;
  } catch {
    return update;
  }
}

function hiddenSentence(noise: number): string {
  return `The head's numbers cannot be told from noise of standard deviation ${noise.toPrecision(2)}. Either noise hides the gradient from every method here, or this is no gradient; nothing in the file tells which.`;
}

function readHead(
  tensors: HeadTensors,
  checkpoint: TensorFile,
  gradients: TensorFile,
  { kind, sign, absoluteError }: UpdateReport,
): ReadHead {
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
  // A difference's numbers err by the rounding of the weights it was taken from, however small they are.
  const isDifference = kind === 'difference';
  const directed = (data: Float64Array): Float64Array => (sign === -1 ? data.map((value) => -value) : data);
  const typeStep = weight.gradient.dtype === 'float16' ? 2 ** -24 : 0;
  return {
    storedRoundoff,
    gradient: {
      weight: toMatrix(weight.parameter, weightData, layout),
      bias: bias && checkpoint.read(bias.name).data,
      weightGradient: toMatrix(weight.gradient, directed(gradientData), layout),
      biasGradient: biasGradientData && directed(biasGradientData),
      roundoff: isDifference ? storedRoundoff : effectiveRoundoff(gradientData, storedRoundoff),
      underflow: isDifference && absoluteError !== null ? absoluteError * Math.sqrt(12) : typeStep,
    },
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
