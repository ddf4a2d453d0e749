import type { Normalisation } from './normalisations.js';
import type { ProjectProgress, ProjectReport } from './project-report.js';

/** What host and the summary of a project say to each other. `from-summary.schema.json` is generated from these types. */

/** Host to summary. */
export type ToSummary =
  /** `closedScripts`: scripts that the report names and the host does not open, with the sentence that says why. */
  | { t: 'show'; report: ProjectReport; closedScripts: { file: string; why: string }[] }
  /** An audit of the project runs; null when it has ended. */
  | { t: 'progress'; progress: ProjectProgress | null }
  /** What was asked for with `previews`, as far as it is still stored. */
  | { t: 'previews'; previews: EntryPreview[] }
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
  /**
   * Send what these entries' audits recovered, for the tiles on screen.
   *
   * Bounded, as each is read from disk.
   */
  | { t: 'previews'; ids: EntryIds }
  /** Go to the line that captured it. */
  | { t: 'script'; id: string }
  | { t: 'save'; what: 'json' | 'html' | 'sarif' }
  | { t: 'run' }
  | { t: 'stop' };

/**
 * @maxItems 100
 */
type EntryIds = string[];

/** What one entry's audit recovered, cut down to a tile. */
export interface EntryPreview {
  id: string;
  pictures: PreviewPicture[];
  /** How texts begin, each in one line. */
  texts: string[];
}

/** A recovered input at the size of a tile. */
export interface PreviewPicture {
  /** Channels, height, width for images. */
  shape: number[];
  /** Little-endian float32 in base64. */
  values: string;
  /** How inputs were normalised, when it is known. */
  normalisation: Normalisation | null;
}

/** What a saved page of a project holds. */
export interface ProjectPage {
  report: ProjectReport;
  /** Of the first entries that gave something away, as many as the page has room for. */
  previews: EntryPreview[];
  /** Whether each entry's own page lies at `entries/ID/report.html` beside it. */
  hasPages: boolean;
}
