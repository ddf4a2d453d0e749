import { TOOL_VERSION } from '../audit/version.js';
import type { ManifestJob } from '../protocol/manifest.js';
import type { ProjectEntry, ProjectReport } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';
import { resultOf, summarise } from '../project/summarise.js';
import { type Manifest, WHOLE } from './manifest.js';
import type { ResultStore } from './result-store.js';

/** What all machines found, as one report on the project. */

/**
 * @param pause called between jobs; may throw to stop
 * @returns a report that is `complete` where every job has its result or failed
 * @throws UnusableInputError when the manifest cannot be read to its end
 */
export async function merge(
  manifest: Manifest,
  store: ResultStore,
  pause: () => Promise<void>,
): Promise<ProjectReport> {
  const entries: ProjectEntry[] = [];
  for await (const job of manifest.jobs(WHOLE)) {
    await pause();
    entries.push(await entryOf(job, store));
  }
  const { root, skipped } = manifest.head;
  return {
    schemaVersion: 1,
    tool: { name: 'gradleak', version: TOOL_VERSION },
    root,
    finished: new Date().toISOString(),
    status: entries.some(({ status }) => status === 'pending') ? 'cancelled' : 'complete',
    entries,
    skipped,
    summary: summarise(entries),
  };
}

async function entryOf(job: ManifestJob, store: ResultStore): Promise<ProjectEntry> {
  const entry: ProjectEntry = { ...job, status: 'pending', problem: null, result: null, change: 'new' };
  const report = await store.report(job.id);
  if (report && isOf(report, job)) {
    return { ...entry, status: 'done', result: resultOf(report) };
  }
  const failure = await store.failure(job.id);
  return failure ? { ...entry, status: 'failed', problem: failure.problem } : entry;
}

/** Folders of a store may be mixed up. */
function isOf({ tool, inputs }: Report, { gradients }: Pick<ManifestJob, 'gradients'>): boolean {
  return tool.version === TOOL_VERSION && inputs.gradients.path.split('\\').join('/').endsWith(`/${gradients}`);
}
