import { Facts } from '../../facts/facts.js';
import { HEAD, HEAD_GRADIENT, HEAD_SHAPE, type HeadSearch } from '../../facts/head-facts.js';
import type { AuditHooks } from '../../facts/hooks.js';
import { MATCHING, UPDATE } from '../../facts/update.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import { guessedRecovery, guessedShape } from '../../methods/head/best-guess.js';
import { RECOVERY } from '../../methods/head/recovery.js';
import type { RecoveredHead } from '../../methods/head/recover-head.js';
import type { Method, Reconstruction } from '../../methods/method.js';
import type { AuditRequest } from '../../protocol/audit-request.js';
import { CancelledError, messageOf } from '../../protocol/errors.js';
import type { GradientShape, HeadGradient } from '../../recovery/head-gradient.js';
import type { FoundLeak } from '../report.js';
import { surest } from '../run-audit.js';
import type { Undefended } from './undefended.js';

/** The best guesses of the same methods on a defended update. What they need is computed when it is first asked for. */

export interface MethodGuesses {
  readonly recovered: RecoveredHead | undefined;
  readonly leaks: readonly FoundLeak[];
  readonly inputs: readonly Reconstruction[];
  /** Why a method gave nothing, by its id. */
  readonly reasons: ReadonlyMap<string, string>;
  /** The time for it was up before it was done. */
  readonly isCut: boolean;
}

export interface GuessedHead {
  readonly gradient: HeadGradient;
  readonly shape: GradientShape;
}

export class DefendedRun {
  private readonly facts: Facts;
  private guessed: Promise<GuessedHead | undefined> | undefined;
  private found: Promise<MethodGuesses> | undefined;

  /**
   * @param file the defended update
   * @param request of the undefended audit, with what it told, and nothing to write
   * @param methods that found what is followed
   * @param isOnlyDraw whether what is random is drawn once, so that more may be spent on it
   */
  constructor(
    readonly undefended: Undefended,
    readonly file: TensorFile,
    request: AuditRequest,
    hooks: AuditHooks,
    private readonly methods: readonly Method[],
    readonly isOnlyDraw: boolean,
  ) {
    const { dump, result, update } = undefended;
    const { network } = result.report;
    const names = new Set(file.entries.map(({ name }) => name));
    const pairs = undefended.matching.pairs.filter(({ gradient }) => names.has(gradient.name));
    this.facts = new Facts({
      request,
      checkpoint: dump.checkpoint,
      gradients: file,
      hooks,
      guess: { network: network ? { name: network.name, normMode: network.normMode } : undefined },
    })
      .with(MATCHING, { ...undefended.matching, pairs })
      .with(UPDATE, update)
      .with(HEAD, headAmong(undefended.head, names));
  }

  /** Undefined where it was withheld, or none of it is left. */
  head(): Promise<GuessedHead | undefined> {
    this.guessed ??= this.readHead();
    return this.guessed;
  }

  private async readHead(): Promise<GuessedHead | undefined> {
    try {
      const head = await this.facts.get(HEAD_GRADIENT);
      const shape = await this.facts.get(HEAD_SHAPE);
      return head && shape && { gradient: head.gradient, shape: guessedShape(shape, this.isBatch()) };
    } catch (error) {
      if (error instanceof CancelledError) {
        throw error;
      }
      return undefined;
    }
  }

  private isBatch(): boolean {
    const { recovered } = this.undefended;
    return recovered !== undefined && recovered.single === undefined;
  }

  methodGuesses(): Promise<MethodGuesses> {
    this.found ??= this.runMethods();
    return this.found;
  }

  private async runMethods(): Promise<MethodGuesses> {
    const head = await this.head();
    const shaped = head ? this.facts.with(HEAD_SHAPE, head.shape) : this.facts;
    const recovered = head && (await shaped.get(RECOVERY).catch(unlessCancelled));
    const facts =
      head && recovered ? shaped.with(RECOVERY, guessedRecovery(recovered, head.gradient, head.shape)) : shaped;
    const reasons = new Map<string, string>();
    const leaks: FoundLeak[] = [];
    let inputs: readonly Reconstruction[] = [];
    let isCut = recovered?.cancelled !== undefined;
    for (const method of this.methods) {
      try {
        const applies = await method.applies(facts);
        if (applies !== true) {
          reasons.set(method.id, applies ?? 'It does not apply to what is left.');
          continue;
        }
        const { hooks } = facts.given;
        const result = await method.run(facts, {
          progress: () => undefined,
          pause: () => hooks.pause(),
          inputs,
          leaks: leaks.map(({ leak }) => leak),
          trueLabels: undefined,
        });
        leaks.push(...result.leaks.map((leak) => ({ method: method.id, leak })));
        inputs = surest(inputs, result.inputs ?? []);
        reasons.set(method.id, result.inputs?.find(({ input }) => !input)?.report.reason ?? result.detail);
        isCut ||= result.stopped === true;
      } catch (error) {
        // A method that cannot cope with what a defence leaves says nothing of what is left.
        reasons.set(method.id, messageOf(error));
        isCut ||= error instanceof CancelledError;
      }
    }
    return { recovered, leaks, inputs, reasons, isCut };
  }
}

function unlessCancelled(error: unknown): undefined {
  if (error instanceof CancelledError) {
    throw error;
  }
  return undefined;
}

const WITHHELD: HeadSearch = {
  tensors: undefined,
  why: 'The head was withheld.',
  tied: undefined,
  checks: [],
  next: [],
  error: undefined,
};

function headAmong(head: HeadSearch | undefined, names: ReadonlySet<string>): HeadSearch {
  return head && (!head.tensors || names.has(head.tensors.weight.gradient.name)) ? head : WITHHELD;
}
