import { type Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { ManifestHead, ManifestJob } from '../protocol/manifest.js';
import { type Manifest, WHOLE } from '../shards/manifest.js';

/** Jobs of manifests in Redis: what waits, what runs, what failed. Results are in the store and never here. */

/** All that a worker needs to know. */
export interface QueuedJob {
  readonly root: string;
  readonly settings: ManifestHead['settings'];
  readonly job: ManifestJob;
}

export const DEFAULT_QUEUE = 'gradleak';
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
   * A job that is in the queue already is not added again: its id is its key.
   *
   * @param root where workers find the project
   * @returns how many jobs the manifest holds
   */
  async submit(manifest: Manifest, root: string, progress: (done: number) => void): Promise<number> {
    await this.redis.del(cancelKey(this.name));
    const { settings } = manifest.head;
    let [done, bulk]: [number, ManifestJob[]] = [0, []];
    const send = async (): Promise<void> => {
      await this.queue.addBulk(
        bulk.map((job) => ({ name: 'audit', data: { root, settings, job }, opts: { jobId: job.id } })),
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
    const active = (await this.queue.getActive(0, PAGE - 1)) as Job<QueuedJob>[];
    return {
      waiting: counts.waiting ?? 0,
      running: counts.active ?? 0,
      delayed: counts.delayed ?? 0,
      failed: counts.failed ?? 0,
      active: active.map((job) => ({
        gradients: job.data.job.gradients,
        worker: job.processedBy ?? '',
        progress: typeof job.progress === 'number' ? job.progress : 0,
      })),
    };
  }

  async *deadLetters(): AsyncGenerator<DeadLetter> {
    for (let start = 0; ; start += PAGE) {
      const page = (await this.queue.getFailed(start, start + PAGE - 1)) as Job<QueuedJob>[];
      for (const { data, failedReason, attemptsMade } of page) {
        yield { gradients: data.job.gradients, reason: failedReason, attempts: attemptsMade };
      }
      if (page.length < PAGE) {
        return;
      }
    }
  }

  /** @returns how many dead letters wait again */
  async retry(): Promise<number> {
    const { failed = 0 } = await this.queue.getJobCounts('failed');
    await this.redis.del(cancelKey(this.name));
    await this.queue.retryJobs({ state: 'failed' });
    return failed;
  }

  /** Removes what waits, and asks workers to stop what runs; results stay. @returns how many jobs were removed */
  async cancel(): Promise<number> {
    const { waiting, delayed } = await this.status();
    await this.redis.set(cancelKey(this.name), String(Date.now()));
    await this.queue.drain(true);
    return waiting + delayed;
  }

  async close(): Promise<void> {
    await this.queue.close();
  }
}

/** Holds the time at which a queue was cancelled: what began before it is stopped. */
export function cancelKey(name: string): string {
  return `gradleak:${name}:cancelled`;
}
