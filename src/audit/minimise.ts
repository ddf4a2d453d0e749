import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Facts } from '../facts/facts.js';
import { HEAD } from '../facts/head-facts.js';
import type { HeadTensors } from '../facts/head.js';
import type { AuditHooks } from '../facts/hooks.js';
import type { AuditPaths } from '../facts/inputs.js';
import { MATCHING } from '../facts/update.js';
import { openTensorFile } from '../formats/open.js';
import { type TensorFile, elementCount } from '../formats/tensor-file.js';
import { type WrittenTensor, encodeSafetensors } from '../formats/write-safetensors.js';
import type { AuditRequest } from '../protocol/audit-request.js';
import { UnusableInputError } from '../protocol/errors.js';
import type { Report } from '../protocol/report.js';
import { replaceFile } from './output-folder.js';
import {
  type Dump,
  direction,
  mapHead,
  mirrorFeatures,
  randomise,
  shuffleClasses,
  randomOrder,
} from './replace-values.js';
import { runAudit } from './run-audit.js';
import { TOOL_VERSION } from './version.js';

/**
 * A dump for an issue report that is audited like the user's own and holds as little of it as possible: tensors that do not
 * decide the outcome become random numbers of the same spread, the head's classes are shuffled and its features mirrored,
 * which changes no logit. A change that changes the outcome is taken back.
 */

export interface Minimised {
  /** By name: what became of each tensor. */
  readonly tensors: Readonly<Record<string, TensorFate>>;
  readonly outcome: Outcome;
}

type TensorFate = 'random' | 'shuffled and mirrored' | 'shuffled' | 'mirrored' | 'kept';

/** What must stay the same. */
export type Outcome = Readonly<Record<string, unknown>>;

export interface MinimiseRequest extends Required<AuditPaths>, Pick<AuditRequest, 'head' | 'layout' | 'force'> {
  readonly out: string;
}

const CHECKPOINT = 'checkpoint.safetensors';
const GRADIENT = 'gradient.safetensors';
const LIST = 'minimised.json';
/** Elements of both files together: every try writes them. */
const MOST_ELEMENTS = 2 ** 26;
/** Audits of tensors by halves, so that few that matter are found among many that do not. */
const MOST_TRIES = 48;
const MOST_DRAWS = 4;
const MIRRORS = 3;
const TRACE_INSTEAD = 'Report the trace of an audit instead: no tensor is in it.';
const BATCH_SECONDS = 20;

/**
 * @throws UnusableInputError when the files cannot be read, are too large, or the folder holds other files; CancelledError
 *   when stopped, with nothing written
 */
export async function minimise(request: MinimiseRequest, hooks: AuditHooks): Promise<Minimised> {
  refuseTaken(request);
  const files = [openTensorFile(request.checkpoint)];
  try {
    files.push(openTensorFile(request.gradients));
    const [checkpoint, gradients] = files as [TensorFile, TensorFile];
    const minimiser = await Minimiser.open(request, hooks, checkpoint, gradients);
    return await minimiser.run();
  } finally {
    for (const file of files) {
      file.close();
    }
  }
}

type Change = (dump: Dump) => Dump;

class Minimiser {
  private tries = 0;

  private constructor(
    private readonly request: MinimiseRequest,
    private readonly hooks: AuditHooks,
    private readonly dump: Dump,
    private readonly pairs: readonly { readonly parameter: string; readonly gradient: string }[],
    private readonly head: HeadTensors | undefined,
    private readonly wanted: string,
    private readonly scratch: string,
  ) {}

  static async open(
    request: MinimiseRequest,
    hooks: AuditHooks,
    checkpoint: TensorFile,
    gradients: TensorFile,
  ): Promise<Minimiser> {
    const size = [checkpoint, gradients].flatMap(({ entries }) => entries.map(({ shape }) => elementCount(shape)));
    if (size.reduce((sum, own) => sum + own, 0) > MOST_ELEMENTS) {
      throw new UnusableInputError({
        code: 'unsupported-dump',
        file: request.gradients,
        found: 'more numbers than are tried again and again',
        expected: `at most ${MOST_ELEMENTS} in both files together`,
        advice: TRACE_INSTEAD,
      });
    }
    const audit = auditRequest(request, request);
    const outcome = await outcomeOf(audit, hooks);
    const facts = new Facts({ request: audit, checkpoint, gradients, hooks });
    const { pairs } = await facts.get(MATCHING).catch(() => ({ pairs: [] }));
    const search = await facts.get(HEAD).catch(() => undefined);
    return new Minimiser(
      request,
      hooks,
      { checkpoint: tensorsOf(checkpoint), gradient: tensorsOf(gradients) },
      pairs.map((pair) => ({ parameter: pair.parameter.name, gradient: pair.gradient.name })),
      search?.tensors,
      JSON.stringify(outcome),
      mkdtempSync(join(tmpdir(), 'gradleak-minimise-')),
    );
  }

