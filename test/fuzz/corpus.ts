import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { summarise, resultOf } from '../../src/project/summarise.js';
import type { ProjectReport } from '../../src/protocol/project-report.js';
import { upgradeReport } from '../../src/audit/upgrade-report.js';

/** What is mutated: the fixtures of the other tests, as files that lie in one folder. */

/** Contents by name. */
export type Files = Readonly<Record<string, Buffer>>;

/** Run from the repository's root. */
const FIXTURES = join('test', 'fixtures');
const MOST_BYTES = 100_000;

/** Every file of a folder whose name ends so, each by itself. */
export function single(folder: string, endings: RegExp): Files[] {
  return readdirSync(join(FIXTURES, folder), { withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.test(entry.name))
    .map(({ name }) => name)
    .sort()
    .map((name) => ({ [name]: readFileSync(join(FIXTURES, folder, name)) }))
    .filter((files) => sizeOf(files) <= MOST_BYTES);
}

/** The first file of each folder of a folder, under one name. */
export function first(folder: string, pattern: RegExp, as: string): Files[] {
  return readdirSync(join(FIXTURES, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort()
    .flatMap((name) => {
      const [file] = readdirSync(join(FIXTURES, folder, name)).filter((own) => pattern.test(own));
      return file === undefined ? [] : [{ [as]: readFileSync(join(FIXTURES, folder, name, file)) }];
    })
    .filter((files) => sizeOf(files) <= MOST_BYTES);
}

/** A folder's files together, those that are there, with others from elsewhere. */
export function together(folder: string, names: readonly string[], more: Files = {}): Files {
  const there = names.filter((name) => existsSync(join(FIXTURES, folder, name)));
  return {
    ...Object.fromEntries(there.map((name) => [name, readFileSync(join(FIXTURES, folder, name))])),
    ...more,
  };
}

/** One fixture under another name. */
export function renamed(path: string, name: string): Files {
  return { [name]: readFileSync(join(FIXTURES, path)) };
}

function sizeOf(files: Files): number {
  return Object.values(files).reduce((sum, { length }) => sum + length, 0);
}

/** Reports of version 1 as they are, and as version 2. */
export function reports(): Files[] {
  return single('reports', /\.json$/).flatMap((files) =>
    Object.values(files).flatMap((bytes) => [
      { 'report.json': bytes },
      { 'report.json': Buffer.from(JSON.stringify(upgradeReport(JSON.parse(bytes.toString())))) },
    ]),
  );
}

/** A project of those reports. */
export function project(): Files {
  const entries = reports().map(({ 'report.json': bytes }, index): ProjectReport['entries'][number] => ({
    id: String(index).padStart(20, '0'),
    gradients: `runs/round-${index}/gradient.pt`,
    checkpoint: `runs/round-${index}/checkpoint.pt`,
    fit: 1,
    run: 'runs',
    round: index,
    script: { file: '/project/train.py', line: 12 },
    truth: null,
    network: null,
    status: 'done',
    problem: null,
    result: resultOf(upgradeReport(JSON.parse(bytes!.toString()))!),
    change: 'new',
  }));
  const report: ProjectReport = {
    schemaVersion: 1,
    tool: { name: 'gradleak', version: '0.0.0' },
    root: '/project',
    finished: '2025-01-01T00:00:00.000Z',
    status: 'complete',
    entries,
    skipped: [{ path: 'runs/other.pt', reason: 'It looks like a gradient.', isGradient: true }],
    summary: summarise(entries),
  };
  return { 'report.json': Buffer.from(JSON.stringify(report)) };
}
