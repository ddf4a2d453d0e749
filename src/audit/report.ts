import type { TensorFile } from '../formats/tensor-file.js';
import type { Facts } from '../facts/facts.js';
import type { HeadTensors } from '../facts/head.js';
import type { FilesRead } from './input-files.js';
import { CLASS_NAMES, HEAD, HEAD_GRADIENT, HEAD_SHAPE } from '../facts/head-facts.js';
import { NO_CHECKPOINT } from '../facts/no-checkpoint.js';
import { MATCHING, STATED_TRAINING, UPDATE } from '../facts/update.js';
import { classNamer } from '../methods/head/head-methods.js';
import { RECOVERY } from '../methods/head/recovery.js';
import { verdictOf } from '../methods/head/verdict.js';
import { type Leak, READABLE } from '../methods/method.js';
import type { NextStep } from '../protocol/next-steps.js';
import type {
  BatchDescription,
  ConsistencyCheck,
  HeadDescription,
  LabelCountReport,
  LeakReport,
  MethodReport,
  Report,
  SampleReport,
  Timings,
  TruthComparison,
  UpdateReport,
  Verdict,
} from '../protocol/report.js';
import * as consistency from './consistency.js';
import { findingsOf, reaches, worst } from './findings.js';
import { arrayFile } from './output.js';
import { unreadable } from './unreadable.js';
import { TOOL_VERSION } from './version.js';

/** What the methods found, as one report. */

/** A leak and the method that found it. */
export interface FoundLeak {
  readonly method: string;
  readonly leak: Leak;
}

/** What is known of the samples: the head's part of the report, which other methods add to. */
export interface Core {
  readonly update: UpdateReport;
  readonly head: Report['head'];
  readonly checks: readonly ConsistencyCheck[];
  readonly batch: BatchDescription;
  readonly samples: SampleReport[];
  /** One row per sample. */
  readonly features: readonly Float64Array[];
  readonly labelCounts: LabelCountReport | null;
  readonly classNames: readonly string[] | undefined;
  /** Why nothing of the head was assessed, one sentence; undefined where it was. */
  readonly why: string | undefined;
  /** What would let the head be assessed, or assessed further. */
  readonly next: readonly NextStep[];
  /** No head was found, which says nothing against the rest of the gradient. */
  readonly isHeadless: boolean;
  /** Of the samples as they are now. */
  verdict(): Verdict | undefined;
}

const NOTHING = {
  head: null,
  samples: [],
  features: [],
  labelCounts: null,
  classNames: undefined,
  isHeadless: false,
  next: [],
  verdict: () => undefined,
};

/** @throws UnusableInputError where the head's numbers cannot be used; CancelledError when stopped before they were read */
export async function coreOf(facts: Facts): Promise<Core> {
  const { checkpoint, gradients, request } = facts.given;
  const update = await facts.get(UPDATE);
  if (request.checkpoint === undefined) {
    const evidence = 'Without a checkpoint, the number of samples is not known.';
    const checks = [
      consistency.checkFileSafety([gradients]),
      ...consistency.checkValues(await facts.get(MATCHING), gradients, new Set()),
    ];
    return { ...NOTHING, update, checks, batch: { size: null, lowerBound: 1, evidence }, why: NO_CHECKPOINT };
  }
  const matching = await facts.get(MATCHING);
  const files = [consistency.checkFileSafety([checkpoint, gradients]), consistency.checkMatching(matching, gradients)];
  const unknown = { size: null, lowerBound: 1 };
  const evidence = 'Nothing was recovered, so the number of samples is not known.';
  if (!READABLE.includes(update.kind)) {
    const { tensors } = update.kind === 'several-steps' ? await facts.get(HEAD) : { tensors: undefined };
    return {
      ...NOTHING,
      update,
      // Its samples are not told from several steps, and how often its classes occur may be.
      head: tensors ? describeHead(tensors, 'softmax') : null,
      checks: files,
      batch: { ...unknown, evidence },
      classNames: tensors && (await facts.get(CLASS_NAMES)),
      why: unreadable(update.kind),
      next: await trainingStep(facts, update),
    };
  }
  const { tensors, why, next, checks: headChecks } = await facts.get(HEAD);
  const [head, shape, recovered] = [
    await facts.get(HEAD_GRADIENT),
    await facts.get(HEAD_SHAPE),
    await facts.get(RECOVERY),
  ];
  if (!tensors || !head || !shape || !recovered) {
    return {
      ...NOTHING,
      update,
      checks: [...files, { id: 'head', status: 'warn', detail: why }, ...headChecks],
      batch: { ...unknown, evidence: 'Without a head, the number of samples is not known.' },
      why,
      next,
      isHeadless: true,
    };
  }
  const headNames = new Set([tensors.weight.gradient.name, tensors.biasGradient?.name ?? '']);
  const isOneTold = recovered.single?.isOneTold !== false;
  const checks = [
    ...files,
    ...headChecks,
    ...consistency.checkValues(matching, gradients, headNames),
    consistency.checkPrecision(head.gradient, head.storedRoundoff),
    ...consistency.checkSums(head.gradient, shape, recovered.factors?.biasMisfit ?? 0, isOneTold),
    consistency.checkRank(shape, isOneTold, recovered.batch.size === 1),
    ...recovered.checks,
  ];
  if (recovered.unassessed !== undefined && recovered.cancelled === undefined) {
    // What was found is not relied on, so none of it is shown.
    return { ...NOTHING, update, checks, batch: { ...unknown, evidence }, why: recovered.unassessed };
  }
  const samples = [...recovered.samples];
  const className = await classNamer(facts);
  return {
    update,
    head: describeHead(tensors, recovered.single?.activation ?? 'softmax'),
    checks,
    batch: recovered.batch,
    samples,
    features: recovered.features,
    labelCounts: recovered.labelCounts,
    classNames: await facts.get(CLASS_NAMES),
    why: undefined,
    next: isOneTold || request.batchSize !== undefined ? [] : ['choose-batch-size'],
    isHeadless: false,
    verdict: () => verdictOf(recovered, samples, tensors, className, shape),
  };
}

