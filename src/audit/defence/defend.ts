import { performance } from 'node:perf_hooks';
import type { Defence, Level } from '../../defences/defence.js';
import { allDefences } from '../../defences/registry.js';
import type { AuditHooks } from '../../facts/hooks.js';
import { readAgain } from '../../facts/read-update.js';
import { classNamer } from '../../methods/head/head-methods.js';
import type { AuditRequest } from '../../protocol/audit-request.js';
import { READING_STAGES } from '../../protocol/audit-request.js';
import type {
  DefenceCurve,
  DefenceLevel,
  DefencePoint,
  DefenceReport,
  FollowedLeak,
  LeftOver,
} from '../../protocol/defence-report.js';
import type { DefendProgress, DefendRequest } from '../../protocol/defend-request.js';
import { CancelledError } from '../../protocol/errors.js';
import { METHODS } from '../registry.js';
import { type AuditResult, auditDump, openDump } from '../run-audit.js';
import { TOOL_VERSION } from '../version.js';
import { defendedFile } from './defended-file.js';
import { DefendedRun } from './defended-run.js';
import { type DefenceOutput, openDefenceOutput } from './defence-output.js';
import type { Follower } from './follower.js';
import { headFollowers } from './head-followers.js';
import { inputFollowers } from './input-followers.js';
import { kneeOf, nextLevel } from './knees.js';
import { leftOver } from './left-over.js';
import { privacyOf, settingsFor } from './settings.js';
import { notFollowed, sentenceOf } from './sweep-words.js';
import { targetOf } from './target.js';
import { textFollowers } from './text-followers.js';
import { type Undefended, undefendedOf } from './undefended.js';

/**
 * What would stop the leaks of one update: defences at rising levels, each tried by the methods that found the leaks. What
 * they found undefended is the truth that their guesses are compared with.
 */

export interface DefendHooks {
  progress(progress: DefendProgress): void;
  /** The files are read: from here on nothing in them holds the process up. */
  read?(): void;
  /** Lets other work run; throws CancelledError once the user has asked to stop. */
  pause(): Promise<void>;
}

/**
 * Seconds for everything, or so many undefended audits where these take longer, and bounds of one defended audit. A quick sweep of a LeNet
 * has to be over in 30 on two cores, and what runs at its end takes a while to stop.
 */
const EFFORTS = {
  quick: { total: 29, audits: 4, least: 1, most: 20, times: 2 },
  thorough: { total: 900, audits: 8, least: 5, most: 120, times: 6 },
} as const;
/** Of what is drawn at random and guessed without a search. */
const MOST_DRAWS = 8;
const FEWEST_DRAWS = 4;
/** Seconds that the draws of one level may take. */
const DRAWS_SECONDS = 0.5;
/** Of the bar, what the undefended audit takes. */
const UNDEFENDED_SHARE = 0.15;
/** Between two times that what is known is written. */
const WRITTEN_EVERY_MS = 2000;

/**
 * @returns what was found until then, when it was stopped after the undefended audit
 * @throws UnusableInputError when the dump cannot be audited; CancelledError when stopped before it was
 */
export async function defend(request: DefendRequest, hooks: DefendHooks): Promise<DefenceReport> {
  const started = performance.now();
  const { truth: _truth, trace: _trace, ...audit } = request.audit;
  const dump = openDump(audit);
  try {
    let isRead = false;
    const result = await auditDump(audit, dump, {
      progress: ({ stage, message, fraction }) => {
        if (!isRead && !READING_STAGES.includes(stage)) {
          isRead = true;
          hooks.read?.();
        }
        hooks.progress({ message: `Undefended: ${message}`, fraction: UNDEFENDED_SHARE * fraction });
      },
      pause: () => hooks.pause(),
    });
    if (result.report.cancelled === true) {
      throw new CancelledError(audit.out !== undefined);
    }
    const undefended = await undefendedOf(dump, result);
    const className = await classNamer(result.facts);
    const followers = [
      ...inputFollowers(undefended),
      ...textFollowers(undefended),
      ...headFollowers(undefended, className),
    ];
    const output = openDefenceOutput({ out: request.out, force: audit.force });
    try {
      return await new Sweep(request, undefended, followers, output, hooks, started).run();
    } finally {
      output.close();
    }
  } finally {
    dump.close();
  }
}

