import { AUDIT_STAGES, type AuditProgress, type AuditStage } from '../protocol/audit-request.js';

/** What an audit tells whoever runs it, and asks of them. */
export interface AuditHooks {
  progress(progress: AuditProgress): void;
  /** Lets other work run; throws CancelledError once the user has asked to stop. */
  pause(): Promise<void>;
}

/** Percent of the bar: by the time that stages take where an audit takes minutes, which is the search for inputs and texts. */
const WIDTHS: Record<AuditStage, number> = {
  open: 1,
  match: 1,
  read: 1,
  check: 1,
  recover: 12,
  describe: 4,
  reconstruct: 78,
  write: 2,
};

/** @param share of the stage that is done, 0 to 1 */
export function fractionAt(stage: AuditStage, share = 0): number {
  const before = AUDIT_STAGES.slice(0, AUDIT_STAGES.indexOf(stage)).reduce((sum, own) => sum + WIDTHS[own], 0);
  return (before + share * WIDTHS[stage]) / 100;
}

/** Hooks whose progress never falls, although several methods share a stage and each begins anew. */
export function rising(hooks: AuditHooks): AuditHooks {
  let reached = 0;
  return {
    progress: (progress) => {
      reached = Math.max(reached, progress.fraction);
      hooks.progress({ ...progress, fraction: reached });
    },
    pause: () => hooks.pause(),
  };
}