function describeHead(
  { weight, bias, classes, features, layout, biasGradient }: HeadTensors,
  activation: HeadDescription['activation'],
): HeadDescription {
  return {
    weight: weight.parameter.name,
    bias: bias?.name ?? null,
    classes,
    features,
    layout,
    biasGradient: biasGradient !== undefined,
    activation,
  };
}

/** Of several steps more is told by whoever knows how the client trained. */
async function trainingStep(facts: Facts, { kind }: UpdateReport): Promise<NextStep[]> {
  const { learningRate, batchSize, samples } = (await facts.get(STATED_TRAINING))?.training ?? {};
  const isStated = learningRate !== undefined && batchSize !== undefined && samples !== undefined;
  return kind === 'several-steps' && !isStated ? ['state-training'] : [];
}

export interface ReportParts {
  readonly files: { readonly checkpoint: TensorFile | undefined; readonly gradients: TensorFile };
  /** Undefined where the audit ended before they were known. */
  readonly hashes: FilesRead | undefined;
  readonly core: Core;
  readonly leaks: readonly FoundLeak[];
  readonly methods: readonly MethodReport[];
  /** What would let methods find more. */
  readonly next: readonly NextStep[];
  /** Whether the leaks' arrays are in files beside the report. */
  readonly isWritten: boolean;
  readonly isStopped: boolean;
  readonly network: Report['network'];
  readonly engine: Report['engine'];
  readonly timings: Timings;
  readonly truth: TruthComparison | undefined;
}

/** The report of what is known so far; its samples are the core's own, so what is added to them later needs a new one. */
export function assemble(parts: ReportParts): Report {
  const { files, core, network, engine, truth } = parts;
  const { checkpoint, gradients } = files;
  const leaks = parts.leaks.map(({ leak }) => leak);
  const verdict = verdictOfAll(core, leaks);
  const mismatch: NextStep[] = verdict.outcome === 'mismatch' ? ['choose-checkpoint'] : [];
  const next = [...new Set([...mismatch, ...core.next, ...parts.next])];
  return {
    schemaVersion: 2,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    verdict,
    ...(parts.isStopped ? { cancelled: true as const } : {}),
    finished: new Date().toISOString(),
    inputs: {
      checkpoint: checkpoint ? describeFile(checkpoint) : null,
      gradients: describeFile(gradients),
      ...(parts.hashes ?? {}),
    },
    update: core.update,
    head: core.head,
    consistency: [...core.checks],
    methods: [...parts.methods],
    batch: core.batch,
    samples: core.samples,
    labelCounts: core.labelCounts,
    leaks: parts.leaks.map((own) => leakReport(own, parts.isWritten)),
    ...(core.classNames ? { classNames: [...core.classNames] } : {}),
    findings: findingsOf(checkpoint ? [checkpoint, gradients] : [gradients], leaks, core.head?.classes ?? 0),
    ...(network === undefined ? {} : { network }),
    ...(engine ? { engine } : {}),
    timings: parts.timings,
    ...(next.length > 0 ? { next } : {}),
    ...(truth === undefined ? {} : { truth }),
  };
}

function leakReport({ method, leak }: FoundLeak, isWritten: boolean): LeakReport {
  const { findings, arrays, ...own } = leak;
  return {
    method,
    ...own,
    severity: worst(findings),
    details: isWritten
      ? own.details
      : own.details.map((detail) => (detail.type === 'picture' ? { ...detail, file: null } : detail)),
    files: isWritten ? arrays.map(({ name }) => arrayFile(name)) : [],
  };
}

/** A report's entry for one of its inputs. */
function describeFile(file: TensorFile): Report['inputs']['gradients'] {
  return { path: file.path, format: file.format, tensors: file.entries.length };
}

function isOfWeights({ kind }: UpdateReport): boolean {
  return kind === 'difference' || kind === 'several-steps';
}

/** The head's verdict, unless that is open or empty and something else leaks. */
function verdictOfAll(core: Core, leaks: readonly Leak[]): Verdict {
  const beside = leaks.filter(({ brief }) => brief !== null);
  const leaking = beside.filter(({ findings }) => reaches(findings, 'medium'));
  const list = (own: readonly Leak[]): string => {
    const parts = own.map(({ brief }) => brief ?? '');
    return parts.length > 1 ? `${parts.slice(0, -1).join(', ')}, and ${parts.at(-1)}` : (parts[0] ?? '');
  };
  const head = core.verdict();
  if (head?.outcome === 'leaks' || (head && leaking.length === 0)) {
    return head;
  }
  if (leaking.length > 0) {
    const sentence = head?.sentence ?? (core.isHeadless ? undefined : core.why);
    return {
      outcome: 'leaks',
      sentence:
        sentence === undefined
          ? `This gradient gives away ${list(leaking)}; no classifier head was read.`
          : `${sentence} ${isOfWeights(core.update) ? 'It gives away' : 'Other parts of this gradient leak:'} ${list(leaking)}.`,
    };
  }
  const why = core.why ?? 'Nothing was assessed.';
  return {
    outcome: 'not-assessed',
    sentence:
      beside.length > 0
        ? `${why} ${isOfWeights(core.update) ? 'The update' : 'The gradient'} tells ${list(beside)}.`
        : why,
  };
}
