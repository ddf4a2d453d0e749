import { join } from 'node:path';
import type { ProjectEntry } from '../protocol/project-report.js';
import type { RunningAudit } from './running-audits.js';
import type { StoredAudit } from './audit-store.js';

/** Audits as lists name them, single ones and those of a workspace, for what can be done with either. */

/** What a row, a panel or a list stands for. */
export interface AuditSubject {
  readonly id: string;
  readonly gradients: string;
  /** Undefined where the gradient was audited alone. */
  readonly checkpoint: string | undefined;
  readonly hasReport: boolean;
  /** Undefined for a single audit; of a workspace's, what its plan found beside the dump. */
  readonly entry?: { readonly truth: string | undefined; readonly network: string | undefined };
}

export type AuditRow = StoredAudit | RunningAudit | ProjectEntry;

export function isRunning(row: object): row is RunningAudit {
  return 'stop' in row;
}

/** A row of the workspace's tree that is no audit: a run, which holds several. */
export function isAudit(row: object): row is AuditRow {
  return 'id' in row && 'gradients' in row;
}

export function subjectOfStored({ id, gradients, checkpoint }: StoredAudit): AuditSubject {
  return { id, gradients, checkpoint, hasReport: true };
}

/** @param root of the project, to which the entry's paths are relative */
export function subjectOfEntry(entry: ProjectEntry, root: string): AuditSubject {
  const within = (path: string | null): string | undefined => (path === null ? undefined : join(root, path));
  return {
    id: entry.id,
    gradients: join(root, entry.gradients),
    checkpoint: join(root, entry.checkpoint),
    hasReport: entry.result !== null,
    entry: { truth: within(entry.truth), network: within(entry.network) },
  };
}

/** What a row's menu goes by, as words of its context value. */
export function contextOf(own: {
  readonly isSingle: boolean;
  readonly hasReport: boolean;
  readonly hasCheckpoint: boolean;
  readonly hasScript: boolean;
}): string {
  return [
    'audit',
    ...(own.isSingle ? ['single'] : []),
    ...(own.hasReport ? ['report'] : []),
    ...(own.hasCheckpoint ? ['checkpoint'] : []),
    ...(own.hasScript ? ['script'] : []),
  ].join(' ');
}
