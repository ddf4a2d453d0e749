import type { JobFailure, ManifestJob } from '../protocol/manifest.js';
import { CancelledError } from '../protocol/errors.js';
import type { Manifest, Shard } from './manifest.js';
import { type JobEnd, type JobRun, runJob } from './run-job.js';

/** The share of one machine: jobs of a manifest, a few at a time. */

export interface ShardRun extends Omit<JobRun, 'identity' | 'settingsKey'> {
  readonly manifest: Manifest;
  readonly shard: Shard;
  readonly concurrency: number;
  /** Whether jobs that failed for good are tried again. */
  readonly retry: boolean;
  /** Told of each job that has no result. */
  readonly failed: (failure: JobFailure) => void;
  progress(message: string): void;
  cancelled(): boolean;
}

export type ShardTotals = Record<JobEnd | 'failed-before', number>;

/** @returns how many jobs ended how; a stopped run goes on from there when it is run again */
export async function runShard(run: ShardRun): Promise<ShardTotals> {
  const { manifest, shard, store } = run;
  const totals: ShardTotals = { done: 0, before: 0, other: 0, failed: 0, 'failed-before': 0 };
  const of = share(manifest.head.jobs, shard);
  await store.tidy();
  await store.keepManifest(manifest.path);
  const jobs = manifest.jobs(shard);
  const say = (name: string): void => {
    const ended = Object.values(totals).reduce((sum, own) => sum + own, 0);
    run.progress(`${ended} of ${of}: ${name}`);
  };
  const work = async (): Promise<void> => {
    for (let next = await jobs.next(); next.done !== true && !run.cancelled(); next = await jobs.next()) {
      const end = await ended(run, next.value);
      totals[end]++;
      const failure = end === 'failed' || end === 'failed-before' ? await store.failure(next.value.id) : undefined;
      if (failure) {
        run.failed(failure);
      }
      say(next.value.gradients);
    }
  };
  const working = await Promise.allSettled(Array.from({ length: Math.max(1, run.concurrency) }, work));
  await jobs.return(undefined);
  const broken = working.find((own) => own.status === 'rejected');
  if (broken && !(run.cancelled() && broken.reason instanceof CancelledError)) {
    throw broken.reason;
  }
  return totals;
}

async function ended(run: ShardRun, job: ManifestJob): Promise<JobEnd | 'failed-before'> {
  const { store, retry } = run;
  const failure = retry ? undefined : await store.failure(job.id);
  const { identity, settingsKey } = run.manifest.head;
  return failure?.isFinal === true ? 'failed-before' : runJob({ ...run, identity, settingsKey }, job);
}

/** Jobs of a shard. */
export function share(jobs: number, { index, of }: Shard): number {
  return Math.max(0, Math.ceil((jobs - index + 1) / of));
}
