import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';

/** Foreign code that may hang, crash or take all memory, in a process that lives for one question. */

/** Libraries print to standard output as well, so what is meant for us is marked. */
const MARK = '\ngradleak-answer ';
const PAUSE_MS = 50;
const LAST_WORDS = 2000;

export interface Question {
  /** Name of a built entry in `dist/`. */
  readonly script: string;
  readonly args: readonly string[];
  readonly deadlineMs: number;
  /** More is not taken into memory. */
  readonly maxAnswerBytes: number;
  /** Called while it is waited for; what it throws ends the process, and is thrown on. */
  readonly pause?: () => Promise<void>;
}

export type Ending =
  | { readonly how: 'answered'; readonly answer: unknown }
  /** `detail` says how it ended, `lastWords` what it printed. */
  | { readonly how: 'late' | 'crashed'; readonly detail: string; readonly lastWords: string };

/**
 * Asks, and waits. A crash and a hang are endings too, and no process is left behind.
 *
 * @throws what `pause` throws
 */
export async function askProcess(question: Question): Promise<Ending> {
  // Its standard input is a pipe that closes with this process, however this one ends.
  const child = spawn(process.execPath, [scriptPath(question.script), ...question.args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    windowsHide: true,
  });
  const printed: Buffer[] = [];
  let bytes = 0;
  let lastWords = '';
  let why: { how: 'late' | 'crashed'; detail: string } | undefined;
  const end = (how: 'late' | 'crashed', detail: string): void => {
    why ??= { how, detail };
    child.kill('SIGKILL');
  };
  child.stdout.on('data', (part: Buffer) => {
    bytes += part.length;
    if (bytes > question.maxAnswerBytes) {
      end('crashed', `it answered more than ${question.maxAnswerBytes} bytes`);
    } else {
      printed.push(part);
    }
  });
  const words = new StringDecoder();
  child.stderr.on('data', (part: Buffer) => {
    lastWords = (lastWords + words.write(part)).slice(-LAST_WORDS);
  });
  child.stdin.on('error', () => {
    // It has ended; 'close' tells of it.
  });
  const deadline = setTimeout(() => {
    end('late', `it did not answer within ${question.deadlineMs / 1000} s`);
  }, question.deadlineMs);
  const closed = new Promise<Ending>((resolve) => {
    child.on('error', (error) => {
      resolve({ how: 'crashed', detail: error.message, lastWords });
    });
    child.on('close', (code, signal) => {
      const answer = why ? undefined : answerIn(Buffer.concat(printed));
      resolve(
        answer ?? { how: 'crashed', detail: `its process ended (${signal ?? `exit code ${code}`})`, lastWords, ...why },
      );
    });
  });
  try {
    return await (question.pause ? withPauses(closed, question.pause) : closed);
  } finally {
    clearTimeout(deadline);
    child.kill('SIGKILL');
  }
}

async function withPauses<T>(work: Promise<T>, pause: () => Promise<void>): Promise<T> {
  for (;;) {
    let timer: NodeJS.Timeout | undefined;
    const tick = new Promise<'tick'>((resolve) => {
      timer = setTimeout(resolve, PAUSE_MS, 'tick');
    });
    const first = await Promise.race([work.then((value) => ({ value })), tick]);
    clearTimeout(timer);
    if (first !== 'tick') {
      return first.value;
    }
    await pause();
  }
}

function answerIn(printed: Buffer): Ending | undefined {
  const mark = printed.lastIndexOf(MARK);
  const start = mark + MARK.length;
  const end = printed.indexOf('\n', start);
  if (mark < 0 || end < 0) {
    return undefined;
  }
  try {
    return { how: 'answered', answer: JSON.parse(printed.toString('utf8', start, end)) as unknown };
  } catch {
    // A process whose memory was overwritten may print anything.
    return undefined;
  }
}

/** In the process: writes the answer, and ends. Some libraries would keep it alive. */
export function answerAndExit(answer: unknown): void {
  process.stdout.write(`${MARK}${JSON.stringify(answer)}\n`, () => process.exit(0));
}

/** In the process: ends with the one that asked. A thread of it may be in a loop, which only a signal ends for sure. */
export function endWithParent(): void {
  process.stdin.once('close', () => process.kill(process.pid, 'SIGKILL')).resume();
}

/** Beside the bundle; when sources are run by a test, the built one. */
function scriptPath(name: string): string {
  const beside = join(__dirname, name);
  return existsSync(beside) ? beside : join(__dirname, '..', '..', 'dist', name);
}
