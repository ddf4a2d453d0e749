import { EngineError } from '../../engine/engine.js';
import { UnusableInputError } from '../../protocol/errors.js';

/**
 * What to tell a user for whom no engine works.
 *
 * @throws UnusableInputError for an EngineError, else the error itself
 */
export function noEngine(error: unknown): never {
  if (!(error instanceof EngineError)) {
    throw error;
  }
  throw new UnusableInputError({
    code: 'no-engine',
    file: 'engine',
    found: error.message,
    expected: 'an engine that computes',
    advice: 'See which engines work here and what the others need.',
  });
}
