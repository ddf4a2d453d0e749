import { randomUUID } from 'node:crypto';
import type { AuditRequest } from '../protocol/audit-request.js';
import { CancelledError } from '../protocol/errors.js';
import { type CancelSignal, type RunnerClient, RunnerCrashedError } from './client.js';

/** A few child processes that share the audits of a project; one that ends is replaced. */
export class RunnerPool {
  private readonly idle: RunnerClient[] = [];
  private readonly all = new Set<RunnerClient>();

  /** @param start starts one more child */
  constructor(private readonly start: () => Promise<RunnerClient>) {}

  /**
   * One audit in a child of its own.
   *
   * @returns whether it was stopped; its report then holds what was found until then
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async audit(request: AuditRequest & { out: string }, signal: CancelSignal): Promise<{ cancelled: boolean }> {
    const client = await this.take();
    try {
      const { cancelled } = await client.audit({ id: randomUUID(), request }, () => undefined, signal);
      return { cancelled };
    } catch (error) {
      if (error instanceof RunnerCrashedError && signal.cancelled) {
        throw new CancelledError();
      }
      throw error;
    } finally {
      if (client.alive) {
        this.idle.push(client);
      } else {
        this.all.delete(client);
      }
    }
  }

  /** A child for something else than an audit; it stays in the pool. */
  async any(): Promise<RunnerClient> {
    const client = await this.take();
    this.idle.push(client);
    return client;
  }

  private async take(): Promise<RunnerClient> {
    for (let client = this.idle.pop(); client; client = this.idle.pop()) {
      if (client.alive) {
        return client;
      }
      this.all.delete(client);
    }
    const started = await this.start();
    this.all.add(started);
    return started;
  }

  dispose(): void {
    for (const client of this.all) {
      client.dispose();
    }
    this.all.clear();
    this.idle.length = 0;
  }
}
