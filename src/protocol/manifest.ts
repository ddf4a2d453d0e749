import type { AuditRequest, ReconstructionRequest } from './audit-request.js';
import type { ProjectEntry, SkippedFile } from './project-report.js';

/**
 * What `gradleak plan` writes: JSON, one object a line, the head first and then one job a line; and what a queue holds.
 * `media/manifest.schema.json` is generated from these types.
 *
 * Within a version, fields may be added and none is removed or changes its meaning.
 */
export type ManifestLine = ManifestHead | ManifestJob | QueuedJob;

export interface ManifestHead {
  manifest: 1;
  tool: { name: 'gradleak'; version: string };
  /** Folder that the jobs' paths are relative to. */
  root: string;
  /** What the keys of jobs are made from: SHA-256 of the files' contents, or their sizes and times. */
  identity: FileIdentity;
  settings: ManifestSettings;
  /** Of the settings and the files that they name, as the keys of jobs are made with it. */
  settingsKey: string;
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

/** Of every audit. What writes elsewhere than to the results, or loads code, each machine says for itself. */
export interface ManifestSettings extends Pick<
  AuditRequest,
  'head' | 'layout' | 'method' | 'batchSize' | 'batchTimeLimitSeconds'
> {
  reconstruction?: Omit<ReconstructionRequest, 'tfjsFolder'>;
}

/** A job with all that a worker has to know of it. */
export interface QueuedJob extends Pick<ManifestHead, 'root' | 'identity' | 'settings' | 'settingsKey'> {
  job: ManifestJob;
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
