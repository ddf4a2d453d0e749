import { performance } from 'node:perf_hooks';
import { otherHalfOf } from '../facts/adapter-files.js';
import { Facts } from '../facts/facts.js';
import { HEAD, HEAD_GRADIENT } from '../facts/head-facts.js';
import { type AuditHooks, fractionAt, rising } from '../facts/hooks.js';
import { refuseSameFile } from '../facts/inputs.js';
import { namesOf } from '../facts/no-checkpoint.js';
import { type ReadUpdate, readUpdate } from '../facts/read-update.js';
import { MATCHING, UPDATE } from '../facts/update.js';
import { joinedFile } from '../formats/joined-file.js';
import { isOutOfMemory } from '../formats/memory.js';
import { openTensorFile } from '../formats/open.js';
import type { TensorFile } from '../formats/tensor-file.js';
import { RECOVERY, withTurnedSign } from '../methods/head/recovery.js';
import { type Context, type Method, type MethodResult, READABLE, type Reconstruction } from '../methods/method.js';
import { nothingRebuilt } from '../methods/reconstruction-report.js';
import { METHODS } from './registry.js';
import type { AuditRequest, AuditStage } from '../protocol/audit-request.js';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import type { MethodReport, ReconstructionReport, Report, TruthComparison } from '../protocol/report.js';
import { type FilesRead, hashFiles } from './input-files.js';
import { type ImageResults, prepareFolder, writeResults } from './output.js';
import { type Core, type FoundLeak, assemble, coreOf } from './report.js';
import { type Truth, addImageTruth, compareWithTruth, readTruth, trueImage, truthBeside } from './truth.js';
import { type TraceEvent, type TraceFile, openTrace } from './trace.js';
import { unreadable } from './unreadable.js';

/** The pipeline: open, settle the kind, ask every method, project their leaks to the report, write once. */

export interface AuditResult {
  readonly report: Report;
  /** One row per sample, d numbers each. */
  readonly features: readonly Float64Array[];
  /** Reconstructed inputs, flat. */
  readonly inputs?: readonly Float64Array[];
  /** What the report was made of, for whoever goes on from here. */
  readonly facts: Facts;
  readonly leaks: readonly FoundLeak[];
  /** Of each sample, in the samples' order; shorter where no method gave any. */
  readonly reconstructions: readonly Reconstruction[];
}

/** The files of one request, open. */
export interface OpenDump extends ReadUpdate {
  /** Names without numbers where none was given. */
  readonly checkpoint: TensorFile;
  /** The model beside adapters, or the adapters beside a model. */
  readonly otherHalf: string | undefined;
  close(): void;
}

