import { totalmem } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { UnusableInputError } from '../protocol/errors.js';

/** Memory is asked for before it is taken: a system that has none left ends the process, and with it all that was found. */

/** Less is taken without asking. */
const SMALL = 16 * 2 ** 20;
/** For the heap, the libraries, and the process that waits for this one. */
const RESERVED = 128 * 2 ** 20;

export interface MemoryDemand {
  readonly bytes: number;
  readonly file: string;
  /** What it is for; the sentence begins "found" and goes on with "that needs ... of memory". */
  readonly what: string;
}

/**
 * What this process may take: a container's or control group's bound where there is one, else all of the machine's.
 *
 * @returns bytes
 */
export function memoryLimit(): number {
  // Zero, or more than any machine has, where nothing bounds it.
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** @throws UnusableInputError when so many bytes are surely not to be had */
export function requireMemory({ bytes, file, what }: MemoryDemand): void {
  if (bytes < SMALL) {
    return;
  }
  const limit = memoryLimit();
  const left = (): number => limit - RESERVED - process.memoryUsage.rss();
  if (bytes <= left()) {
    return;
  }
  collectGarbage();
  if (bytes > left()) {
    throw new UnusableInputError({
      code: 'too-little-memory',
      file,
      found: `${what} that needs ${megabytes(bytes)} of memory`,
      expected: `at most the ${megabytes(Math.max(0, left()))} that are left of ${megabytes(limit)}`,
      advice: 'Run it with more memory, or leave this tensor out of the files.',
    });
  }
}

/** A fresh array of zeros. @throws UnusableInputError when the system refuses the memory */
export function takeNumbers(count: number, demand: Omit<MemoryDemand, 'bytes'>): Float64Array {
  try {
    return new Float64Array(count);
  } catch (error) {
    if (isOutOfMemory(error)) {
      throw new UnusableInputError({
        code: 'too-little-memory',
        file: demand.file,
        found: `${demand.what} that needs ${megabytes(8 * count)} of memory`,
        expected: 'less than the system refuses',
        advice: 'Run it with more memory, or leave this tensor out of the files.',
      });
    }
    throw error;
  }
}

/** Whether an array could not be made for want of memory. */
export function isOutOfMemory(error: unknown): boolean {
  return error instanceof RangeError && /allocation failed/i.test(error.message);
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

/** What nobody holds any more still counts as taken until then. The sweeping of one collection ends in the next. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
}
