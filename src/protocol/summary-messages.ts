import type { ProjectProgress, ProjectReport } from './project-report.js';

/** What host and the summary of a project say to each other. */

/** Host to summary. */
export type ToSummary =
  | { t: 'show'; report: ProjectReport }
  /** An audit of the project runs; null when it has ended. */
  | { t: 'progress'; progress: ProjectProgress | null }
  | { t: 'problem'; sentence: string };

/** Summary to host. */
export type FromSummary =
  | { t: 'ready' }
  /** Show the audit of one entry. */
  | { t: 'open'; id: string }
  /** Go to the line that captured it. */
  | { t: 'script'; id: string }
  | { t: 'save'; what: 'json' | 'html' | 'sarif' }
  | { t: 'run' }
  | { t: 'stop' };