interface OpenCurve {
  readonly defence: Defence;
  readonly levels: readonly Level[];
  points: DefencePoint[];
  /** Milliseconds: another that takes as long has to end in time. */
  longestLevel: number;
}

class Sweep {
  private readonly curves: OpenCurve[];
  private readonly levels: ReadonlyMap<string, DefenceLevel[]>;
  private readonly ends: number;
  private readonly runSeconds: number;
  private draws = FEWEST_DRAWS;
  private leaks: FollowedLeak[] = [];
  private status: DefenceReport['status'] = 'complete';
  private isStopped = false;
  private written = 0;

  constructor(
    private readonly request: DefendRequest,
    private readonly undefended: Undefended,
    private readonly followers: readonly Follower[],
    private readonly output: DefenceOutput,
    private readonly hooks: DefendHooks,
    private readonly started: number,
  ) {
    const { total, audits, least, most, times } = EFFORTS[request.effort];
    const seconds = undefended.result.report.timings.totalMs / 1000;
    this.ends = started + 1000 * (request.timeLimitSeconds ?? Math.max(total, audits * seconds));
    this.runSeconds = Math.min(Math.max(times * seconds, least), most);
    this.curves = allDefences()
      .filter(({ id }) => request.defences?.includes(id) !== false)
      .map((defence) => ({ defence, levels: defence.levels(undefended.figures), points: [], longestLevel: 0 }));
    const privacy = request.privacy ?? {};
    const isMeasured = undefended.figures.norm > 0;
    this.levels = new Map(
      this.curves.map(({ defence: { id }, levels }) => [
        id,
        levels.map((level) => ({
          ...level,
          settings: isMeasured ? settingsFor(id, level, undefended) : [],
          privacy: isMeasured ? [...privacyOf(id, level, undefended, privacy)] : [],
        })),
      ]),
    );
  }

  async run(): Promise<DefenceReport> {
    try {
      this.draws = await this.affordableDraws();
      this.leaks = this.followers.map((own) => this.followed(own));
      await this.tryLevels();
    } catch (error) {
      if (!(error instanceof CancelledError) || !this.isStopped) {
        throw error;
      }
      this.status = 'stopped';
      this.leaks = this.followers.map((own) => this.followed(own));
    }
    const report = this.report();
    this.output.write(report);
    return report;
  }

  /** What needs no search first, which is a matter of milliseconds. */
  private async tryLevels(): Promise<void> {
    const quick = this.leaks.filter(({ id }) =>
      this.followers.some(({ leak, methods }) => leak.id === id && methods.length === 0),
    );
    await this.tryFor(quick);
    await this.tryFor(this.leaks);
  }

  /** A level of each defence in turn, so that every one has some when time is up. */
  private async tryFor(leaks: readonly FollowedLeak[]): Promise<void> {
    const isThorough = this.request.effort === 'thorough';
    let pending = leaks.length > 0 ? [...this.curves] : [];
    while (pending.length > 0) {
      const open: OpenCurve[] = [];
      for (const curve of pending) {
        const next = nextLevel(
          leaks,
          { ...curve, scale: curve.defence.scale, isMonotone: curve.defence.isMonotone },
          isThorough,
        );
        if (next === undefined) {
          continue;
        }
        const begun = performance.now();
        const least = Math.min(1000 * EFFORTS[this.request.effort].least, (this.ends - this.started) / 4);
        const shortest = this.isSearchFor(next.leak) ? least : 0;
        if (begun + Math.max(curve.longestLevel, shortest) > this.ends) {
          // Levels of other defences may take less.
          this.status = 'out-of-time';
          continue;
        }
        await this.tryLevel(curve, next.level, next.leak);
        curve.longestLevel = Math.max(curve.longestLevel, performance.now() - begun);
        open.push(curve);
      }
      pending = open;
    }
  }

