import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type Job, Queue } from 'bullmq';
import type { ChainableCommander, Redis } from 'ioredis';
import { TOOL_VERSION } from '../audit/version.js';
import type { ManifestJob, QueuedJob } from '../protocol/manifest.js';
import type { QueueCancelled } from '../protocol/queue-messages.js';
import { type Manifest, WHOLE, queuedJobOf } from '../shards/manifest.js';
import { isUnanswered } from './connection.js';

/** Jobs of manifests in Redis: what waits, what runs, what failed. Results are in the store and never here. */

/** A queue is of one version of the tool, as a manifest is. */
export const DEFAULT_QUEUE = `gradleak-${TOOL_VERSION}`;
const ATTEMPTS = 5;
const BACKOFF_MS = 5000;
const BULK = 1000;
/** Each is searched for among all that wait, and the last is answered in time all the same. */
const REMOVED_AT_ONCE = 100;
/** Dead letters that are read at a time. */
const PAGE = 100;

export interface QueueStatus {
  readonly waiting: number;
  readonly running: number;
  /** Failed and waiting to be tried again. */
  readonly delayed: number;
  /** Dead letters: failed for good, or too often. */
  readonly failed: number;
  readonly active: readonly { readonly gradients: string; readonly worker: string; readonly progress: number }[];
}

export interface DeadLetter {
  readonly gradients: string;
  readonly reason: string;
  readonly attempts: number;
}

/** Of one job. `absent`: it is in the queue no more, or never was. */
export type JobState = 'waiting' | 'running' | 'delayed' | 'failed' | 'absent';

export class JobQueue {
  private readonly queue: Queue<QueuedJob>;

  constructor(
    private readonly redis: Redis,
    private readonly name: string,
  ) {
    this.queue = new Queue<QueuedJob>(name, {
      connection: redis,
      defaultJobOptions: {
        attempts: ATTEMPTS,
        backoff: { type: 'exponential', delay: BACKOFF_MS },
        // What is done is told by the store.
        removeOnComplete: true,
      },
    });
    this.queue.on('error', () => {
      // The connection comes back, or the command that waits for it is ended.
    });
  }

  /**
   * A job that is in the queue already is not added again: its id is its key. One that failed is, as it is asked for anew.
   *
   * @param from where workers find the project, and who submits: others who submit the same job share it
   * @returns how many jobs the manifest holds
   */
  async submit(
    manifest: Manifest,
    { root, submitter }: { readonly root: string; readonly submitter: string },
    progress: (done: number) => void,
  ): Promise<number> {
    const { settings, settingsKey, identity } = manifest.head;
    const failed = await this.failedIds();
    let [done, bulk]: [number, ManifestJob[]] = [0, []];
    const send = async (): Promise<void> => {
      // Before the job is there, so that no other one who cancels takes it for theirs alone.
      await this.addSubmitter(
        bulk.map(({ id }) => id),
        submitter,
      );
      for (const { id } of bulk) {
        if (failed.has(id)) {
          await this.queue.remove(id);
        }
      }
      await this.add(bulk.map((job) => ({ root, identity, settings, settingsKey, job })));
      done += bulk.length;
      bulk = [];
      progress(done);
    };
    for await (const job of manifest.jobs(WHOLE)) {
      bulk.push(job);
      if (bulk.length === BULK) {
        await send();
      }
    }
    await send();
    return done;
  }

  async status(): Promise<QueueStatus> {
    const counts = await this.queue.getJobCounts('waiting', 'active', 'delayed', 'failed');
    const active = (await this.queue.getActive(0, PAGE - 1)) as Job<unknown>[];
    return {
      waiting: counts.waiting ?? 0,
      running: counts.active ?? 0,
      delayed: counts.delayed ?? 0,
      failed: counts.failed ?? 0,
      active: active.map((job) => ({
        gradients: nameOf(job),
        worker: job.processedBy ?? '',
        progress: typeof job.progress === 'number' ? job.progress : 0,
      })),
    };
  }

  async *deadLetters(): AsyncGenerator<DeadLetter> {
    for (let start = 0; ; start += PAGE) {
      const page = (await this.queue.getFailed(start, start + PAGE - 1)) as Job<unknown>[];
      for (const job of page) {
        yield { gradients: nameOf(job), reason: job.failedReason, attempts: job.attemptsMade };
      }
      if (page.length < PAGE) {
        return;
      }
    }
  }

  /** @returns how many dead letters wait again */
  async retry(): Promise<number> {
    const { failed = 0 } = await this.queue.getJobCounts('failed');
    await this.queue.retryJobs({ state: 'failed' });
    return failed;
  }

