import type { AuditRequest } from './audit-request.js';
import type { ProjectEntry, SkippedFile } from './project-report.js';

/**
 * What `gradleak plan` writes: JSON, one object a line, the head first and then one job a line. `media/manifest.schema.json` is
 * generated from these types.
 *
 * Within a version, fields may be added and none is removed or changes its meaning.
 */
export type ManifestLine = ManifestHead | ManifestJob;

export interface ManifestHead {
  manifest: 1;
  tool: { name: 'gradleak'; version: string };
  /** Folder that the jobs' paths are relative to. */
  root: string;
  /** What the keys of jobs are made from: SHA-256 of the files' contents, or their sizes and times. */
  identity: FileIdentity;
  /** Settings of every audit. */
  settings: Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'>;
  /**
   * Lines that follow.
   *
   * @minimum 0
   * @asType integer
   */
  jobs: number;
  /** Files that look like dumps and are not among the jobs. */
  skipped: SkippedFile[];
}

/** One audit. Paths are relative to the root, with forward slashes. */
export interface ManifestJob extends Pick<
  ProjectEntry,
  'gradients' | 'checkpoint' | 'fit' | 'run' | 'round' | 'script' | 'truth' | 'network'
> {
  /**
   * Of the paths and the identity of the files, the settings and the tool's version; also the name of its results.
   *
   * @pattern ^[0-9a-f]{20}$
   */
  id: string;
  /**
   * Of the gradient, as it was planned.
   *
   * @minimum 0
   */
  bytes: number;
  /** Of the gradient's time of last change, in milliseconds since 1970. */
  changed: number;
}

/** @default "contents" */
export type FileIdentity = 'contents' | 'size-and-time';

/** Why a job has no results. */
export interface JobFailure {
  id: string;
  gradients: string;
  problem: string;
  /** True where the same files end the same way each time; else it may be tried again. */
  isFinal: boolean;
  /** How often it was tried. */
  attempts: number;
  /** Name of the machine that tried it last. */
  host: string;
}
