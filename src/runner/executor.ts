import type { AuditProgress, AuditRequest } from '../protocol/audit-request.js';
import type { AuditOutcome } from '../protocol/runner-messages.js';
import type { CancelSignal } from './client.js';

/** One audit that writes its report to a folder. */
export interface Job {
  /** Names it in messages; unique among those that run. */
  readonly id: string;
  readonly request: AuditRequest & { out: string };
}

/** Does audits somewhere: in one child, in several, or on another machine. Whoever has a job need not know where. */
export interface Executor {
  /**
   * @param progress a few times a second, from 0 to 1
   * @throws CancelledError when stopped with nothing found; UnusableInputError; RunnerCrashedError
   */
  run(job: Job, signal: CancelSignal, progress?: (progress: AuditProgress) => void): Promise<AuditOutcome>;
  dispose(): void;
}
