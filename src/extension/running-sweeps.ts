import type { DefendProgress } from '../protocol/defend-request.js';
import { Listeners } from './listeners.js';

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

interface Sweep {
  progress: DefendProgress;
  readonly stop: () => void;
  looked: number;
  readonly ended: Promise<void>;
  readonly end: () => void;
}

export class RunningSweeps {
  private readonly running = new Map<string, Sweep>();
  private readonly listeners = new Listeners<SweepEvent>();
  readonly onDidChange = this.listeners.on;

  /** @param id of the audit in the store */
  begin(id: string, stop: () => void): void {
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    this.running.set(id, { progress: BEGINNING, stop, looked: Date.now(), ended, end });
    this.listeners.tell({ id, what: 'advanced' });
  }

  advance(id: string, progress: DefendProgress): void {
    const own = this.running.get(id);
    if (own) {
      own.progress = progress;
      const isDue = Date.now() - own.looked > LOOKED_EVERY_MS;
      own.looked = isDue ? Date.now() : own.looked;
      this.listeners.tell({ id, what: isDue ? 'written' : 'advanced' });
    }
  }

  /** @param problem why it could not be done, a sentence */
  end(id: string, problem?: string): void {
    const own = this.running.get(id);
    this.running.delete(id);
    own?.end();
    this.listeners.tell(problem === undefined ? { id, what: 'ended' } : { id, what: 'failed', problem });
  }

  get(id: string): RunningSweep | undefined {
    return this.running.get(id);
  }

  /** Before the audit's folder goes: what is left running would write into it. */
  async stop(id: string): Promise<void> {
    const own = this.running.get(id);
    own?.stop();
    await own?.ended;
  }
}