  /** Removes what waits, and asks workers to stop what runs, of all who submitted; results stay. @returns how many jobs were removed */
  async cancel(): Promise<number> {
    const { waiting, delayed } = await this.status();
    await this.redis.set(cancelKey(this.name), randomUUID());
    await this.queue.drain(true);
    await this.forgetSubmitters();
    return waiting + delayed;
  }

  /** @returns where each of some jobs is, in their order */
  async statesOf(ids: readonly string[]): Promise<JobState[]> {
    // What the queue has for it searches its list for each job.
    const running = new Set(await this.redis.lrange(this.queue.toKey('active'), 0, -1));
    const commands = this.redis.pipeline();
    for (const id of ids) {
      commands.exists(this.queue.toKey(id));
      for (const state of ['completed', 'failed', 'delayed']) {
        commands.zscore(this.queue.toKey(state), id);
      }
    }
    const answers = await answersOf(commands);
    return ids.map((id, at) => {
      const [exists, completed, failed, delayed] = answers.slice(4 * at, 4 * at + 4);
      if (exists === 0 || completed !== null) {
        return 'absent';
      }
      if (failed !== null) {
        return 'failed';
      }
      if (delayed !== null) {
        return 'delayed';
      }
      return running.has(id) ? 'running' : 'waiting';
    });
  }

  /** Why a job failed the last time; undefined for one that is in the queue no more. */
  async reasonOf(id: string): Promise<string | undefined> {
    const job = (await this.queue.getJob(id)) as Job<unknown> | undefined;
    return job?.failedReason;
  }

  /** @returns how many of these jobs had failed and wait again */
  async retryThese(ids: readonly string[]): Promise<number> {
    let count = 0;
    for (let start = 0; start < ids.length; start += BULK) {
      const bulk = ids.slice(start, start + BULK);
      const states = await this.statesOf(bulk);
      for (const id of bulk.filter((_id, at) => states[at] === 'failed')) {
        const job = await this.queue.getJob(id);
        if (job) {
          await job.retry('failed', { resetAttemptsMade: true });
          count++;
        }
      }
    }
    return count;
  }

  /**
   * Removes those of these jobs that wait, and asks workers to stop those that run, where nobody else submitted them; other
   * jobs and all results stay. A job of which nobody knows who submitted it is taken for the submitter's own.
   */
  async cancelThese(ids: readonly string[], submitter: string): Promise<QueueCancelled> {
    const total = { removed: 0, stopped: 0, shared: 0 };
    for (let start = 0; start < ids.length; start += BULK) {
      const bulk = ids.slice(start, start + BULK);
      const others = await this.withoutSubmitter(bulk, submitter);
      const states = await this.statesOf(bulk);
      total.shared += others.filter((count, at) => count > 0 && OPEN.has(states[at] ?? 'absent')).length;
      const isWaiting = (at: number): boolean => states[at] === 'waiting' || states[at] === 'delayed';
      const waiting = bulk.filter((_id, at) => others[at] === 0 && isWaiting(at));
      for (let from = 0; from < waiting.length; from += REMOVED_AT_ONCE) {
        const { removed, shared } = await this.removeUnshared(waiting.slice(from, from + REMOVED_AT_ONCE));
        total.removed += removed;
        total.shared += shared;
      }
      const own = bulk.filter((_id, at) => others[at] === 0);
      const now = await this.statesOf(own);
      const { stopped, shared } = await this.stopUnshared(own.filter((_id, at) => now[at] === 'running'));
      total.stopped += stopped;
      total.shared += shared;
    }
    return total;
  }

  /**
   * Removes jobs that wait. Somebody who submits one meanwhile says so first and then finds the job there, so it is put
   * back; who says so later finds none, and adds it.
   */
  private async removeUnshared(ids: readonly string[]): Promise<{ removed: number; shared: number }> {
    // All of them go out at once: a connection answers them in their order.
    const jobs = (await Promise.all(ids.map((id) => this.queue.getJob(id)))) as (Job<unknown> | undefined)[];
    const removed = await Promise.all(ids.map((id) => this.queue.remove(id)));
    const submitters = await this.submittersOf(ids);
    const wanted = jobs.flatMap((job, at) => {
      // One that a worker has taken since is not removed.
      const data = removed[at] === 1 && (submitters[at] ?? 0) > 0 ? queuedJobOf(job?.data) : undefined;
      return data ? [data] : [];
    });
    await this.add(wanted);
    return { removed: removed.reduce((sum, count) => sum + count, 0) - wanted.length, shared: wanted.length };
  }

