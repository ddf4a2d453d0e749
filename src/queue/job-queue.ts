import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { type Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { TOOL_VERSION } from '../audit/version.js';
import type { ManifestJob, QueuedJob } from '../protocol/manifest.js';
import { type Manifest, WHOLE, queuedJobOf } from '../shards/manifest.js';

/** Jobs of manifests in Redis: what waits, what runs, what failed. Results are in the store and never here. */

/** A queue is of one version of the tool, as a manifest is. */
export const DEFAULT_QUEUE = `gradleak-${TOOL_VERSION}`;
const ATTEMPTS = 5;
const BACKOFF_MS = 5000;
const BULK = 1000;
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
   * @param root where workers find the project
   * @returns how many jobs the manifest holds
   */
  async submit(manifest: Manifest, root: string, progress: (done: number) => void): Promise<number> {
    const { settings, settingsKey, identity } = manifest.head;
    const failed = await this.failedIds();
    let [done, bulk]: [number, ManifestJob[]] = [0, []];
    const send = async (): Promise<void> => {
      for (const { id } of bulk) {
        if (failed.has(id)) {
          await this.queue.remove(id);
        }
      }
      await this.queue.addBulk(
        bulk.map((job) => ({
          name: 'audit',
          data: { root, identity, settings, settingsKey, job },
          opts: { jobId: job.id },
        })),
      );
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

  /** Removes what waits, and asks workers to stop what runs; results stay. @returns how many jobs were removed */
  async cancel(): Promise<number> {
    const { waiting, delayed } = await this.status();
    await this.redis.set(cancelKey(this.name), randomUUID());
    await this.queue.drain(true);
    return waiting + delayed;
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

/** Of a job that another program put there, its id. */
function nameOf(job: Job<unknown>): string {
  return queuedJobOf(job.data)?.job.gradients ?? `${job.id ?? ''} (no job of this program)`;
}

/** Holds what changes when a queue is cancelled: jobs that began with another one are stopped. */
export function cancelKey(name: string): string {
  return `gradleak:${name}:cancelled`;
}
