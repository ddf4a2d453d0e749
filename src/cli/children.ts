import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { CancelledError } from '../protocol/errors.js';
import type { AuditProgress, AuditRequest } from '../protocol/audit-request.js';
import type { ProjectPlan } from '../protocol/project-report.js';
import type { PlanParams } from '../protocol/runner-messages.js';
import { MIRROR_VARIABLE } from '../remote/remote-files.js';
import { type CancelSignal, RunnerClient } from '../runner/client.js';
import { RunnerPool } from '../runner/pool.js';
import { childArguments, runtimeEnvironment } from '../runner/runtime.js';

/** The child processes of a command that audits many dumps. */
export interface Children {
  /** What they printed. */
  readonly printed: readonly string[];
  /** @throws CancelledError, UnusableInputError, RunnerCrashedError */
  plan(params: PlanParams): Promise<ProjectPlan>;
  /**
   * @param signal ends it, as the user may
   * @param progress from 0 to 1
   * @throws the same
   */
  auditOne(
    request: AuditRequest & { out: string },
    signal?: AbortSignal,
    progress?: (done: number) => void,
  ): Promise<void>;
  dispose(): void;
}

const CANCEL_POLL_MS = 50;
/** A worker may run for months. */
const MOST_PRINTED = 1000;

/**
 * @param cancelled whether the user has asked to stop
 * @param mirror root of a mirror of an object store, whose files the children read there
 */
export function startChildren(cancelled: () => boolean, mirror?: string): Children {
  const printed: string[] = [];
  const pool = new RunnerPool(() =>
    RunnerClient.start(
      {
        executable: process.execPath,
        args: childArguments(join(__dirname, 'runner.js'), process.env),
        env: { ...runtimeEnvironment('host', process.env), [MIRROR_VARIABLE]: mirror },
      },
      (text) => {
        if (printed.length < MOST_PRINTED) {
          printed.push(text);
        }
      },
    ),
  );
  const running = new Set<() => void>();
  const timer = setInterval(() => {
    // The command line learns of Ctrl+C by asking.
    if (cancelled()) {
      clearInterval(timer);
      for (const cancel of running) {
        cancel();
      }
    }
  }, CANCEL_POLL_MS);
  const withSignal = async <T>(work: (signal: CancelSignal) => Promise<T>, other?: AbortSignal): Promise<T> => {
    const own: (() => void)[] = [];
    const cancel = (): void => {
      for (const listener of own) {
        listener();
      }
    };
    running.add(cancel);
    other?.addEventListener('abort', cancel);
    try {
      return await work({
        get cancelled() {
          return cancelled() || other?.aborted === true;
        },
        onCancel: (listener) => {
          own.push(listener);
        },
      });
    } finally {
      running.delete(cancel);
    }
  };
  return {
    printed,
    plan: (params) => withSignal((signal) => pool.plan(params, signal)),
    auditOne: (request, other, progress) =>
      withSignal(async (signal) => {
        const told = progress && (({ fraction }: AuditProgress): void => progress(fraction));
        if ((await pool.run({ id: randomUUID(), request }, signal, told)).cancelled) {
          throw new CancelledError();
        }
      }, other),
    dispose: () => {
      clearInterval(timer);
      pool.dispose();
    },
  };
}
