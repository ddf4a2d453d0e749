import { parseArgs } from 'node:util';
import { closestMatch } from 'leven';
import { UnusableInputError, messageOf } from '../protocol/errors.js';

/** Reading the command line, and checks of single arguments. */

export type Options = Readonly<
  Record<string, { readonly type: 'string' | 'boolean'; readonly default?: string | boolean }>
>;

export interface Arguments {
  readonly values: Record<string, unknown>;
  readonly positionals: string[];
}

/** @throws UnusableInputError for an option that is not one of these, or lacks its value */
export function parse(args: readonly string[], options: Options): Arguments {
  const given = { args: [...args], options, allowPositionals: true };
  const { tokens } = parseArgs({ ...given, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === 'option' && !Object.hasOwn(options, token.name)) {
      const known = Object.keys(options).map((name) => `--${name}`);
      throw badArguments(`the option ${token.rawName}`, 'an option of this command', didYouMean(token.rawName, known));
    }
  }
  try {
    return parseArgs({ ...given, strict: true });
  } catch (error) {
    throw badArguments(messageOf(error).split('\n')[0] ?? '', 'the options that "gradleak --help" lists');
  }
}

/** The options that take a text, by their names. */
export function textOf(values: Record<string, unknown>): (name: string) => string | undefined {
  return (name) => {
    const value = values[name];
    return typeof value === 'string' ? value : undefined;
  };
}

/** `Did you mean "audit"?`, or nothing where no word is near. */
export function didYouMean(given: string, known: readonly string[]): string | undefined {
  const near = known.find((own) => given.length > 1 && own.startsWith(given));
  const meant = near ?? closestMatch(given, known, { maxDistance: Math.ceil(given.length / 3) });
  return meant === undefined ? undefined : `Did you mean ${meant}?`;
}

/** @throws UnusableInputError when the value is none of the allowed ones */
export function oneOf<T extends string>(
  option: string,
  value: string | undefined,
  allowed: readonly T[],
): T | undefined {
  const match = allowed.find((candidate) => candidate === value);
  if (value !== undefined && match === undefined) {
    throw badArguments(`${option} ${value}`, allowed.join(', '), didYouMean(value, allowed));
  }
  return match;
}

/** The error for arguments that cannot be used. @param advice undefined for the way to the help */
export function badArguments(found: string, expected: string, advice?: string): UnusableInputError {
  return new UnusableInputError({
    code: 'bad-arguments',
    file: 'command line',
    found,
    expected,
    advice: advice ?? 'See "gradleak --help".',
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
