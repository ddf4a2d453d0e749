import type { ProjectProgress, ProjectReport } from './project-report.js';

/** What host and the summary of a project say to each other. `from-summary.schema.json` is generated from these types. */

/** Host to summary. */
export type ToSummary =
  /** `closedScripts`: scripts that the report names and the host does not open, with the sentence that says why. */
  | { t: 'show'; report: ProjectReport; closedScripts: { file: string; why: string }[] }
  /** An audit of the project runs; null when it has ended. */
  | { t: 'progress'; progress: ProjectProgress | null }
  | { t: 'problem'; sentence: string };

/**
 * Summary to host.
 *
 * @discriminator t
 */
export type FromSummary =
  | { t: 'ready' }
  /** Show the audit of one entry. */
  | { t: 'open'; id: string }
  /** Go to the line that captured it. */
  | { t: 'script'; id: string }
  | { t: 'save'; what: 'json' | 'html' | 'sarif' }
  | { t: 'run' }
  | { t: 'stop' };