  async run(): Promise<Minimised> {
    try {
      if (!(await this.isSame([]))) {
        throw new UnusableInputError({
          code: 'unsupported-dump',
          file: this.request.gradients,
          found: 'a dump that is audited differently once it is written as safetensors',
          expected: 'the same outcome',
          advice: TRACE_INSTEAD,
        });
      }
      const replaced = await this.replaceable(this.names());
      const changes = this.randomising([...replaced]);
      const head = await this.changesOfHead(changes);
      return this.write(await this.confirmed([...changes, ...head.changes]), replaced, head.fate);
    } finally {
      rmSync(this.scratch, { recursive: true, force: true });
    }
  }

  /** Parameters with their gradients by one name, then what has no counterpart. */
  private names(): string[] {
    const headNames = new Set(this.headNames());
    const ofGradients = this.dump.gradient.map(({ name }) => name).filter((name) => !this.parameterOf(name));
    return [...this.dump.checkpoint.map(({ name }) => name), ...ofGradients].filter((name) => !headNames.has(name));
  }

  private headNames(): string[] {
    const { head } = this;
    return head
      ? [
          head.weight.parameter.name,
          head.weight.gradient.name,
          ...(head.bias ? [head.bias.name] : []),
          ...(head.biasGradient ? [head.biasGradient.name] : []),
        ]
      : [];
  }

  private parameterOf(gradient: string): string | undefined {
    return this.pairs.find((pair) => pair.gradient === gradient)?.parameter;
  }

  private counterpart(parameter: string): string | undefined {
    return this.pairs.find((pair) => pair.parameter === parameter)?.gradient;
  }

  private randomising(names: readonly string[]): Change[] {
    return names.map((name) => (dump) => randomise(dump, name, this.counterpart(name)));
  }

  /** Which tensors may become random together, by halves. */
  private async replaceable(names: readonly string[], also: readonly string[] = []): Promise<Set<string>> {
    if (names.length === 0 || this.tries >= MOST_TRIES) {
      return new Set();
    }
    if (await this.isSame(this.randomising([...also, ...names]))) {
      return new Set(names);
    }
    if (names.length === 1) {
      return new Set();
    }
    const middle = names.length >> 1;
    const first = await this.replaceable(names.slice(0, middle), also);
    const second = await this.replaceable(names.slice(middle), [...also, ...first]);
    return new Set([...first, ...second]);
  }

  private async changesOfHead(before: readonly Change[]): Promise<{ changes: Change[]; fate: TensorFate }> {
    const { head } = this;
    if (!head) {
      return { changes: [], fate: 'kept' };
    }
    const order = randomOrder(head.classes);
    const mirrors = Array.from({ length: MIRRORS }, () => direction(head.features));
    const shuffle: Change = (dump) => mapHead(dump, head, (values) => shuffleClasses(values, order));
    const mirror: Change = (dump) => mapHead(dump, head, (values) => mirrors.reduce(mirrorFeatures, values));
    const canShuffle = await this.isSame([...before, shuffle]);
    const kept = canShuffle ? [shuffle] : [];
    const canMirror = await this.isSame([...before, ...kept, mirror]);
    return {
      changes: [...kept, ...(canMirror ? [mirror] : [])],
      fate: canShuffle ? (canMirror ? 'shuffled and mirrored' : 'shuffled') : canMirror ? 'mirrored' : 'kept',
    };
  }

  /** What is written is what was audited, and not another draw of it. */
  private async confirmed(changes: readonly Change[]): Promise<Dump> {
    for (let draw = 0; draw < MOST_DRAWS; draw++) {
      const dump = changes.reduce((own, change) => change(own), this.dump);
      if (await this.isSame([() => dump])) {
        return dump;
      }
    }
    throw new UnusableInputError({
      code: 'unsupported-dump',
      file: this.request.gradients,
      found: 'a dump whose outcome depends on which random numbers stand in its place',
      expected: 'an outcome that its shapes and noise decide',
      advice: TRACE_INSTEAD,
    });
  }