  private async stopUnshared(ids: readonly string[]): Promise<{ stopped: number; shared: number }> {
    const stops = this.redis.pipeline();
    for (const id of ids) {
      stops.set(stopKey(this.name, id), randomUUID(), 'EX', STOP_KEPT_S);
    }
    await answersOf(stops);
    const submitters = await this.submittersOf(ids);
    const wanted = ids.filter((_id, at) => (submitters[at] ?? 0) > 0);
    if (wanted.length > 0) {
      await this.redis.unlink(wanted.map((id) => stopKey(this.name, id)));
    }
    return { stopped: ids.length - wanted.length, shared: wanted.length };
  }

  private async add(jobs: readonly QueuedJob[]): Promise<void> {
    await this.queue.addBulk(jobs.map((data) => ({ name: 'audit', data, opts: { jobId: data.job.id } })));
  }

  /** @returns of each job how many submitted it */
  private async submittersOf(ids: readonly string[]): Promise<number[]> {
    const commands = this.redis.pipeline();
    for (const id of ids) {
      commands.scard(submittersKey(this.name, id));
    }
    return (await answersOf(commands)).map(Number);
  }

  private async addSubmitter(ids: readonly string[], submitter: string): Promise<void> {
    const commands = this.redis.pipeline();
    for (const id of ids) {
      const key = submittersKey(this.name, id);
      commands.sadd(key, submitter).expire(key, SUBMITTERS_KEPT_S);
    }
    await answersOf(commands);
  }

  /** @returns of each job how many others submitted it */
  private async withoutSubmitter(ids: readonly string[], submitter: string): Promise<number[]> {
    const commands = this.redis.pipeline();
    for (const id of ids) {
      const key = submittersKey(this.name, id);
      commands.srem(key, submitter).scard(key);
    }
    const answers = await answersOf(commands);
    return ids.map((_id, at) => Number(answers[2 * at + 1]));
  }

  private async forgetSubmitters(): Promise<void> {
    let cursor = '0';
    do {
      const [next, keys] = await this.redis.scan(cursor, 'MATCH', submittersKey(this.name, '*'), 'COUNT', BULK);
      if (keys.length > 0) {
        await this.redis.unlink(keys);
      }
      cursor = next;
    } while (cursor !== '0');
  }

  /** How many workers are connected; undefined where the server does not tell. */
  async workers(): Promise<number | undefined> {
    try {
      return await this.queue.getWorkersCount();
    } catch (error) {
      if (isUnanswered(error)) {
        throw error;
      }
      return undefined;
    }
  }

  private async failedIds(): Promise<Set<string>> {
    const ids = new Set<string>();
    for (let start = 0; ; start += PAGE) {
      const page = await this.queue.getFailed(start, start + PAGE - 1);
      page.forEach(({ id }) => ids.add(id ?? ''));
      if (page.length < PAGE) {
        return ids;
      }
    }
  }

  /** Does not wait for a server that is away. */
  async close(): Promise<void> {
    await Promise.race([this.queue.close(), wait(CLOSE_MS, undefined, { ref: false })]);
  }
}

const CLOSE_MS = 1000;

/** Longer than workers take to look. */
const STOP_KEPT_S = 300;

/** Thirty days: for jobs that no worker ever ends. */
const SUBMITTERS_KEPT_S = 30 * 24 * 3600;

const OPEN: ReadonlySet<JobState> = new Set(['waiting', 'running', 'delayed']);

/** @throws the first error that one of the commands was answered with */
async function answersOf(commands: ChainableCommander): Promise<unknown[]> {
  const answers = (await commands.exec()) ?? [];
  return answers.map(([error, answer]) => {
    if (error) {
      throw error;
    }
    return answer;
  });
}

/** Of a job that another program put there, its id. */
function nameOf(job: Job<unknown>): string {
  return queuedJobOf(job.data)?.job.gradients ?? `${job.id ?? ''} (no job of this program)`;
}

/** Holds what changes when a queue is cancelled: jobs that began with another one are stopped. */
export function cancelKey(name: string): string {
  return `gradleak:${name}:cancelled`;
}

/** Holds something while one job is asked to stop, whoever runs it. */
export function stopKey(name: string, id: string): string {
  return `gradleak:${name}:stop:${id}`;
}

/** A set of all who submitted a job that is not done. */
export function submittersKey(name: string, id: string): string {
  return `gradleak:${name}:submitters:${id}`;
}
