import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CancelledError, UnusableInputError, messageOf } from '../protocol/errors.js';
import schema from '../../media/project.schema.json';
import { validatorOf } from '../formats/json-file.js';
import type { ProjectEntry, ProjectPlan, ProjectProgress, ProjectReport } from '../protocol/project-report.js';
import { REPORT_FILE, readStored } from '../audit/output.js';
import { makeFolder, openOutput, tidyOutput, writeOutput } from '../audit/output-folder.js';
import { TOOL_VERSION } from '../audit/version.js';
import { type AuditOfJob, auditJob, finishedReport } from './audit-job.js';
import { Pace } from './pace.js';
import { changeOf, resultOf, summarise } from './summarise.js';

/** Audits every pair of a plan, a few at a time; what is done stays done when it is stopped. */

export interface ProjectRun extends AuditOfJob {
  readonly plan: ProjectPlan;
  /** Folder of the reports: `report.json` of the project, and one folder per entry in `entries/`. */
  readonly out: string;
  readonly concurrency: number;
  /** Whether entries that were audited before are audited again. */
  readonly fresh?: boolean;
  progress(progress: ProjectProgress): void;
  cancelled(): boolean;
}

export const ENTRIES_FOLDER = 'entries';
/** Beside the entries where shares of a manifest are audited to. */
export const SHARES_FOLDER = 'work';
const VALIDATOR = validatorOf<ProjectReport>(schema);

/**
 * @returns the report, which is also written after every entry
 * @throws UnusableInputError when the folder holds files of others
 */
export async function runProject(run: ProjectRun): Promise<ProjectReport> {
  const { out } = run;
  const force = run.settings.force === true;
  const unlock = openOutput(out, [REPORT_FILE], force);
  try {
    return await audited(run, force);
  } finally {
    unlock();
  }
}

async function audited(run: ProjectRun, force: boolean): Promise<ProjectReport> {
  const { plan, out } = run;
  const before = readProject(out);
  if (!before && !force && readStored(out) !== undefined) {
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: join(out, REPORT_FILE),
      found: 'a file that is no report on a project',
      expected: 'an empty folder or an earlier report on a project',
      advice: 'Choose another folder, or replace it.',
    });
  }
  if (existsSync(join(out, SHARES_FOLDER)) && existsSync(join(out, ENTRIES_FOLDER))) {
    // Results of other dumps are removed at the end, and these are of many machines.
    throw new UnusableInputError({
      code: 'would-overwrite',
      file: out,
      found: 'the results of shares',
      expected: 'an empty folder or an earlier report on a project',
      advice: 'Choose another folder.',
      next: ['choose-output'],
    });
  }
  makeFolder(join(out, ENTRIES_FOLDER));
  const earlier = new Map(before?.entries.map((entry) => [entry.gradients, entry]));
  const entries: ProjectEntry[] = plan.entries.map((entry) =>
    run.fresh === true ? entry : restored(out, entry, earlier.get(entry.gradients)),
  );
  const report = (status: ProjectReport['status']): ProjectReport => ({
    schemaVersion: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    root: plan.root,
    finished: new Date().toISOString(),
    status,
    entries,
    skipped: plan.skipped,
    summary: summarise(entries),
  });
  const write = (own: ProjectReport): void => {
    writeOutput(out, REPORT_FILE, `${JSON.stringify(own, undefined, 1)}\n`, force);
  };
  const say = (message: string): void => {
    run.progress({ done: entries.filter(({ status }) => status !== 'pending').length, of: entries.length, message });
  };
  const pace = new Pace();
  const waiting = [...entries.keys()].filter((at) => entries[at]?.status === 'pending');
  say(`${waiting.length} of ${entries.length} dumps to audit`);
  const work = async (): Promise<void> => {
    for (let at = waiting.shift(); at !== undefined && !run.cancelled(); at = waiting.shift()) {
      const entry = entries[at];
      if (entry) {
        entries[at] = await auditEntry(run, entry, earlier.get(entry.gradients));
        // Who hears of the entry finds it in the report, unless that is long. A crash loses no more than what is running:
        // the next audit finds each entry by its folder.
        pace.act(() => {
          write(report('cancelled'));
        });
        say(entry.gradients);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(run.concurrency, waiting.length)) }, work));
  const final = report(
    run.cancelled() && entries.some(({ status }) => status === 'pending') ? 'cancelled' : 'complete',
  );
  write(final);
  dropStale(out, entries);
  return final;
}

/** The audit of an entry, done before or now, with what was known of the same dump. */
async function auditEntry(
  run: ProjectRun,
  entry: ProjectEntry,
  before: ProjectEntry | undefined,
): Promise<ProjectEntry> {
  const { plan, out } = run;
  const folder = join(out, ENTRIES_FOLDER, entry.id);
  rmSync(folder, { recursive: true, force: true });
  makeFolder(folder);
  try {
    await auditJob(run, { ...entry, root: plan.root }, folder);
    return restored(out, entry, before);
  } catch (error) {
    if (error instanceof CancelledError) {
      return entry;
    }
    return { ...entry, status: 'failed', problem: messageOf(error).split('\n')[0] ?? '' };
  }
}

/** An entry with its report, when there is one that was not stopped. */
function restored(out: string, entry: ProjectEntry, before: ProjectEntry | undefined): ProjectEntry {
  const folder = join(out, ENTRIES_FOLDER, entry.id);
  const report = finishedReport(folder);
  if (!report) {
    return entry;
  }
  tidyOutput(folder);
  const result = resultOf(report);
  // The same dump, audited anew or found as it was: only another id can have changed.
  const change = before?.id === entry.id ? before.change : changeOf(result, before?.result);
  return { ...entry, status: 'done', result, change };
}

/** The project report in a folder, if there is one of ours; an earlier version's totals are made anew. */
export function readProject(out: string): ProjectReport | undefined {
  return projectOf(readStored(out));
}

/** The same of what a file holds. */
export function projectOf(stored: unknown): ProjectReport | undefined {
  const report = withTotals(stored);
  return VALIDATOR.is(report) ? report : undefined;
}

function withTotals(stored: unknown): unknown {
  const report = stored as
    (Partial<Omit<ProjectReport, 'summary'>> & { summary?: Partial<ProjectReport['summary']> }) | undefined | null;
  if (report?.summary?.closeInputs !== undefined || !report?.entries) {
    return stored;
  }
  try {
    return { ...report, summary: summarise(report.entries) };
  } catch {
    // What cannot be summed up was none of ours.
    return undefined;
  }
}

/** Reports of dumps that are gone or were audited anew. */
export function dropStale(out: string, entries: readonly ProjectEntry[]): void {
  const wanted = new Set(entries.map(({ id }) => id));
  for (const name of readdirSync(join(out, ENTRIES_FOLDER))) {
    if (/^[0-9a-f]{20}$/.test(name) && !wanted.has(name)) {
      rmSync(join(out, ENTRIES_FOLDER, name), { recursive: true, force: true });
    }
  }
}
