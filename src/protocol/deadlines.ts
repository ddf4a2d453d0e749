import { UnusableInputError } from './errors.js';

/** How long files may take to be read before they are given up: what is being read, in the child process, cannot stop itself. */

/** `listing`: one file's directory, names and kind. `dump`: everything before a method runs, tensors included. */
export type Reading = 'listing' | 'dump';

/** Milliseconds. */
export type Deadlines = Readonly<Record<Reading, number>>;

export const DEADLINES: Deadlines = { listing: 60_000, dump: 300_000 };

const WORDS: Record<Reading, { found: string; expected: string; advice: string }> = {
  listing: {
    found: 'a file whose tensors could not be listed',
    expected: 'a file that is listed in seconds',
    advice: 'It is damaged or made to hold readers up, or its disk does not answer: try a copy on a local disk.',
  },
  dump: {
    found: 'a dump that could not be read and matched with its checkpoint',
    expected: 'files that are read in seconds',
    advice:
      'A file is damaged or made to hold readers up, or its disk does not answer: look at each, or try copies on a local disk.',
  },
};

/** The error for a file that was given up. */
export function tookTooLong(file: string, reading: Reading, limitMs: number): UnusableInputError {
  const { found, expected, advice } = WORDS[reading];
  return new UnusableInputError({
    code: 'took-too-long',
    file,
    found: `${found} within ${limitMs / 1000} s`,
    expected,
    advice,
  });
}
