import type { AuditProgress } from '../protocol/audit-request.js';
import { Listeners } from './listeners.js';

/** Audits of this window that run, whoever started them: for the panel, the list and the status bar. */

export interface RunningAudit {
  /** The audit's id in the store. */
  readonly id: string;
  readonly gradients: string;
  /** What is found until then is kept. */
  readonly stop: () => void;
  readonly progress: AuditProgress;
}

export interface RunEvent {
  readonly id: string;
  readonly what: 'begun' | 'advanced' | 'ended';
}

/** One object from beginning to end, by which lists know its row. */
type Advancing = Omit<RunningAudit, 'progress'> & { progress: AuditProgress };

const BEGINNING: AuditProgress = { stage: 'open', message: 'Starting', fraction: 0 };

export class RunningAudits {
  private readonly running = new Map<string, Advancing>();
  private readonly listeners = new Listeners<RunEvent>();

  /** Called after each change. */
  readonly onDidChange = this.listeners.on;

  begin(audit: Omit<RunningAudit, 'progress'>): void {
    this.running.set(audit.id, { ...audit, progress: BEGINNING });
    this.listeners.tell({ id: audit.id, what: 'begun' });
  }

  /** Of an audit that has ended, nothing is taken any more. */
  advance(id: string, progress: AuditProgress): void {
    const run = this.running.get(id);
    if (run) {
      run.progress = progress;
      this.listeners.tell({ id, what: 'advanced' });
    }
  }

  end(id: string): void {
    if (this.running.delete(id)) {
      this.listeners.tell({ id, what: 'ended' });
    }
  }

  get(id: string): RunningAudit | undefined {
    return this.running.get(id);
  }

  /** Newest first. */
  list(): RunningAudit[] {
    return [...this.running.values()].reverse();
  }
}
