import { setTimeout as wait } from 'node:timers/promises';
import type { AuditProgress } from '../protocol/audit-request.js';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import type { ProjectPlan } from '../protocol/project-report.js';
import type { AuditOutcome, PlanParams } from '../protocol/runner-messages.js';
import { type CancelSignal, type RunnerClient, RunnerCrashedError } from './client.js';
import type { Executor, Job } from './executor.js';

/** A few child processes that share the audits of a project; one that ends is replaced. */
export class RunnerPool implements Executor {
  private readonly idle: RunnerClient[] = [];
  private readonly all = new Set<RunnerClient>();

  /** @param start starts one more child */
  constructor(private readonly start: () => Promise<RunnerClient>) {}

  /** In a child of its own. */
  async run(
    job: Job,
    signal: CancelSignal,
    progress: (progress: AuditProgress) => void = () => undefined,
  ): Promise<AuditOutcome> {
    let client: RunnerClient | undefined;
    try {
      client = await this.take();
      return await client.audit(job, progress, signal);
    } catch (error) {
      throw await causeOf(error, signal);
    } finally {
      if (client?.alive === true) {
        this.idle.push(client);
      } else if (client) {
        this.all.delete(client);
      }
    }
  }

  /**
   * Plans a project. A file that holds its reader up is left out, and the plan is made again without it.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async plan(params: PlanParams, signal: CancelSignal): Promise<ProjectPlan> {
    const leftOut = [...(params.leftOut ?? [])];
    for (;;) {
      try {
        return await (await this.any()).plan({ ...params, leftOut }, signal);
      } catch (error) {
        const file = error instanceof UnusableInputError && error.code === 'took-too-long' ? error.parts.file : '';
        if (file === '' || leftOut.some(({ path }) => path === file)) {
          throw await causeOf(error, signal);
        }
        leftOut.push({ path: file, reason: messageOf(error) });
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

/** Ctrl+C in a terminal reaches the children too, and the news of one that it ended may come first. */
const SIGNAL_ON_ITS_WAY_MS = 100;

async function causeOf(error: unknown, signal: CancelSignal): Promise<unknown> {
  if (error instanceof RunnerCrashedError && !signal.cancelled) {
    await wait(SIGNAL_ON_ITS_WAY_MS);
  }
  return signal.cancelled && !(error instanceof UnusableInputError) ? new CancelledError() : error;
}
