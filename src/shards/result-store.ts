import type { JobFailure } from '../protocol/manifest.js';
import type { Report } from '../protocol/report.js';

/**
 * Where the results of many machines come together. Each job has one result, whoever was first; nothing is locked, so a machine
 * may vanish at any moment.
 */
export interface ResultStore {
  /** For people. */
  readonly place: string;
  /** Whether the job has its result. */
  has(id: string): Promise<boolean>;
  /** @returns a folder of this machine that one audit writes to */
  begin(): Promise<string>;
  /**
   * Makes a folder of `begin` the result of a job, as a whole or not at all, and removes it.
   *
   * @returns false where somebody else was faster, whose result stays
   */
  commit(id: string, folder: string): Promise<boolean>;
  /** Removes a folder of `begin`. */
  discard(folder: string): Promise<void>;
  /** Undefined where it is not there or was changed since. */
  report(id: string): Promise<Report | undefined>;
  /**
   * Copies the files of a result.
   *
   * @param folder of this machine, made by the caller
   * @throws UnusableInputError when the store or the disk does not take part
   */
  fetch(id: string, folder: string): Promise<void>;
  failure(id: string): Promise<JobFailure | undefined>;
  fail(failure: JobFailure): Promise<void>;
  /** Keeps a copy of a manifest beside the results. */
  keepManifest(path: string): Promise<void>;
  /** @returns paths of the manifests that were kept, on this machine */
  manifests(): Promise<string[]>;
  /** Removes what machines left behind that were stopped. */
  tidy(): Promise<void>;
}