/** @throws UnusableInputError when a file cannot be read */
export function openDump(request: AuditRequest): OpenDump {
  const files: TensorFile[] = [];
  const close = (): void => {
    for (const file of files) {
      file.close();
    }
  };
  try {
    const given = request.checkpoint === undefined ? undefined : openTensorFile(request.checkpoint);
    files.push(...(given ? [given] : []));
    const captured = openTensorFile(request.gradients);
    files.push(captured);
    const otherHalf = given && otherHalfOf(given, captured, request);
    files.push(...(otherHalf ? [otherHalf] : []));
    const whole = given && otherHalf ? joinedFile(given, otherHalf) : given;
    const update = whole ? readUpdate(whole, captured) : { gradients: captured };
    return { checkpoint: whole ?? namesOf(captured), ...update, otherHalf: otherHalf?.path, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** What is tried, and who looks on. */
export interface AuditOptions {
  readonly methods?: readonly Method[];
  readonly trace?: (event: TraceEvent) => void;
}

/**
 * Audits one captured gradient.
 *
 * @returns a report that says `cancelled` when the user stopped it after the checks were done
 * @throws UnusableInputError when the input cannot be used; CancelledError when stopped before the checks were done
 */
export async function runAudit(
  request: AuditRequest,
  caller: AuditHooks,
  options: AuditOptions = {},
): Promise<AuditResult> {
  const started = performance.now();
  refuseSameFile(request);
  await step(caller, 'open', 'Opening the files');
  const dump = openDump(request);
  try {
    return await auditDump(request, dump, caller, { ...options, started });
  } finally {
    dump.close();
  }
}

/** The same of files that are open, and stay so. */
export async function auditDump(
  request: AuditRequest,
  { checkpoint, gradients, origin, otherHalf }: OpenDump,
  caller: AuditHooks,
  { started = performance.now(), ...options }: AuditOptions & { readonly started?: number } = {},
): Promise<AuditResult> {
  const hooks = rising(caller);
  const unlock = prepareFolder(request);
  let traceFile: TraceFile | undefined;
  const trace = (event: TraceEvent): void => {
    traceFile?.write(event);
    options.trace?.(event);
  };
  try {
    traceFile = openTrace(request);
    const facts = new Facts({ request, checkpoint, gradients, ...(origin ? { origin } : {}), hooks }, trace);
    return await new Audit(facts, options.methods ?? METHODS, trace, started, otherHalf).run();
  } finally {
    unlock?.();
    traceFile?.close();
  }
}

async function step(hooks: AuditHooks, stage: AuditStage, message: string): Promise<void> {
  hooks.progress({ stage, message, fraction: fractionAt(stage) });
  await hooks.pause();
}

/** One run: what the methods have found so far. */
class Audit {
  private readonly leaks: FoundLeak[] = [];
  private readonly rows: MethodReport[] = [];
  private inputs: readonly Reconstruction[] = [];
  private network: Report['network'];
  private engine: Report['engine'];
  private readonly next: NextStep[] = [];
  private isStopped = false;
  private readMs = 0;
  private recoverMs = 0;
  private reconstructMs: number | undefined;

  constructor(
    private facts: Facts,
    private readonly methods: readonly Method[],
    private readonly trace: (event: TraceEvent) => void,
    private readonly started: number,
    private readonly otherHalf: string | undefined,
  ) {}

  async run(): Promise<AuditResult> {
    const { request } = this.facts.given;
    const core = await this.prepare();
    const usesTruth = request.reconstruction?.settings?.labels === 'true';
    // Only with `--labels true` does the truth take part, and then the result says so; otherwise it is read when all is done.
    const given = usesTruth && request.truth !== undefined ? readTruth(request.truth) : undefined;
    await this.tryAll(core, given);
    await this.requireAnything(core);
    return this.finish(core, given);
  }

  /** Settles the kind, reads the head and recovers what it tells. */
  private async prepare(): Promise<Core> {
    const { hooks, request } = this.facts.given;
    await step(hooks, 'match', 'Matching gradients to parameters');
    await this.facts.get(MATCHING);
    const { kind } = await this.facts.get(UPDATE);
    if (READABLE.includes(kind) && request.checkpoint !== undefined) {
      const { tensors } = await this.facts.get(HEAD);
      if (tensors) {
        await step(hooks, 'read', `Reading the head ${tensors.weight.parameter.name}`);
      }
      await this.facts.get(HEAD_GRADIENT);
      this.readMs = this.elapsed();
      await step(hooks, 'check', 'Checking that the files belong together');
      await step(hooks, 'recover', 'Recovering labels and features');
      this.facts = await withTurnedSign(this.facts);
      this.isStopped = (await this.facts.get(RECOVERY))?.cancelled !== undefined;
      this.recoverMs = this.elapsed() - this.readMs;
    }
    const core = await coreOf(this.facts);
    if (!this.isStopped) {
      await step(hooks, 'describe', 'Describing what was found');
    }
    return core;
  }

  private async tryAll(core: Core, given: Truth | undefined): Promise<void> {
    const { kind } = await this.facts.get(UPDATE);
    const able = this.methods.filter(({ kinds }) => kinds.includes(kind));
    for (const method of able) {
      await this.tryOne(method, core, given);
    }
    const why = unreadable(kind);
    if (able.length === 0 || why !== undefined) {
      this.rows.push({
        id: 'all',
        title: able.length === 0 ? 'Every method' : 'Every other method',
        outcome: 'not-applicable',
        detail: why ?? 'No method reads a file of this kind.',
      });
    }
  }

  private async tryOne(method: Method, core: Core, given: Truth | undefined): Promise<void> {
    const { id, title, assumes, cost, needs } = method;
    const facts = this.facts.for(id);
    const started = performance.now();
    const isMissing = facts.given.request.checkpoint === undefined && needs !== 'gradient';
    const applies = isMissing
      ? 'It needs the checkpoint, and none was given.'
      : await method.applies(facts).catch((error: unknown) => {
          const ended = endedResult(error);
          this.isStopped ||= ended.stopped === true;
          return ended.detail;
        });
    if (applies !== true) {
      this.trace({ method: id, applies, milliseconds: performance.now() - started });
      if (applies !== null) {
        this.rows.push({ id, title, assumes, outcome: 'not-applicable', detail: applies });
      }
      return;
    }
    if (cost === 'min') {
      this.writeUntilThen(core);
    }
    const result = await method.run(facts, this.contextOf(method, given)).catch(endedResult);
    const milliseconds = performance.now() - started;
    const { outcome, detail, leaks, network } = result;
    this.trace({ method: id, applies, outcome, detail, leaks: leaks.length, milliseconds });
    this.rows.push({ id, title, assumes, outcome, detail });
    this.keep(method, result);
    if (network !== undefined) {
      this.reconstructMs = (this.reconstructMs ?? 0) + milliseconds;
    }
  }

  private keep({ id }: Method, { leaks, inputs, network, engine, stopped, next = [] }: MethodResult): void {
    this.next.push(...next);
    this.leaks.push(...leaks.map((leak) => ({ method: id, leak })));
    this.inputs = surest(this.inputs, inputs ?? []);
    this.network = network === undefined ? this.network : network;
    this.engine = engine ?? this.engine;
    this.isStopped ||= stopped === true;
  }

  private contextOf({ cost }: Method, given: Truth | undefined): Context {
    const { hooks } = this.facts.given;
    const stage = cost === 'min' ? 'reconstruct' : 'describe';
    return {
      progress: (message, share, preview) => {
        hooks.progress({
          stage,
          message,
          fraction: fractionAt(stage, share),
          ...(preview ? { reconstruction: preview } : {}),
        });
      },
      pause: () => hooks.pause(),
      inputs: this.inputs,
      leaks: this.leaks.map(({ leak }) => leak),
      trueLabels: given?.labels,
    };
  }

  /** What takes long may take the process along; until then everything else is safe. */
  private writeUntilThen(core: Core): void {
    const { out, reconstruction } = this.facts.given.request;
    if (out === undefined || !reconstruction || core.samples.length === 0) {
      return;
    }
    const images: ImageResults[] = [];
    for (const [index, sample] of core.samples.entries()) {
      const own = this.inputs[index];
      sample.reconstruction = own?.report ?? nothingRebuilt('The audit ended before the input was found.');
      images.push(...(own?.input ? [{ sample: index, reconstruction: own, truth: undefined }] : []));
    }
    const report = this.assemble(core, undefined, true);
    writeResults({ ...this.facts.given.request, out }, report, {
      features: core.features,
      arrays: this.arrays(),
      images,
    });
    for (const sample of core.samples) {
      delete sample.reconstruction;
    }
  }

  /** @throws UnusableInputError for heads that cannot be used, where nothing else was found either */
  private async requireAnything(core: Core): Promise<void> {
    const { error } = core.isHeadless ? await this.facts.get(HEAD) : { error: undefined };
    if (error && this.leaks.length === 0) {
      throw error;
    }
  }

  private async finish(core: Core, given: Truth | undefined): Promise<AuditResult> {
    const { request } = this.facts.given;
    const { samples, features, labelCounts } = core;
    const beside = request.truth === undefined && core.why === undefined ? truthBeside(request.gradients) : undefined;
    const asked =
      request.truth === undefined || core.why !== undefined ? undefined : (given ?? readTruth(request.truth));
    const truth = asked ?? (beside && 'truth' in beside ? beside.truth : undefined);
    const tried = samples.map((_, index) => this.inputs[index]?.input);
    const compared = truth && compareWithTruth(truth, samples, features, tried, labelCounts);
    const comparison = compared && beside ? { ...compared, found: true as const } : compared;
    const images: ImageResults[] = [];
    for (const [index, sample] of samples.entries()) {
      const own = this.inputs[index];
      if (own) {
        sample.reconstruction = own.report;
        if (own.report.method !== 'none' || own.input) {
          const image = truth && trueImage(truth, comparison?.samples[index]?.truthRow ?? index);
          await addImageTruth(own, image, request.reconstruction?.lpips);
          images.push({ sample: index, reconstruction: own, truth: image });
        }
      }
    }
    const files = await this.hashes(truth?.path);
    const report = this.assemble(core, comparison, this.isStopped, files);
    if (beside && 'problem' in beside) {
      const detail = `The truth beside the gradient was not read: ${beside.problem}`;
      report.consistency.push({ id: 'truth', status: 'warn', detail });
    }
    if (request.out !== undefined) {
      writeResults({ ...request, out: request.out }, report, { features, arrays: this.arrays(), images });
    }
    const inputs = images.flatMap(({ reconstruction }) => (reconstruction.input ? [reconstruction.input] : []));
    return {
      report,
      features,
      ...(inputs.length > 0 ? { inputs } : {}),
      facts: this.facts,
      leaks: this.leaks,
      reconstructions: this.inputs,
    };
  }

  /** Undefined once the user has stopped the audit: what was found does not wait for it. */
  private async hashes(truth: string | undefined): Promise<FilesRead | undefined> {
    if (this.isStopped) {
      return undefined;
    }
    const { hooks, request } = this.facts.given;
    try {
      await step(hooks, 'write', 'Computing the hashes of the files');
      const { gradients, checkpoint } = request;
      const network = this.network?.file ?? null;
      return await hashFiles({ gradients, checkpoint, otherHalf: this.otherHalf, network, truth }, () => hooks.pause());
    } catch (error) {
      if (error instanceof CancelledError) {
        this.isStopped = true;
        return undefined;
      }
      throw error;
    }
  }

  private arrays(): FoundLeak['leak']['arrays'] {
    return this.leaks.flatMap(({ leak }) => leak.arrays);
  }

  private assemble(core: Core, truth: TruthComparison | undefined, isStopped: boolean, hashes?: FilesRead): Report {
    const { checkpoint, gradients, request } = this.facts.given;
    const { readMs, recoverMs, reconstructMs } = this;
    const totalMs = this.elapsed();
    return assemble({
      files: { checkpoint: request.checkpoint === undefined ? undefined : checkpoint, gradients },
      hashes,
      core,
      leaks: this.leaks,
      methods: this.rows,
      next: this.next,
      isWritten: request.out !== undefined,
      isStopped,
      network: this.network,
      engine: this.engine,
      timings: { readMs, recoverMs, ...(reconstructMs === undefined ? {} : { reconstructMs }), totalMs },
      truth,
    });
  }

  private elapsed(): number {
    return performance.now() - this.started;
  }
}

const SURENESS: Readonly<Record<ReconstructionReport['verdict'], number>> = {
  exact: 3,
  close: 2,
  uncertain: 1,
  failed: 0,
};

/** Sample by sample, the one whose verdict is better; the later one of equals, which has what the earlier one had to go by. */
export function surest(
  earlier: readonly Reconstruction[],
  later: readonly Reconstruction[],
): readonly Reconstruction[] {
  const longer = earlier.length > later.length ? earlier : later;
  return longer.map((own, index) => {
    const [first, second] = [earlier[index] ?? own, later[index] ?? own];
    return SURENESS[first.report.verdict] > SURENESS[second.report.verdict] ? first : second;
  });
}

/** Codes of what a method cannot take into memory, while others read less. */
const TOO_MUCH: ReadonlySet<UnusableInputError['code']> = new Set(['too-little-memory', 'tensor-too-large']);

/** Why a method ended, where it was for want of memory. @throws every other error */
function wantOfMemory(error: unknown): string {
  if (error instanceof UnusableInputError && TOO_MUCH.has(error.code)) {
    const { found, expected, advice } = error.parts;
    return `Not done for want of memory: found ${found}; expected ${expected}. ${advice}`;
  }
  if (isOutOfMemory(error)) {
    return 'Not done for want of memory: the system gave no more of it. Run it with more memory.';
  }
  throw error;
}

/** What the other methods found is kept, whichever was stopped or needs more memory than there is. */
function endedResult(error: unknown): MethodResult {
  if (error instanceof CancelledError) {
    const detail = 'The audit was stopped before this was done.';
    return { outcome: 'not-applicable', detail, leaks: [], stopped: true };
  }
  return { outcome: 'not-applicable', detail: wantOfMemory(error), leaks: [] };
}

/** The error for a gradient that was captured from other weights; the report that goes with it is complete. */
export function mismatchError(report: Report): UnusableInputError | undefined {
  if (report.verdict.outcome !== 'mismatch') {
    return undefined;
  }
  return new UnusableInputError({
    code: 'other-checkpoint',
    file: report.inputs.gradients.path,
    found: `a gradient that does not fit ${report.inputs.checkpoint?.path ?? 'its checkpoint'}`,
    expected: 'the gradient of a sample under this checkpoint',
    advice: report.verdict.sentence,
  });
}