  /** @param asked id of the leak that it is tried for: what takes a search is left out where another one asks */
  private async tryLevel(curve: OpenCurve, at: number, asked: string): Promise<void> {
    const { defence, levels, points } = curve;
    const level = levels[at];
    if (!level) {
      return;
    }
    this.tell(`${defence.title}: ${level.name}`);
    await this.pause();
    const known = points.find((own) => own.level === at)?.left ?? [];
    const isSearch = this.isSearchFor(asked);
    const wanted = this.followers.flatMap(({ leak, methods }, index) =>
      (isSearch || methods.length === 0) && !known.some((own) => own.leak === leak.id) ? [index] : [],
    );
    const left = await this.leftAt(defence, level, at, wanted);
    if (known.length + left.length === 0) {
      return;
    }
    const order = this.leaks.map(({ id }) => id);
    const all = [...known, ...left].sort((one, other) => order.indexOf(one.leak) - order.indexOf(other.leak));
    curve.points = [...points.filter((own) => own.level !== at), { level: at, left: all }].sort(
      (one, other) => one.level - other.level,
    );
    if (performance.now() - this.written > WRITTEN_EVERY_MS) {
      this.output.write({ ...this.report(), status: 'stopped' });
      this.written = performance.now();
    }
  }

  private async leftAt(defence: Defence, level: Level, at: number, wanted: readonly number[]): Promise<LeftOver[]> {
    const isRepeated = defence.isRandom && wanted.some((index) => this.followers[index]?.methods.length === 0);
    const draws = isRepeated ? this.draws : 1;
    const now = performance.now();
    const until = Math.min(now + 1000 * this.runSeconds, this.ends);
    const runs = Array.from({ length: draws }, (_, draw) => this.runOf(defence, level, draw, draws, until));
    const left: LeftOver[] = [];
    for (const index of wanted) {
      const [follower, leak] = [this.followers[index], this.leaks[index]];
      if (!follower || !leak) {
        continue;
      }
      const own = await leftOver(follower, follower.methods.length === 0 ? runs : runs.slice(0, 1), {
        leak,
        isLate: () => performance.now() > until,
        show: (shown) => this.output.show(`${defence.id}-${at}-${follower.leak.id}`, level.name, shown),
      });
      // Telling a stop from a run whose time was up.
      await this.pause();
      // What the end of the sweep cut short tells less than nothing: beside it, levels that were tried to their end would not count.
      if (own.standing === 'untold' && until === this.ends && performance.now() > until) {
        this.status = 'out-of-time';
      } else {
        left.push(own);
      }
    }
    return left;
  }

  private isSearchFor(asked: string): boolean {
    return this.followers.some(({ leak, methods }) => leak.id === asked && methods.length > 0);
  }

  private runOf(defence: Defence, level: Level, draw: number, draws: number, until: number): DefendedRun {
    const { dump, sent, numbers, figures } = this.undefended;
    const withheld = new Set(defence.withheld?.(level, figures) ?? []);
    const file = defendedFile(sent, numbers, withheld, (name, data) =>
      defence.apply({ name, data, draw }, level, figures),
    );
    return this.runOn(readAgain(dump.checkpoint, file, dump), draws === 1, until);
  }

  private runOn(file: DefendedRun['file'], isOnlyDraw: boolean, until: number): DefendedRun {
    const wanted = new Set(this.followers.flatMap(({ methods }) => methods));
    const hooks: AuditHooks = {
      progress: () => undefined,
      pause: async () => {
        await this.pause();
        if (performance.now() > until) {
          throw new CancelledError();
        }
      },
    };
    return new DefendedRun(
      this.undefended,
      file,
      guessRequest(this.request, this.undefended, this.runSeconds),
      hooks,
      METHODS.filter(({ id }) => wanted.has(id)),
      isOnlyDraw,
    );
  }

  /** As many draws as there is time for, told by one of the update as it is. */
  private async affordableDraws(): Promise<number> {
    const repeated = this.followers.filter(({ methods }) => methods.length === 0);
    const run = this.runOn(this.undefended.dump.gradients, false, Infinity);
    const before = performance.now();
    for (const follower of repeated) {
      await follower.guesses(run);
      await this.pause();
    }
    const seconds = (performance.now() - before) / 1000;
    return Math.round(Math.min(Math.max(DRAWS_SECONDS / Math.max(seconds, 1e-3), FEWEST_DRAWS), MOST_DRAWS));
  }

  private followed({ leak: { limit, byChance, ...leak }, shown }: Follower): FollowedLeak {
    const asked = this.request.target?.[leak.measure.id];
    const reached = byChance?.(this.draws) ?? -Infinity;
    return {
      ...leak,
      limit: asked === undefined ? limit(this.draws) : Math.max(asked, reached),
      shown: shown && this.output.show(`undefended-${leak.id}`, 'Undefended', shown),
    };
  }

