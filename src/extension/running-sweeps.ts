import type { DefendProgress } from '../protocol/defend-request.js';

/** Defences that are being tried on audits of this window. */

export interface RunningSweep {
  readonly progress: DefendProgress;
  /** What is found until then is kept. */
  readonly stop: () => void;
}

/** `written`: its file holds more than before. */
export type SweepEvent = { readonly id: string } & (
  { readonly what: 'advanced' | 'written' | 'ended' } | { readonly what: 'failed'; readonly problem: string }
);

const BEGINNING: DefendProgress = { message: 'Starting', fraction: 0 };
/** Between two times that a panel looks at what was written. */
const LOOKED_EVERY_MS = 2500;

export class RunningSweeps {
  private readonly running = new Map<string, { progress: DefendProgress; stop: () => void; looked: number }>();
  private readonly listeners = new Set<(event: SweepEvent) => void>();

  readonly onDidChange = (listener: (event: SweepEvent) => void): { dispose: () => void } => {
    this.listeners.add(listener);
    return { dispose: () => void this.listeners.delete(listener) };
  };

  /** @param id of the audit in the store */
  begin(id: string, stop: () => void): void {
    this.running.set(id, { progress: BEGINNING, stop, looked: Date.now() });
    this.tell({ id, what: 'advanced' });
  }

  advance(id: string, progress: DefendProgress): void {
    const own = this.running.get(id);
    if (own) {
      own.progress = progress;
      const isDue = Date.now() - own.looked > LOOKED_EVERY_MS;
      own.looked = isDue ? Date.now() : own.looked;
      this.tell({ id, what: isDue ? 'written' : 'advanced' });
    }
  }

  /** @param problem why it could not be done, a sentence */
  end(id: string, problem?: string): void {
    this.running.delete(id);
    this.tell(problem === undefined ? { id, what: 'ended' } : { id, what: 'failed', problem });
  }

  get(id: string): RunningSweep | undefined {
    return this.running.get(id);
  }

  private tell(event: SweepEvent): void {
    for (const listener of this.listeners) {
      listener(event);
    }
  }
}
