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

/** A number of at least `least`; undefined when the option is not given. */
export function numberOption(
  value: (name: string) => string | undefined,
  name: string,
  least: number,
): number | undefined {
  const given = value(name);
  if (given === undefined) {
    return undefined;
  }
  const parsed = Number(given);
  if (given.trim() === '' || !Number.isFinite(parsed) || parsed < least) {
    throw badArguments(`--${name} ${given}`, `a number of at least ${least}`);
  }
  return parsed;
}

/** The same for a whole number. */
export function wholeOption(
  value: (name: string) => string | undefined,
  name: string,
  least: number,
): number | undefined {
  const parsed = numberOption(value, name, least);
  if (parsed !== undefined && !Number.isInteger(parsed)) {
    throw badArguments(`--${name} ${parsed}`, 'a whole number');
  }
  return parsed;
}
