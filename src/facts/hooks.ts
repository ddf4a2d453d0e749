import type { AuditProgress } from '../protocol/audit-request.js';

/** What an audit tells whoever runs it, and asks of them. */
export interface AuditHooks {
  progress(progress: AuditProgress): void;
  /** Lets other work run; throws CancelledError once the user has asked to stop. */
  pause(): Promise<void>;
}
