import { type CancellationToken, ResponseError } from 'vscode-jsonrpc';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import { RUNNER_ERRORS } from '../protocol/runner-messages.js';

/** How a child answers: with what was done, or with why not. */

export async function answered<T>(work: () => T | Promise<T>): Promise<T | ResponseError<UnusableInputError['parts']>> {
  try {
    return await work();
  } catch (error) {
    return toResponseError(error);
  }
}

/** A macrotask, so that the cancel message can be read in between. */
export function pausing(token: CancellationToken): () => Promise<void> {
  return async () => {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    if (token.isCancellationRequested) {
      throw new CancelledError();
    }
  };
}

function toResponseError(error: unknown): ResponseError<UnusableInputError['parts']> {
  if (error instanceof CancelledError) {
    return new ResponseError(RUNNER_ERRORS.cancelled, error.message);
  }
  if (error instanceof UnusableInputError) {
    return new ResponseError(RUNNER_ERRORS.unusableInput, error.message, error.parts);
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return new ResponseError(RUNNER_ERRORS.fault, detail);
}
