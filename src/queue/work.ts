import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import { type Job, UnrecoverableError, WaitingError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { AuditOfJob } from '../project/audit-job.js';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import type { QueuedJob } from '../protocol/manifest.js';
import type { ResultStore } from '../shards/result-store.js';
import { queuedJobOf } from '../shards/manifest.js';
import { type JobEnd, type JobRun, checkRoot, runJob } from '../shards/run-job.js';
import { type JobQueue, cancelKey, stopKey, submittersKey } from './job-queue.js';

/** A machine that takes jobs from a queue. Audits run in children, so that the event loop stays free to renew locks. */

export interface WorkRun {
  readonly redis: Redis;
  readonly queue: JobQueue;
  readonly name: string;
  readonly store: ResultStore;
  readonly concurrency: number;
  /** Ends when the queue is empty instead of waiting for more. */
  readonly untilEmpty: boolean;
  /** Where this machine has a project. @param root as it was planned */
  readonly filesOf: (root: string) => Pick<JobRun, 'root' | 'prepare'>;
  /** Does one audit; `progress` from 0 to 1. @throws CancelledError when the signal says so */
  readonly auditOne: (
    request: Parameters<AuditOfJob['auditOne']>[0],
    signal: AbortSignal,
    progress: (done: number) => void,
  ) => Promise<void>;
  readonly log: (message: string) => void;
  readonly cancelled: () => boolean;
}

const LOCK_MS = 20_000;
const STALLED_MS = 10_000;
/** A worker that was killed is no fault of the job; one that kills each worker ends among the dead letters. */
const MOST_STALLED = 10;
const POLL_MS = 250;
/** Looks for a cancelled queue. */
const CANCEL_MS = 1000;
/** Looks whether the queue is empty. */
const EMPTY_MS = 1000;
const PROGRESS_MS = 1000;

/** Closing waits for a server that may be away. */
const CLOSE_MS = 1500;

/** @returns how many jobs ended how */
export async function work(run: WorkRun): Promise<Record<JobEnd, number>> {
  const { redis, name, store, concurrency, log } = run;
  const totals: Record<JobEnd, number> = { done: 0, before: 0, other: 0, failed: 0 };
  await store.tidy();
  const running = new Map<AbortController, Begun>();
  const state: State = { fault: undefined };
  const connection = redis.duplicate();
  const worker = new Worker<QueuedJob, JobEnd>(
    name,
    async (job, token) => {
      const data = queuedJobOf(job.data);
      if (!data) {
        throw new UnrecoverableError('It is no job of this program.');
      }
      const stop = new AbortController();
      const keys = [cancelKey(name), stopKey(name, data.job.id)];
      running.set(stop, { keys, then: await redis.mget(keys) });
      try {
        const end = await audited(run, data, stop.signal, job);
        totals[end]++;
        log(`${data.job.gradients}: ${END_WORDS[end]}`);
        if (end === 'failed') {
          return await failed(run, data);
        }
        // It runs out by itself where this fails.
        await redis.del(submittersKey(name, data.job.id)).catch(() => undefined);
        return end;
      } catch (error) {
        if (error instanceof MachineFault) {
          state.fault ??= error.reason;
        } else if (!(error instanceof CancelledError)) {
          throw error;
        } else if (!run.cancelled() && state.fault === undefined) {
          throw new UnrecoverableError('Cancelled.');
        }
        // The worker ends, not the job: another one takes it.
        await job.moveToWait(token);
        throw new WaitingError();
      } finally {
        running.delete(stop);
      }
    },
    {
      connection,
      name: hostname(),
      concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_MS,
      maxStalledCount: MOST_STALLED,
      removeOnComplete: { count: 0 },
    },
  );
  let problem = '';
  worker.on('error', (error) => {
    if (messageOf(error) !== problem) {
      problem = messageOf(error);
      log(`The queue does not answer (${problem}); waiting for it.`);
    }
  });
  worker.on('stalled', (id) => {
    log(`A job of a worker that ended is taken up again (${id}).`);
  });
  const cancelling = setInterval(() => {
    void stopCancelled(run, running);
  }, CANCEL_MS);
  try {
    await untilOver(run, running, state);
  } finally {
    clearInterval(cancelling);
    for (const stop of running.keys()) {
      stop.abort();
    }
    await Promise.race([worker.close(), wait(CLOSE_MS, undefined, { ref: false })]);
    // What was handed over stays open otherwise.
    connection.disconnect();
  }
  if (state.fault) {
    throw state.fault;
  }
  return totals;
}

/** What tells that a job is to stop, and what it was when the job began. */
interface Begun {
  readonly keys: string[];
  readonly then: readonly (string | null)[];
}

interface State {
  /** Why this machine can do no job. */
  fault: UnusableInputError | undefined;
}

/** What is wrong with this machine is no fault of the job, which another one takes. */
class MachineFault extends Error {
  constructor(readonly reason: UnusableInputError) {
    super(reason.message);
  }
}

const END_WORDS: Record<JobEnd, string> = {
  done: 'audited',
  before: 'audited before',
  other: 'another worker was faster',
  failed: 'failed',
};

async function audited(
  { filesOf, store, auditOne }: WorkRun,
  data: QueuedJob,
  signal: AbortSignal,
  job: Job<QueuedJob>,
): Promise<JobEnd> {
  let last = 0;
  const progress = (done: number): void => {
    if (Date.now() - last > PROGRESS_MS) {
      last = Date.now();
      // Nobody waits for it, and a server that is away is told later of other things.
      job.updateProgress(Math.round(100 * done)).catch(() => undefined);
    }
  };
  const { identity, settingsKey, settings } = data;
  const files = filesOf(data.root);
  if (!files.prepare) {
    try {
      checkRoot(files.root);
    } catch (error) {
      throw error instanceof UnusableInputError ? new MachineFault(error) : error;
    }
  }
  return runJob(
    {
      ...files,
      identity,
      settingsKey,
      store,
      audit: { settings, auditOne: (request) => auditOne(request, signal, progress) },
    },
    data.job,
  );
}

/** @throws UnrecoverableError for what ends the same way each time, which makes it a dead letter at once */
async function failed({ store }: WorkRun, { job }: QueuedJob): Promise<never> {
  const failure = await store.failure(job.id);
  const problem = failure?.problem ?? 'It failed.';
  throw failure?.isFinal === true ? new UnrecoverableError(problem) : new Error(problem);
}

/** Stops what began before the queue, or the job itself, was cancelled. */
async function stopCancelled({ redis }: WorkRun, running: ReadonlyMap<AbortController, Begun>): Promise<void> {
  try {
    for (const [stop, { keys, then }] of running) {
      const now = await redis.mget(keys);
      // A key that is gone has only run out.
      if (now.some((value, at) => value !== null && value !== then[at])) {
        stop.abort();
      }
    }
  } catch {
    // The server is away; it is asked again.
  }
}

/** Until the user stops it, or there is nothing left to do. */
async function untilOver(
  { untilEmpty, cancelled, queue }: WorkRun,
  running: ReadonlyMap<unknown, unknown>,
  state: State,
): Promise<void> {
  for (let since = 0; !cancelled() && !state.fault; since += POLL_MS) {
    await wait(POLL_MS);
    if (untilEmpty && running.size === 0 && since >= EMPTY_MS) {
      since = 0;
      // What another worker has may come back, when that one ends.
      const status = await Promise.race([queue.status(), untilTrue(cancelled)]);
      if (!status || status.waiting + status.running + status.delayed === 0) {
        return;
      }
    }
  }
}

/** A server that is away answers when it is back, which who wants to stop does not wait for. */
async function untilTrue(cancelled: () => boolean): Promise<undefined> {
  while (!cancelled()) {
    await wait(POLL_MS, undefined, { ref: false });
  }
  return undefined;
}
