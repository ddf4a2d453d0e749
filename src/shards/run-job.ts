import { hostname } from 'node:os';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { finishedReport, auditJob, type AuditOfJob } from '../project/audit-job.js';
import { SameFile, keyOf } from '../project/job-key.js';
import type { FileIdentity, ManifestJob } from '../protocol/manifest.js';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import type { ResultStore } from './result-store.js';

/** One job of a manifest, from its files to its result in the store. */

export interface JobRun {
  readonly root: string;
  /** Brings to the root what is elsewhere; what it returns makes room again. */
  readonly prepare?: (job: ManifestJob) => Promise<() => void>;
  readonly identity: FileIdentity;
  readonly settingsKey: string;
  readonly audit: AuditOfJob;
  readonly store: ResultStore;
}

/** `before`: the result was there; `other`: another machine was faster; `failed`: the store says why. */
export type JobEnd = 'done' | 'before' | 'other' | 'failed';

/**
 * Safe to run twice, at once too: the result of whoever comes first stays.
 *
 * @throws CancelledError when it was stopped: then nothing of it is in the store
 */
export async function runJob(run: JobRun, job: ManifestJob): Promise<JobEnd> {
  const { root, prepare, audit, store } = run;
  if (await store.has(job.id)) {
    return 'before';
  }
  const folder = await store.begin();
  let release: (() => void) | undefined;
  try {
    release = await prepare?.(job);
    await auditJob(audit, { ...job, root }, folder);
    await checkUnchanged(run, job);
    if (finishedReport(folder) === undefined) {
      throw new Error('The audit ended without a report.');
    }
  } catch (error) {
    await store.discard(folder);
    if (error instanceof CancelledError) {
      throw error;
    }
    const reason = await reasonOf(run, job, error);
    await store.fail({
      id: job.id,
      gradients: job.gradients,
      problem: messageOf(reason).split('\n')[0] ?? '',
      isFinal: reason instanceof UnusableInputError && FINAL.has(reason.code),
      attempts: ((await store.failure(job.id))?.attempts ?? 0) + 1,
      host: hostname(),
    });
    return 'failed';
  } finally {
    release?.();
  }
  return (await store.commit(job.id, folder)) ? 'done' : 'other';
}

/** Where files are not as they were planned, what is wrong with them is not wrong with the job. */
async function reasonOf(run: JobRun, job: ManifestJob, error: unknown): Promise<unknown> {
  if (error instanceof UnusableInputError && FINAL.has(error.code)) {
    try {
      await checkUnchanged(run, job);
    } catch (changed) {
      return changed;
    }
  }
  return error;
}

/** What is wrong with the contents of files stays wrong; a missing mount, a full disk or a crash does not. */
const FINAL: ReadonlySet<string> = new Set([
  'not-a-tensor-file',
  'truncated-file',
  'zip-bomb',
  'size-lie',
  'malformed-file',
  'pickle-limit',
  'unsupported-tensor',
  'tensor-too-large',
  'same-file',
  'swapped-files',
  'not-a-gradient',
  'no-match',
  'ambiguous-match',
  'shape-mismatch',
  'no-head',
  'several-heads',
  'single-class',
  'not-finite',
  'all-zero',
  'other-checkpoint',
  'bad-network',
  'unsupported-operation',
  'unsupported-dump',
] satisfies UnusableInputError['code'][]);

/** A result under the key of other contents would be a wrong one. @throws UnusableInputError */
async function checkUnchanged({ root, identity, settingsKey }: JobRun, job: ManifestJob): Promise<void> {
  const found = await keyOf(root, job, settingsKey, new SameFile(identity, undefined, () => Promise.resolve()));
  if (found !== job.id) {
    throw new UnusableInputError({
      code: 'changed-file',
      file: resolve(root, job.gradients),
      found: 'a gradient, a checkpoint or notes beside them that are not as they were planned',
      expected: 'the files that were planned',
      advice: 'Plan again.',
    });
  }
}

/** @throws UnusableInputError where this machine does not see the project */
export function checkRoot(root: string): void {
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: root,
      found: 'no such folder on this machine',
      expected: 'the project that was planned',
      advice: 'Mount it under the same path, or say with --root where this machine has it.',
    });
  }
}
