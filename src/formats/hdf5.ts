import { UnusableInputError } from '../protocol/errors.js';
import { type Ending, askProcess } from './throw-away-process.js';

/**
 * HDF5 files, read by the HDF Group's C library as WebAssembly. A damaged file makes it loop, abort or write over its own
 * memory, so each file gets a process of its own (`hdf5-reader.ts`).
 */

/** From the process: the text, `null` where there is no such attribute, or what was found instead. */
export type Hdf5Answer = { text: string | null } | { found: string };

const DEADLINE_MS = 20_000;

export interface Hdf5Reading {
  /** A longer text is refused. */
  readonly maxBytes: number;
  readonly deadlineMs?: number;
  /** Called while it is waited for; what it throws ends the reading. */
  readonly pause?: () => Promise<void>;
}

/**
 * @returns an attribute of the root that is one text; undefined when there is none of that name
 * @throws UnusableInputError when the file cannot be read, in time or at all; what `pause` throws
 */
export async function readHdf5Text(path: string, attribute: string, options: Hdf5Reading): Promise<string | undefined> {
  const { maxBytes, deadlineMs = DEADLINE_MS, pause } = options;
  const ending = await askProcess({
    script: 'hdf5-reader.mjs',
    args: [path, attribute, String(maxBytes)],
    deadlineMs,
    // Characters that JSON escapes take six bytes.
    maxAnswerBytes: 6 * maxBytes + 2 ** 20,
    ...(pause ? { pause } : {}),
  });
  const answer = answerOf(ending);
  if ('found' in answer) {
    throw new UnusableInputError({
      code: ending.how === 'late' ? 'took-too-long' : 'malformed-file',
      file: path,
      found: answer.found,
      expected: `an HDF5 file whose ${attribute} can be read`,
      advice: 'The file is damaged or made to hold readers up: save it again, or give the network in another format.',
    });
  }
  return answer.text ?? undefined;
}

function isAnswer(value: unknown): value is Hdf5Answer {
  return (
    typeof value === 'object' &&
    value !== null &&
    (('text' in value && (value.text === null || typeof value.text === 'string')) ||
      ('found' in value && typeof value.found === 'string'))
  );
}

function answerOf(ending: Ending): Hdf5Answer {
  switch (ending.how) {
    case 'answered':
      return isAnswer(ending.answer)
        ? ending.answer
        : { found: 'a file after which the HDF5 library answers what is no answer' };
    case 'late':
      return { found: `a file that the HDF5 library does not get done with (${ending.detail})` };
    case 'crashed':
      return { found: `a file that the HDF5 library fails on (${ending.detail})` };
  }
}
