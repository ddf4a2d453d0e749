import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import known from './known-misses.json' with { type: 'json' };

/** What a run of the benchmarks prints, as tables and as JSON, and which goals it missed. */

interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: (string | number)[][];
}

interface Goal {
  readonly name: string;
  readonly value: number;
  readonly goal: string;
  readonly kept: boolean;
}

const tables: Table[] = [];
const goals: Goal[] = [];

export function head(title: string, ...columns: string[]): void {
  tables.push({ title, columns, rows: [] });
  console.log(`\n${title}\n`);
  print(columns);
  print(columns.map(() => '---'));
}

export function row(...cells: (string | number)[]): void {
  tables.at(-1)?.rows.push(cells);
  print(cells);
}

function print(cells: readonly (string | number)[]): void {
  console.log(`| ${cells.join(' | ')} |`);
}

/** A cell that says whether the goal was kept. */
export function atMost(name: string, value: number, limit: number): string {
  return judged(name, value, `at most ${limit}`, value <= limit);
}

export function atLeast(name: string, value: number, limit: number): string {
  return judged(name, value, `at least ${limit}`, value >= limit);
}

function judged(name: string, value: number, goal: string, kept: boolean): string {
  goals.push({ name, value, goal, kept });
  return `${goal} ${kept ? 'kept' : 'MISSED'}`;
}

/**
 * Writes everything and lists the goals that were missed, those with a known reason apart.
 *
 * @returns whether no goal was missed without one
 */
export function finish(file: string): boolean {
  const missed = goals.filter(({ kept }) => !kept);
  const reasonOf = (name: string): string | undefined => known.find((own) => name.startsWith(own.goal))?.reason;
  const surprising = missed.filter(({ name }) => reasonOf(name) === undefined);
  mkdirSync(dirname(file), { recursive: true });
  const run = { node: process.version, platform: `${process.platform}-${process.arch}`, tables, goals };
  writeFileSync(file, `${JSON.stringify(run, undefined, 1)}\n`);
  console.log(`\n${goals.length - missed.length} of ${goals.length} goals kept; all figures in ${file}`);
  for (const { name, value, goal } of missed) {
    console.log(
      `${reasonOf(name) === undefined ? 'MISSED' : 'missed'}: ${name}: ${value.toPrecision(3)}, ${goal}. ${reasonOf(name) ?? 'Not known before.'}`,
    );
  }
  return surprising.length === 0;
}