  private async isSame(changes: readonly Change[]): Promise<boolean> {
    this.tries++;
    this.hooks.progress({
      stage: 'recover',
      message: `Trying with less of the dump (${this.tries})`,
      fraction: Math.min(this.tries / MOST_TRIES, 1),
    });
    await this.hooks.pause();
    const dump = changes.reduce((own, change) => change(own), this.dump);
    const paths = { checkpoint: join(this.scratch, CHECKPOINT), gradients: join(this.scratch, GRADIENT) };
    // Into our own temporary folder, which nobody reads but the audit that follows.
    writeFileSync(paths.checkpoint, encodeSafetensors(dump.checkpoint));
    writeFileSync(paths.gradients, encodeSafetensors(dump.gradient));
    const outcome = await outcomeOf(auditRequest(paths, this.request), {
      progress: () => undefined,
      pause: () => this.hooks.pause(),
    });
    return JSON.stringify(outcome) === this.wanted;
  }

  private write(dump: Dump, replaced: ReadonlySet<string>, headFate: TensorFate): Minimised {
    const { out } = this.request;
    const heads = new Set(this.headNames());
    const all = [...this.dump.checkpoint, ...this.dump.gradient].map(({ name }) => name);
    const tensors = Object.fromEntries(
      all.map((name): [string, TensorFate] => [
        name,
        heads.has(name) ? headFate : replaced.has(this.parameterOf(name) ?? name) ? 'random' : 'kept',
      ]),
    );
    const outcome = JSON.parse(this.wanted) as Outcome;
    mkdirSync(out, { recursive: true });
    replaceFile(join(out, CHECKPOINT), encodeSafetensors(dump.checkpoint));
    replaceFile(join(out, GRADIENT), encodeSafetensors(dump.gradient));
    const list = { tool: { name: 'gradleak', version: TOOL_VERSION }, outcome, tensors };
    replaceFile(join(out, LIST), `${JSON.stringify(list, undefined, 1)}\n`);
    return { tensors, outcome };
  }
}

/** The labels-only audit that every try is judged by. */
function auditRequest(
  { checkpoint, gradients }: Required<AuditPaths>,
  { head, layout }: Pick<AuditRequest, 'head' | 'layout'>,
): AuditRequest {
  return { checkpoint, gradients, method: 'auto', ...(head ? { head } : {}), ...(layout ? { layout } : {}) };
}

/** @throws UnusableInputError when one of our three files is there and may not be replaced */
function refuseTaken({ out, force }: MinimiseRequest): void {
  const taken = [CHECKPOINT, GRADIENT, LIST].find((name) => existsSync(join(out, name)));
  if (taken !== undefined && force !== true) {
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: join(out, taken),
      found: 'a file',
      expected: 'a folder without it',
      advice: 'Choose another folder, or replace it.',
    });
  }
}

/** Everything of a report but numbers and names of classes. */
async function outcomeOf(request: AuditRequest, hooks: AuditHooks): Promise<Outcome> {
  try {
    const limited = { ...request, batchTimeLimitSeconds: BATCH_SECONDS };
    return described((await runAudit(limited, hooks)).report);
  } catch (error) {
    if (error instanceof UnusableInputError) {
      return { error: error.code };
    }
    throw error;
  }
}

function described(report: Report): Outcome {
  const { verdict, update, head, consistency, methods = [], samples, labelCounts, findings, leaks, batch } = report;
  return {
    verdict: verdict.outcome,
    update: update && { kind: update.kind, sign: update.sign },
    head: head && { weight: basename(head.weight), classes: head.classes, activation: head.activation },
    checks: consistency.map(({ id, status }) => `${id}: ${status}`),
    methods: methods.map(({ id, outcome }) => `${id}: ${outcome}`),
    batch: batch.size,
    samples: samples.map(({ status, label, method }) => `${status}, ${label.kind}, ${method}`).sort(),
    counts: labelCounts ? typeof labelCounts.confirmedBy : null,
    findings: findings.map(({ id, severity }) => `${severity}: ${id}`).sort(),
    leaks: leaks.map(({ method, tensor, gives }) => ({ method, tensor, gives })),
  };
}

function tensorsOf(file: TensorFile): WrittenTensor[] {
  return file.entries.map(({ name, shape, dtype }) => ({ name, shape, dtype, data: file.read(name).data }));
}
