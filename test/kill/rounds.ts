import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { ProjectReport } from '../../src/protocol/project-report.js';

/** Audits of the built command that are stopped at a random time, then run again to their end. */

const ROOT = join(import.meta.dirname, '..', '..');
const DUMPS = ['k10_hard_bias_default', 'k10_mixup_bias_default', 'k17_smooth_bias_default', 'k2_hard_bias'];
/** Longer than a child takes to notice that its parent is gone. */
const ORPHANS_MS = 10_000;

export type Kind = 'project' | 'single';
export type Signal = 'SIGKILL' | 'SIGINT';

export interface Ended {
  /** Milliseconds after the start. */
  readonly at: number;
  /** As a shell sees it: 128 and the signal's number where the signal ended it. */
  readonly code: number;
  /** What was wrong afterwards; empty when nothing was. */
  readonly problems: readonly string[];
}

interface Run {
  readonly code: number;
  readonly printed: string;
  /** Whether no process of it was left over. */
  readonly isClean: boolean;
  readonly milliseconds: number;
}

/** One command, with what it comes to when nobody stops it. */
export class KillTest {
  private readonly scratch = mkdtempSync(join(tmpdir(), 'gradleak-kill-'));
  private readonly input: string;
  private reference: { run: Run; files: ReadonlyMap<string, string> } | undefined;
  private rounds = 0;

  /** @param cli path of the built command */
  constructor(
    private readonly kind: Kind,
    private readonly cli = join(ROOT, 'dist', 'cli.js'),
  ) {
    this.input = join(this.scratch, 'input');
    const from = join(ROOT, 'test', 'fixtures', 'dumps');
    if (kind === 'single') {
      cpSync(join(from, DUMPS[0]!), this.input, { recursive: true });
    }
    for (const name of kind === 'project' ? DUMPS : []) {
      cpSync(join(from, name), join(this.input, name), { recursive: true });
    }
  }

  /** Runs it undisturbed. @throws Error when it fails by itself */
  async prepare(): Promise<void> {
    const out = this.folder();
    // The second one finds files in the disk's cache, as those to come do.
    await this.run(this.folder());
    const run = await this.run(out);
    if (run.code !== 0) {
      throw new Error(`The undisturbed run ended with ${run.code}: ${run.printed}`);
    }
    this.reference = { run, files: contentsOf(out, out) };
  }

  /** @param random from 0 to 1: when, and whether the signal goes to the command or to all its processes as from a terminal */
  async round(signal: Signal, random: () => number): Promise<Ended> {
    const { run: undisturbed, files } = this.reference!;
    const out = this.folder();
    const at = random() * undisturbed.milliseconds;
    const stopped = await this.run(out, { signal, at, toAll: random() < 0.5 });
    const problems = stopped.isClean ? [] : ['processes were left over'];
    const allowed = signal === 'SIGINT' ? [130, 0] : [137, 0];
    if (!allowed.includes(stopped.code)) {
      problems.push(`${signal} ended it with ${stopped.code}: ${stopped.printed}`);
    }
    const before = entriesDone(out);
    const again = await this.run(out);
    if (again.code !== undisturbed.code || !again.isClean) {
      problems.push(`the next run ended with ${again.code}: ${again.printed}`);
    }
    const after = entriesDone(out);
    for (const [name, sum] of before) {
      if (after.get(name) !== sum) {
        problems.push(`${name} was done and is not as it was`);
      }
    }
    problems.push(...differences(files, contentsOf(out, out)));
    if (problems.length === 0) {
      rmSync(out, { recursive: true, force: true });
    }
    return { at, code: stopped.code, problems };
  }

  dispose(): void {
    rmSync(this.scratch, { recursive: true, force: true });
  }

  private folder(): string {
    return join(this.scratch, `out${this.rounds++}`);
  }

  /** Its processes are a group of their own, by which those that are left over are found. */
  private async run(out: string, stop?: { signal: Signal; at: number; toAll: boolean }): Promise<Run> {
    const started = performance.now();
    const args = [this.cli, 'audit', this.input, '--out', out];
    const child = spawn(process.execPath, [...args, ...(this.kind === 'single' ? ['--attack', 'none'] : [])], {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const group = -child.pid!;
    let printed = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
    const ended = new Promise<number>((resolve) => {
      child.on('exit', (code, signal) => {
        resolve(code ?? (signal === 'SIGINT' ? 130 : 137));
      });
    });
    if (stop) {
      const isOver = await Promise.race([ended.then(() => true), wait(stop.at, false)]);
      if (!isOver) {
        process.kill(stop.toAll ? group : child.pid!, stop.signal);
      }
    }
    const code = await ended;
    const milliseconds = performance.now() - started;
    const isClean = await isGone(group);
    if (!isClean) {
      process.kill(group, 'SIGKILL');
    }
    return { code, printed, isClean, milliseconds };
  }
}

async function isGone(group: number): Promise<boolean> {
  const end = performance.now() + ORPHANS_MS;
  while (performance.now() < end) {
    try {
      process.kill(group, 0);
    } catch {
      return true;
    }
    await wait(10);
  }
  return false;
}

/** Checksums of the reports that a project's report counts as done. */
function entriesDone(out: string): Map<string, string> {
  const path = join(out, 'report.json');
  const report = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Partial<ProjectReport>) : {};
  return new Map(
    (report.entries ?? []).flatMap(({ id, status }) => {
      const own = join(out, 'entries', id, 'report.json');
      return status === 'done' ? [[id, existsSync(own) ? checksum(readFileSync(own)) : 'missing'] as const] : [];
    }),
  );
}

/** Times of day and durations, by the names that reports give them. */
const TIMES = new Set(['timings', 'finished', 'created', 'startTimeUtc', 'endTimeUtc', 'seconds']);

/** Every file below a folder: JSON without its times, everything else as a checksum. */
function contentsOf(folder: string, out: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) {
      found.set(path.slice(folder.length + 1), contentOf(path, out));
    }
  }
  return found;
}

function contentOf(path: string, out: string): string {
  const name = basename(path);
  if (name === '.gradleak-files.json' || name === 'stderr.log' || name.endsWith('.html')) {
    // Checksums of what holds times, process numbers, and a page with times.
    return 'there';
  }
  if (!/\.(json|sarif)$/.test(name)) {
    return checksum(readFileSync(path));
  }
  const text = readFileSync(path, 'utf8').replaceAll(out, 'OUT');
  return JSON.stringify(JSON.parse(text, (key, value: unknown) => (TIMES.has(key) ? undefined : value)));
}

function differences(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): string[] {
  const names = [...new Set([...expected.keys(), ...found.keys()])];
  return names.flatMap((name) => {
    const [own, other] = [expected.get(name), found.get(name)];
    return own === other
      ? []
      : [own === undefined ? `${name} was left over` : other === undefined ? `${name} is missing` : `${name} differs`];
  });
}

function checksum(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
