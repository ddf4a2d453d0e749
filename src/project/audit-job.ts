import { resolve } from 'node:path';
import { REPORT_FILE, readStored } from '../audit/output.js';
import { isOwnOutput } from '../audit/output-folder.js';
import { upgradeReport } from '../audit/upgrade-report.js';
import type { AuditRequest } from '../protocol/audit-request.js';
import { UnusableInputError } from '../protocol/errors.js';
import type { ProjectEntry } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';

/** One audit of many: what is asked for, and what came of it. */

export interface AuditOfJob {
  /** Settings of every audit. */
  readonly settings: Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'>;
  /** Does one audit, wherever; throws CancelledError when it was stopped. */
  auditOne(request: AuditRequest & { out: string }): Promise<void>;
}

/** Paths are relative to the root. */
export type JobFiles = Pick<ProjectEntry, 'gradients' | 'checkpoint' | 'truth' | 'network'> & { readonly root: string };

/** @param folder that the report is written to @throws what the audit throws */
export async function auditJob(
  audit: AuditOfJob,
  { root, gradients, checkpoint, truth, network }: JobFiles,
  folder: string,
): Promise<void> {
  const { settings } = audit;
  const request = {
    ...settings,
    checkpoint: resolve(root, checkpoint),
    gradients: resolve(root, gradients),
    ...(truth === null ? {} : { truth: resolve(root, truth) }),
    out: folder,
  };
  const { reconstruction } = settings;
  if (network === null || !reconstruction || reconstruction.model !== undefined) {
    await audit.auditOne(request);
    return;
  }
  const model = resolve(root, network);
  await audit.auditOne({ ...request, reconstruction: { ...reconstruction, model } }).catch(async (error: unknown) => {
    // The network was only found nearby: that it does not fit must not take the audit away.
    if (!(error instanceof UnusableInputError)) {
      throw error;
    }
    await audit.auditOne(request);
  });
}

/**
 * The report in a folder, as it was written and of an audit that was not stopped. The folder's name is the key of contents,
 * options and version; the report in it must be the one that was written.
 */
export function finishedReport(folder: string): Report | undefined {
  const report = isOwnOutput(folder, REPORT_FILE) ? upgradeReport(readStored(folder)) : undefined;
  return report?.cancelled === true ? undefined : report;
}
