import { spawn } from 'node:child_process';

/**
 * The command in a child of its own: a signal that comes while the child is deep in a computation, or in a file that holds
 * it up, ends it nevertheless.
 */

/** Set for the child. */
export const SUPERVISED = 'GRADLEAK_SUPERVISED';
/** What the child sends when it ends children of its own, which may take longer. */
export const PATIENCE = 'patience';
const GRACE_MS = 2000;
const CANCELLED = 130;

/**
 * @param script of this command
 * @returns the exit code
 */
export function supervise(script: string, args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [SUPERVISED]: '1' },
  });
  let isPatient = false;
  let isCancelled = false;
  const cancel = (): void => {
    if (isCancelled) {
      child.kill('SIGKILL');
      return;
    }
    isCancelled = true;
    child.kill('SIGINT');
    setTimeout(() => {
      if (!isPatient) {
        child.kill('SIGKILL');
      }
    }, GRACE_MS).unref();
  };
  const terminate = (): void => {
    isCancelled = true;
    child.kill('SIGKILL');
  };
  child.on('message', (message) => {
    isPatient ||= message === PATIENCE;
  });
  process.on('SIGINT', cancel);
  process.on('SIGTERM', terminate);
  return new Promise((resolve) => {
    child.on('error', (error) => {
      process.stderr.write(`gradleak: its process could not be started (${error.message}).\n`);
      resolve(3);
    });
    child.on('close', (code, signal) => {
      process.off('SIGINT', cancel);
      process.off('SIGTERM', terminate);
      if (code !== null) {
        resolve(code);
        return;
      }
      process.stderr.write(
        isCancelled
          ? 'Cancelled.\n'
          : `gradleak: its process was ended by ${signal ?? 'a signal'}; too little memory?\n`,
      );
      resolve(isCancelled ? CANCELLED : 3);
    });
  });
}
