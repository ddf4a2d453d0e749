import { UnusableInputError } from '../protocol/errors.js';

/** Checks of single arguments. */

/** @throws UnusableInputError when the value is none of the allowed ones */
export function oneOf<T extends string>(
  option: string,
  value: string | undefined,
  allowed: readonly T[],
): T | undefined {
  const match = allowed.find((candidate) => candidate === value);
  if (value !== undefined && match === undefined) {
    throw badArguments(`${option} ${value}`, allowed.join(', '));
  }
  return match;
}

/** The error for arguments that cannot be used. */
export function badArguments(found: string, expected: string): UnusableInputError {
  return new UnusableInputError({
    code: 'bad-arguments',
    file: 'command line',
    found,
    expected,
    advice: 'See "gradleak --help".',
  });
}
