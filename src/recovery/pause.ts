import { CancelledError } from '../protocol/errors.js';

/**
 * What long work calls between its steps, several times a second, with what it has reached: lets other work run, and
 * throws CancelledError once the user has asked to stop. Work that has something to keep catches that, and returns it.
 */
export type Pause<Reached = void> = (reached: Reached) => Promise<void>;

/** Whether an error is the user's wish to stop; any other is thrown on. */
export function isStop(error: unknown): boolean {
  return error instanceof CancelledError;
}
