import { spawn } from 'node:child_process';
import { DEADLINES, type Deadlines, type Reading, tookTooLong } from '../protocol/deadlines.js';
import { CancelledError } from '../protocol/errors.js';
import { visible } from '../words/visible.js';
import { EXIT } from './exit-code.js';
import { renderError } from './render-error.js';

/**
 * The command in a child of its own: a signal that comes while the child is deep in a computation, or in a file that holds
 * it up, ends it nevertheless.
 */

/** Set for the child. */
export const SUPERVISED = 'GRADLEAK_SUPERVISED';
/** What the child sends. */
export interface Told {
  /** It ends children of its own, which may take longer. */
  readonly patience?: true;
  /** It has heard of the stop, and is writing what it has. */
  readonly heard?: true;
  /** What it reads from now on, which may hold it up; null when that is over. */
  readonly reading?: { readonly path: string; readonly what: Reading } | null;
}

/** To hear of a stop. */
const GRACE_MS = 2000;
/** To tell what was found until then: certificates of large networks take seconds where other work runs beside. */
const REPORT_MS = 15_000;
const OUT_OF_MEMORY =
  ' Systems do that where memory runs out: run it with more, or with less to do (--attack none leaves the input aside).';

/**
 * @param script of this command
 * @param deadlines after which a child that reads a file is ended
 * @returns the exit code
 */
export function supervise(script: string, args: readonly string[], deadlines: Deadlines = DEADLINES): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [SUPERVISED]: '1' },
  });
  let isPatient = false;
  let hasHeard = false;
  let isCancelled = false;
  let problem: string | undefined;
  let deadline: NodeJS.Timeout | undefined;
  const cancel = (): void => {
    if (isCancelled) {
      child.kill('SIGKILL');
      return;
    }
    isCancelled = true;
    child.kill('SIGINT');
    setTimeout(() => {
      if (hasHeard && !isPatient) {
        process.stderr.write('Stopping: what was found until then is being told. Ctrl+C again ends it at once.\n');
        setTimeout(() => child.kill('SIGKILL'), REPORT_MS).unref();
      } else if (!isPatient) {
        child.kill('SIGKILL');
      }
    }, GRACE_MS).unref();
  };
  const terminate = (): void => {
    isCancelled = true;
    child.kill('SIGKILL');
  };
  child.on('message', ({ patience, heard, reading }: Told) => {
    isPatient ||= patience === true;
    hasHeard ||= heard === true;
    if (reading !== undefined) {
      clearTimeout(deadline);
    }
    if (reading) {
      const limit = deadlines[reading.what];
      deadline = setTimeout(() => {
        problem = renderError(tookTooLong(reading.path, reading.what, limit));
        child.kill('SIGKILL');
      }, limit);
    }
  });
  process.on('SIGINT', cancel);
  process.on('SIGTERM', terminate);
  return new Promise((resolve) => {
    child.on('error', (error) => {
      process.stderr.write(`gradleak: its process could not be started (${error.message}).\n`);
      resolve(EXIT.fault);
    });
    child.on('close', (code, signal) => {
      process.off('SIGINT', cancel);
      process.off('SIGTERM', terminate);
      clearTimeout(deadline);
      if (code !== null) {
        resolve(code);
        return;
      }
      // It may have heard of Ctrl+C first.
      if (isCancelled || signal === 'SIGINT') {
        process.stderr.write(`${new CancelledError().message}\n`);
        resolve(EXIT.cancelled);
      } else if (problem !== undefined) {
        process.stderr.write(visible(problem));
        resolve(EXIT.unusable);
      } else {
        const why = signal === 'SIGKILL' || signal === 'SIGABRT' ? OUT_OF_MEMORY : '';
        process.stderr.write(`gradleak: its process was ended by ${signal ?? 'a signal'}.${why}\n`);
        resolve(EXIT.fault);
      }
    });
  });
}
