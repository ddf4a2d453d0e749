import { setTimeout as wait } from 'node:timers/promises';
import type { QueueProgress } from '../protocol/queue-messages.js';
import { type Manifest, WHOLE } from '../shards/manifest.js';
import type { ResultStore } from '../shards/result-store.js';
import type { JobQueue } from './job-queue.js';
import { untilAborted } from './until-aborted.js';

/** Where the jobs of one manifest are: in the queue, which may hold those of others too, or in the store. */

/** Asked for at a time. */
const BULK = 500;
const LEAST_PAUSE_MS = 1000;
/** Looking takes a tenth of the time at most. */
const PAUSE_PER_LOOK = 9;
/** After which the server is said to be away. */
const AWAY_MS = 5000;
/** A result may be seen later than its job leaves the queue, as file systems of networks remember what was not there. */
const LOOKS_FOR_RESULTS = 3;
/** Of those that failed, the ones that are named. */
const MOST_DEAD = 50;

export class Submission {
  private readonly done = new Set<string>();

  private constructor(
    private readonly queue: JobQueue,
    private readonly store: ResultStore,
    /** Of each job its gradient. */
    private readonly jobs: ReadonlyMap<string, string>,
  ) {}

  /** @throws UnusableInputError when the manifest cannot be read to its end */
  static async of(queue: JobQueue, manifest: Manifest, store: ResultStore): Promise<Submission> {
    const jobs = new Map<string, string>();
    for await (const { id, gradients } of manifest.jobs(WHOLE)) {
      jobs.set(id, gradients);
    }
    return new Submission(queue, store, jobs);
  }

  get ids(): string[] {
    return [...this.jobs.keys()];
  }

  /** Where the jobs are now. What has its result keeps it, and is not asked for again. */
  async look(): Promise<QueueProgress> {
    const counts = { waiting: 0, running: 0, delayed: 0, failed: 0, missing: 0 };
    const dead: QueueProgress['dead'] = [];
    const open = this.ids.filter((id) => !this.done.has(id));
    for (let start = 0; start < open.length; start += BULK) {
      const ids = open.slice(start, start + BULK);
      const states = await this.queue.statesOf(ids);
      for (const [at, id] of ids.entries()) {
        const state = states[at] ?? 'absent';
        if (state !== 'absent') {
          counts[state]++;
        } else if (await this.store.has(id)) {
          this.done.add(id);
        } else {
          counts.missing++;
        }
        if (state === 'failed' && dead.length < MOST_DEAD) {
          const reason = (await this.queue.reasonOf(id)) ?? '';
          dead.push({ gradients: this.jobs.get(id) ?? id, reason: reason === '' ? 'No reason was given.' : reason });
        }
      }
    }
    const workers = (await this.queue.workers()) ?? null;
    return { jobs: this.jobs.size, ...counts, done: this.done.size, dead, workers, isAway: false };
  }

  /**
   * Looks again and again until no job waits or runs.
   *
   * @param told what each look found, and that the server does not answer
   * @param signal ends it; what is in the queue stays there
   * @throws AbortError when the signal says so
   */
  async follow(told: (progress: QueueProgress) => void, signal: AbortSignal): Promise<QueueProgress> {
    let last: QueueProgress | undefined;
    for (let quiet = 0; ;) {
      const since = performance.now();
      const away = setInterval(() => {
        if (last) {
          told({ ...last, isAway: true });
        }
      }, AWAY_MS);
      try {
        last = await untilAborted(this.look(), signal);
      } finally {
        clearInterval(away);
      }
      told(last);
      const { waiting, running, delayed, missing } = last;
      quiet = waiting + running + delayed > 0 ? 0 : quiet + 1;
      if (quiet > 0 && (missing === 0 || quiet > LOOKS_FOR_RESULTS)) {
        return last;
      }
      const pause = Math.max(LEAST_PAUSE_MS, PAUSE_PER_LOOK * (performance.now() - since));
      await wait(pause, undefined, { signal });
    }
  }
}
