import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Case, type CaseSource, keptCases, mutatedCases } from './cases.js';
import { type Measured, type Problem, type WorkerMessage, execute, progressFile, work } from './worker.js';
import { minimised } from './minimise.js';

/** Run by "npm run fuzz" from the repository's root: starts workers one after the other and tells what they found. */

const OUT = join('out', 'fuzz');
/** A worker that is at one index for this long is stuck; far above the limit of an execution, for busy machines. */
const STUCK_MS = 20_000;
const HEAP_MIB = 1500;
const SAY_EVERY_MS = 30_000;
/** Of one kind at one place; more say nothing new. */
const MOST_ALIKE = 3;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string', default: '1' },
    executions: { type: 'string' },
    from: { type: 'string', default: '0' },
    target: { type: 'string' },
    replay: { type: 'string' },
    untimed: { type: 'boolean', default: false },
    worker: { type: 'string' },
  },
});

const source =
  values.replay === undefined ? mutatedCases(Number(values.seed), values.target) : keptCases(values.replay);
const from = Number(values.from);
const to = source.length ?? (values.executions === undefined ? Infinity : from + Number(values.executions));
const minutes = Number(positionals[0] ?? (to === Infinity ? 5 : Infinity));

interface Found {
  readonly index: number;
  readonly problem: Problem;
}

/** What a run adds up to. */
interface Totals {
  executions: number;
  typed: number;
  slowest: Measured;
  largest: Measured;
  readonly byTarget: Map<string, { executions: number; seconds: number }>;
  readonly found: Found[];
}

/** Runs one worker until its end, or until it hangs or crashes. */
async function runWorker(
  cases: { source: CaseSource; args: readonly string[] },
  range: { from: number; to: number },
  deadline: number,
  totals: Totals,
): Promise<number> {
  const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'gradleak-fuzz-'));
  let at = range.from;
  try {
    const child = fork(
      __filename,
      [
        ...cases.args,
        '--worker',
        JSON.stringify({ ...range, to: Math.min(range.to, Number.MAX_SAFE_INTEGER), deadline, scratch }),
      ],
      { execArgv: [`--max-old-space-size=${HEAP_MIB}`], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] },
    );
    child.on('message', (message: WorkerMessage) => {
      if (message.type === 'problem') {
        // In tests, which run beside others, only what does not end is a finding.
        if (values.untimed && message.problem.kind === 'slow') {
          return;
        }
        totals.found.push({ index: message.index, problem: message.problem });
        return;
      }
      count(totals, cases.source, at, message.until);
      at = message.until;
      totals.typed += message.typed;
      for (const [name, seconds] of Object.entries(message.seconds)) {
        ofTarget(totals, name).seconds += seconds;
      }
      totals.slowest = message.slowest.value > totals.slowest.value ? message.slowest : totals.slowest;
      totals.largest = message.largest.value > totals.largest.value ? message.largest : totals.largest;
    });
    const problem = await endOf(child, scratch);
    if (!problem) {
      return Infinity;
    }
    const stuck = indexIn(scratch) ?? range.from;
    count(totals, cases.source, at, stuck + 1);
    totals.found.push({ index: stuck, problem });
    return stuck + 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function count(totals: Totals, cases: CaseSource, start: number, end: number): void {
  for (let index = start; index < end; index++) {
    ofTarget(totals, cases.targetAt(index).name).executions++;
  }
  totals.executions += Math.max(end - start, 0);
}

function ofTarget({ byTarget }: Totals, name: string): { executions: number; seconds: number } {
  const own = byTarget.get(name) ?? { executions: 0, seconds: 0 };
  byTarget.set(name, own);
  return own;
}

/** @returns undefined when the worker came to its end by itself */
async function endOf(child: ChildProcess, scratch: string): Promise<Problem | undefined> {
  let printed = '';
  child.stderr?.on('data', (data: Buffer) => {
    printed = (printed + data.toString()).slice(-4000);
  });
  let [last, since, isStuck] = [-1, Date.now(), false];
  const timer = setInterval(() => {
    const index = indexIn(scratch) ?? -1;
    [last, since] = index === last ? [last, since] : [index, Date.now()];
    if (Date.now() - since > STUCK_MS) {
      isStuck = true;
      child.kill('SIGKILL');
    }
  }, 500);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.on('close', (...how) => {
      resolve(how);
    });
  });
  clearInterval(timer);
  if (isStuck) {
    return { kind: 'hang', detail: `nothing came of it in ${STUCK_MS / 1000} s` };
  }
  return code === 0 ? undefined : { kind: 'crash', detail: `${signal ?? `exit code ${code ?? ''}`}\n${printed}` };
}

function indexIn(scratch: string): number | undefined {
  const path = progressFile(scratch);
  const text = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
  return text === '' ? undefined : Number(text);
}

/** Lines of a problem, as far as they are for reading. */
function shortened(detail: string): string[] {
  return detail.split('\n').map((line) => line.slice(0, 200));
}

