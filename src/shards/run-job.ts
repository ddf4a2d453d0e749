import { hostname } from 'node:os';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { finishedReport, auditJob, type AuditOfJob } from '../project/audit-job.js';
import type { ManifestJob } from '../protocol/manifest.js';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import type { ResultStore } from './result-store.js';

/** One job of a manifest, from its files to its result in the store. */

export interface JobRun {
  readonly root: string;
  /** Brings to the root what is elsewhere; what it returns makes room again. */
  readonly prepare?: (job: ManifestJob) => Promise<() => void>;
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
export async function runJob({ root, prepare, audit, store }: JobRun, job: ManifestJob): Promise<JobEnd> {
  if (await store.has(job.id)) {
    return 'before';
  }
  const folder = await store.begin();
  let release: (() => void) | undefined;
  try {
    release = await prepare?.(job);
    checkUnchanged(root, job);
    await auditJob(audit, { ...job, root }, folder);
    checkUnchanged(root, job);
    if (finishedReport(folder) === undefined) {
      throw new Error('The audit ended without a report.');
    }
  } catch (error) {
    await store.discard(folder);
    if (error instanceof CancelledError) {
      throw error;
    }
    await store.fail({
      id: job.id,
      gradients: job.gradients,
      problem: messageOf(error).split('\n')[0] ?? '',
      isFinal: error instanceof UnusableInputError && FINAL.has(error.code),
      attempts: ((await store.failure(job.id))?.attempts ?? 0) + 1,
      host: hostname(),
    });
    return 'failed';
  } finally {
    release?.();
  }
  return (await store.commit(job.id, folder)) ? 'done' : 'other';
}

/** What is wrong with the contents of files stays wrong; a missing mount, a full disk or a crash does not. */
const FINAL: ReadonlySet<string> = new Set([
  'not-a-tensor-file',
  'truncated-file',
  'changed-file',
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

/** A result under the key of other contents would be a wrong one. */
function checkUnchanged(root: string, { gradients, bytes, changed }: ManifestJob): void {
  const path = resolve(root, gradients);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: path,
      found: 'no such file',
      expected: 'the gradient that was planned',
      advice: 'Check that this machine sees the files under the same path, or give --root.',
    });
  }
  if (stat.size !== bytes || stat.mtimeMs !== changed) {
    throw new UnusableInputError({
      code: 'changed-file',
      file: path,
      found: 'a file that was written to since it was planned',
      expected: 'the gradient that was planned',
      advice: 'Plan again.',
    });
  }
}
