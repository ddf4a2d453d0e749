import { mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { REPORT_FILE } from '../audit/output.js';
import { makeFolder, openOutput, writeOutput } from '../audit/output-folder.js';
import { finishedReport } from '../project/audit-job.js';
import { ENTRIES_FOLDER, dropStale } from '../project/run-project.js';
import type { ProjectReport } from '../protocol/project-report.js';
import { type Manifest, WHOLE } from './manifest.js';
import { merge } from './merge.js';
import type { ResultStore } from './result-store.js';

/** Holds results until they are whole. */
const WORK = 'fetched-';
/** As one is called once it is made. */
const WORK_FOLDER = new RegExp(`^${WORK}[A-Za-z0-9]{6}$`);

/**
 * Brings what all machines found to a folder of this one, as the audit of a project leaves it: the report, and the results
 * of each job beside it. What is there already is not fetched again; results of jobs that are not in the manifest are removed.
 *
 * @param out holds nothing of anybody else's
 * @param pause called between jobs; may throw to stop, and the report is then as it was
 * @throws UnusableInputError when the manifest cannot be read to its end, or the disk does not take it
 */
export async function collect(
  manifest: Manifest,
  store: ResultStore,
  out: string,
  pause: () => Promise<void>,
): Promise<ProjectReport> {
  makeFolder(join(out, ENTRIES_FOLDER));
  const unlock = openOutput(out, [REPORT_FILE], true);
  let work: string | undefined;
  try {
    // Who has the lock is the only one: these are of one that was killed.
    for (const name of readdirSync(out).filter((own) => WORK_FOLDER.test(own))) {
      rmSync(join(out, name), { recursive: true, force: true });
    }
    work = mkdtempSync(join(out, WORK));
    for await (const { id } of manifest.jobs(WHOLE)) {
      await pause();
      const target = join(out, ENTRIES_FOLDER, id);
      if (finishedReport(target) === undefined && (await store.has(id))) {
        const folder = join(work, id);
        makeFolder(folder);
        await store.fetch(id, folder);
        rmSync(target, { recursive: true, force: true });
        renameSync(folder, target);
      }
    }
    const report = await merge(manifest, store, pause);
    writeOutput(out, REPORT_FILE, `${JSON.stringify(report, undefined, 1)}\n`, true);
    dropStale(out, report.entries);
    return report;
  } finally {
    if (work !== undefined) {
      rmSync(work, { recursive: true, force: true });
    }
    unlock();
  }
}