/** The same kind at the same place of the code, whatever the numbers in the message. */
function likeness(cases: CaseSource, { index, problem: { kind, detail } }: Found): string {
  const lines = shortened(detail);
  const places = lines.filter((line) => /^\s+at /.test(line)).slice(0, 2);
  const what =
    kind === 'untyped error'
      ? `${(lines[0] ?? '').replace(/[\d"'].*/, '')} ${places.join(' ').replace(/[:\d]+/g, '')}`
      : '';
  return `${cases.targetAt(index).name}: ${kind} ${what}`;
}

/** Executes files by themselves: in this process where all they do is throw, in a worker of their own where not. */
async function replay(own: Case, kind?: Problem['kind']): Promise<Problem | undefined> {
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-fuzz-replay-'));
  try {
    if (kind === 'untyped error') {
      return (await execute(own, folder)).problem;
    }
    writeCase(join(folder, own.target.name, 'case'), own.files);
    const totals = emptyTotals();
    await runWorker({ source: keptCases(folder), args: ['--replay', folder] }, { from: 0, to: 1 }, Infinity, totals);
    return totals.found[0]?.problem;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeCase(folder: string, files: Case['files']): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) {
    writeFileSync(join(folder, name), bytes);
  }
}

/** Tries each finding again by itself, makes it small and keeps it. @returns whether any of them happened again */
async function report(found: readonly Found[]): Promise<boolean> {
  const alike = new Map<string, Found[]>();
  for (const own of found) {
    const key = likeness(source, own);
    alike.set(key, [...(alike.get(key) ?? []), own]);
  }
  let isConfirmed = false;
  for (const [key, all] of alike) {
    console.log(`\n${all.length} x ${key}`);
    for (const { index, problem } of all.slice(0, MOST_ALIKE)) {
      const own = source.caseAt(index);
      const again = await replay(own);
      isConfirmed ||= again !== undefined;
      const name = `seed-${values.seed}-${index}`;
      const folder = join(OUT, own.target.name, name);
      writeCase(folder, own.files);
      console.log(
        `  execution ${index}${again ? '' : ', not seen again by itself'}: ${folder}\n    ${shortened(problem.detail).slice(0, 6).join('\n    ')}`,
      );
      if (again && values.replay === undefined && index === all[0]?.index) {
        const small = await minimised(
          own,
          async (files) => (await replay({ target: own.target, files }, again.kind))?.kind === again.kind,
        );
        writeCase(join(OUT, 'minimised', own.target.name, name), small);
        console.log(`    minimised: ${join(OUT, 'minimised', own.target.name, name)}`);
      }
    }
  }
  return isConfirmed;
}

function emptyTotals(): Totals {
  const nothing = { index: from, value: 0 };
  return { executions: 0, typed: 0, slowest: nothing, largest: nothing, byTarget: new Map(), found: [] };
}

function describe(label: string, { index }: Measured, value: string): string {
  return `${label}: ${value} (execution ${index}, ${source.targetAt(index).name})`;
}

function say(totals: Totals): void {
  const { executions, typed, slowest, largest, byTarget, found } = totals;
  console.log(
    `\n${executions} executions, seed ${values.seed}: ${typed} refused in a typed error, ${found.length} findings`,
  );
  for (const [name, own] of [...byTarget].sort(([, one], [, other]) => other.executions - one.executions)) {
    const mean = (1000 * own.seconds) / own.executions;
    console.log(`  ${name.padEnd(20)} ${String(own.executions).padStart(8)} of ${mean.toFixed(2)} ms`);
  }
  if (executions > 0) {
    console.log(describe('slowest', slowest, `${slowest.value.toFixed(2)} s`));
    console.log(describe('largest', largest, `${Math.round(largest.value / 2 ** 20)} MiB`));
  }
}

async function main(): Promise<void> {
  const deadline = Date.now() + Math.min(minutes * 60_000, 1e12);
  const totals = emptyTotals();
  const started = Date.now();
  const timer = setInterval(() => {
    const rate = (1000 * totals.executions) / (Date.now() - started);
    console.log(`${totals.executions} executions, ${rate.toFixed(0)} a second, ${totals.found.length} findings`);
  }, SAY_EVERY_MS);
  const args = process.argv.slice(2);
  for (let next = from; next < to && Date.now() < deadline;) {
    next = await runWorker({ source, args }, { from: next, to }, deadline, totals);
  }
  clearInterval(timer);
  say(totals);
  const isConfirmed = await report(totals.found);
  process.exitCode = isConfirmed ? 1 : 0;
}

if (values.worker === undefined) {
  void main();
} else {
  const { scratch, ...range } = JSON.parse(values.worker) as {
    from: number;
    to: number;
    deadline: number | null;
    scratch: string;
  };
  process.on('disconnect', () => process.exit(1));
  void work({
    ...range,
    deadline: range.deadline ?? Infinity,
    source,
    scratch,
    send: (message) => process.send?.(message),
  }).then(() => {
    process.disconnect();
    process.exit(0);
  });
}
