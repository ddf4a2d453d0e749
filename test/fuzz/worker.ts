import { mkdirSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { CancelledError, UnusableInputError } from '../../src/protocol/errors.js';
import type { Case, CaseSource } from './cases.js';
import { type FileGuard, guardFiles } from './file-guard.js';

/** The child process that executes: whatever hangs or crashes it, the parent knows by the index written before. */

export interface Problem {
  readonly kind: 'untyped error' | 'slow' | 'large' | 'touches files' | 'hang' | 'crash';
  readonly detail: string;
}

export interface Measured {
  readonly index: number;
  readonly value: number;
}

export type WorkerMessage =
  | { readonly type: 'problem'; readonly index: number; readonly problem: Problem }
  | {
      readonly type: 'done';
      readonly until: number;
      readonly slowest: Measured;
      readonly largest: Measured;
      readonly typed: number;
      /** By target. */
      readonly seconds: Readonly<Record<string, number>>;
    };

const MOST_SECONDS = 2;
/** Of attacks, which may try ten networks that fit a small state dict. */
const MOST_ATTACK_SECONDS = 15;
const MOST_BYTES = 500 * 2 ** 20;

export interface Work {
  readonly source: CaseSource;
  readonly from: number;
  /** One past the last. */
  readonly to: number;
  /** In milliseconds, as `Date.now()`. */
  readonly deadline: number;
  /** Folder of its own. */
  readonly scratch: string;
  readonly send: (message: WorkerMessage) => void;
}

/** Where the worker notes the index that it is at. */
export function progressFile(scratch: string): string {
  return join(scratch, 'index');
}

const MESSAGE_EVERY_MS = 1000;

export async function work({ source, from, to, deadline, scratch, send }: Work): Promise<void> {
  const progress = openSync(progressFile(scratch), 'w');
  const folder = join(scratch, 'case');
  mkdirSync(folder, { recursive: true });
  const guard = guardFiles();
  let [slowest, largest, typed, told] = [{ index: from, value: 0 }, { index: from, value: 0 }, 0, Date.now()];
  let spent: Record<string, number> = {};
  const tell = async (until: number): Promise<void> => {
    send({ type: 'done', until, slowest, largest, typed, seconds: spent });
    [typed, told, spent] = [0, Date.now(), {}];
    await new Promise(setImmediate);
  };
  let index = from;
  for (; index < to && Date.now() < deadline; index++) {
    writeSync(progress, String(index).padEnd(16), 0);
    const own = source.caseAt(index);
    const { seconds, bytes, problem, isTyped } = await execute(own, folder, guard);
    slowest = seconds > slowest.value ? { index, value: seconds } : slowest;
    largest = bytes > largest.value ? { index, value: bytes } : largest;
    typed += Number(isTyped);
    spent[own.target.name] = (spent[own.target.name] ?? 0) + seconds;
    if (problem) {
      send({ type: 'problem', index, problem });
    }
    if (problem !== undefined || Date.now() - told > MESSAGE_EVERY_MS) {
      await tell(index + 1);
    }
  }
  await tell(index);
}

interface Execution {
  readonly seconds: number;
  readonly bytes: number;
  readonly isTyped: boolean;
  readonly problem: Problem | undefined;
}

/** Writes the files and runs the target on them. */
export async function execute({ target, files }: Case, folder: string, guard?: FileGuard): Promise<Execution> {
  if (target.inMemory !== true) {
    writeFiles(folder, files);
  }
  const before = process.memoryUsage();
  const peakBefore = peak();
  const cpu = process.cpuUsage();
  const started = performance.now();
  guard?.allow(folder, join(folder, 'out'));
  let thrown: Error | undefined;
  try {
    await target.run(files, folder);
  } catch (error) {
    thrown = error instanceof Error ? error : new Error(`what is no Error was thrown: ${JSON.stringify(error)}`);
  }
  const touched = guard?.stop();
  const wall = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  // Elapsed time counts other processes too, and processor time counts the engine's other threads.
  const seconds = Math.min(wall, (user + system) / 1e6);
  const bytes = growth(before, peakBefore);
  const isTyped = thrown instanceof UnusableInputError || thrown instanceof CancelledError;
  return {
    seconds,
    bytes,
    isTyped,
    problem: problemOf(isTyped ? undefined : thrown, {
      seconds,
      bytes,
      touched,
      most: target.attacks ? MOST_ATTACK_SECONDS : MOST_SECONDS,
    }),
  };
}

function problemOf(
  thrown: Error | undefined,
  { seconds, bytes, touched, most }: { seconds: number; bytes: number; touched: string | undefined; most: number },
): Problem | undefined {
  if (thrown) {
    return { kind: 'untyped error', detail: thrown.stack ?? thrown.message };
  }
  if (touched !== undefined) {
    return { kind: 'touches files', detail: touched };
  }
  if (bytes > MOST_BYTES) {
    return { kind: 'large', detail: `${Math.round(bytes / 2 ** 20)} MiB` };
  }
  return seconds > most ? { kind: 'slow', detail: `${seconds.toFixed(1)} s` } : undefined;
}

/** In bytes: the most that the process has ever had in memory. */
function peak(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** What an execution added at its height: of memory in use where that is a new height, else of what is left of it. */
function growth(before: NodeJS.MemoryUsage, peakBefore: number): number {
  const [after, peakAfter] = [process.memoryUsage(), peak()];
  const left = after.heapUsed + after.external - before.heapUsed - before.external;
  return Math.max(peakAfter > peakBefore ? peakAfter - before.rss : 0, left);
}

function writeFiles(folder: string, files: Case['files']): void {
  for (const name of readdirSync(folder)) {
    if (!(name in files)) {
      rmSync(join(folder, name), { recursive: true, force: true });
    }
  }
  for (const [name, bytes] of Object.entries(files)) {
    writeFileSync(join(folder, name), bytes);
  }
}
