import type { AuditRequest } from './audit-request.js';
import type { DefenceEffort, DefenceTarget } from './defence-report.js';

/** What a sweep of defences is asked to do; the same for command line and editor. */
export interface DefendRequest {
  /** The undefended audit. A `truth` takes no part. */
  audit: AuditRequest;
  /** Folder for `defence.json` and its pictures, the audit's own or another; nothing is written when absent. */
  out?: string;
  effort: DefenceEffort;
  target?: DefenceTarget['asked'];
  /** For the privacy statement of a level that meets the target. */
  privacy?: PrivacyRounds;
  /** Ids of defences; all when absent. */
  defences?: string[];
  /** Everything together ends after this long with what it has; by the effort when absent. */
  timeLimitSeconds?: number;
}

export interface PrivacyRounds {
  /** `DEFAULT_DELTA` when absent. */
  delta?: number;
  /** Releases of such updates, and the probability that a unit takes part in each; 1 when absent. */
  rounds?: number;
  samplingRate?: number;
}

export const DEFAULT_DELTA = 1e-5;

export interface DefendProgress {
  /** For people: "Gaussian noise, 0.03 of the norm". */
  message: string;
  /** 0 to 1, never falling. */
  fraction: number;
}