  private async pause(): Promise<void> {
    try {
      await this.hooks.pause();
    } catch (error) {
      this.isStopped ||= error instanceof CancelledError;
      throw error;
    }
  }

  private tell(message: string): void {
    const expected = this.curves.reduce((sum, { defence, levels }) => {
      const halvings = Math.ceil(Math.log2(levels.length + 1)) + this.leaks.length;
      const isHalved = defence.isMonotone && this.request.effort === 'quick';
      return sum + (isHalved ? Math.min(halvings, levels.length) : levels.length);
    }, 0);
    const done = this.curves.reduce((sum, { points }) => sum + points.length, 0);
    const byTime = (performance.now() - this.started) / (this.ends - this.started);
    const share = Math.min(Math.max(done / Math.max(expected, 1), byTime), 1);
    this.hooks.progress({ message, fraction: UNDEFENDED_SHARE + (1 - UNDEFENDED_SHARE) * share });
  }

  private report(): DefenceReport {
    const { undefended, request, leaks } = this;
    const { report } = undefended.result;
    const curves = this.curves.map((own) => curveOf(own, this.levels.get(own.defence.id) ?? [], leaks));
    const left = notFollowed(undefended, leaks);
    const { kind } = undefended.update;
    const { count, norm } = undefended.figures;
    return {
      schemaVersion: 1,
      tool: { name: 'gradleak', version: TOOL_VERSION },
      effort: request.effort,
      status: this.status,
      finished: new Date().toISOString(),
      seconds: (performance.now() - this.started) / 1000,
      inputs: {
        checkpoint: report.inputs.checkpoint?.path ?? null,
        gradients: report.inputs.gradients.path,
      },
      update: { kind, numbers: count, norm },
      outcome: report.verdict.outcome,
      sentence: sentenceOf(leaks, curves),
      leaks,
      notFollowed: left,
      remarks: remarksOn(request, undefended),
      curves,
      ...(request.target
        ? {
            target: targetOf(
              request.target,
              leaks,
              curves,
              left,
              undefended,
              isMatchingLeftOut(request, undefended.result),
            ),
          }
        : {}),
    };
  }
}

function curveOf({ defence, points }: OpenCurve, levels: DefenceLevel[], leaks: readonly FollowedLeak[]): DefenceCurve {
  const { id, title, explanation, unit, scale, isMonotone } = defence;
  const own = {
    id,
    title,
    explanation,
    unit,
    scale,
    isMonotone,
    levels,
    points,
  };
  return {
    ...own,
    points: [...points],
    knees: leaks.map((leak) => kneeOf(leak, own)),
    why: levels.length === 0 ? 'This update has nothing that it acts on.' : null,
  };
}

/** What the undefended audit told is known, and a guess is wanted soon rather than certain. */
function guessRequest(request: DefendRequest, { result, recovered }: Undefended, seconds: number): AuditRequest {
  const { truth: _truth, trace: _trace, out: _out, reconstruction, ...audit } = request.audit;
  const { network, batch } = result.report;
  const size = recovered?.single ? undefined : (audit.batchSize ?? batch.size ?? undefined);
  return {
    ...audit,
    batchTimeLimitSeconds: seconds,
    ...(size === undefined ? {} : { batchSize: size }),
    ...(reconstruction
      ? {
          reconstruction: {
            ...reconstruction,
            attack: isMatchingLeftOut(request, result) ? 'chain' : reconstruction.attack,
            timeLimitSeconds: Math.min(seconds, reconstruction.timeLimitSeconds),
            ...(network?.file ? { model: network.file } : {}),
            ...(network ? { inputShape: [...network.inputShape] } : {}),
          },
        }
      : {}),
  };
}

/** Gradient matching takes minutes for each level. */
function isMatchingLeftOut(
  { audit: { reconstruction }, effort }: DefendRequest,
  { reconstructions }: AuditResult,
): boolean {
  return (
    reconstruction?.attack === 'auto' &&
    effort === 'quick' &&
    !reconstructions.some(({ report }) => report.method === 'matching')
  );
}

function remarksOn(request: DefendRequest, { result }: Undefended): string[] {
  const hasInputs = result.reconstructions.some(({ input }) => input);
  return hasInputs && isMatchingLeftOut(request, result)
    ? ['Quick: gradient matching, which takes minutes, was not tried on what a defence leaves. It may see more.']
    : [];
}
