import { createHash } from 'node:crypto';
import { relative as pathWithin, resolve } from 'node:path';
import { besideOf, partsOf, partsOfTruth } from '../audit/input-files.js';
import { TOOL_VERSION } from '../audit/version.js';
import { remoteIdentity } from '../formats/byte-source.js';
import { HashCache, contentHash, isFileSystemError, sizeAndTime } from '../formats/content-hash.js';
import type { FileIdentity } from '../protocol/manifest.js';
import type { ProjectEntry } from '../protocol/project-report.js';
import { portable } from './discover.js';

/** Keys of audits: everything that a result depends on. */

/** What tells that a file is the same as before. */
export class SameFile {
  private readonly cache: HashCache | undefined;

  /**
   * @param identity its contents where undefined
   * @param hashCache file that keeps the contents' hashes from plan to plan
   * @param pause called between chunks of files; may throw to stop
   */
  constructor(
    private readonly identity: FileIdentity | undefined,
    hashCache: string | undefined,
    private readonly pause: () => Promise<void>,
  ) {
    this.cache = hashCache === undefined ? undefined : new HashCache(hashCache);
  }

  /** @throws Error of the file system */
  async of(path: string): Promise<string> {
    const elsewhere = remoteIdentity(path);
    if (elsewhere !== undefined) {
      return elsewhere;
    }
    if (this.identity === 'size-and-time') {
      return sizeAndTime(path);
    }
    return this.cache?.hash(path, this.pause) ?? contentHash(path, this.pause);
  }

  /** Null for a file that is not there, or may not be read. */
  async ofAny(path: string): Promise<string | null> {
    try {
      return await this.of(path);
    } catch (error) {
      if (isFileSystemError(error)) {
        return null;
      }
      throw error;
    }
  }

  /** @throws Error of the file system */
  save(): void {
    this.cache?.save();
  }
}

/** Paths are relative to the root. */
export type KeyedFiles = Pick<ProjectEntry, 'gradients' | 'checkpoint' | 'truth' | 'network'>;

/**
 * Of the files' names and what tells that they are the same, the settings and the tool's version. Equal dumps need a folder each, so
 * names count; where the project lies does not.
 *
 * @param settings changes with the settings and the files they name
 * @throws Error of the file system where the gradient or the checkpoint cannot be read
 */
export async function keyOf(root: string, files: KeyedFiles, settings: string, same: SameFile): Promise<string> {
  const [gradients, checkpoint] = [resolve(root, files.gradients), resolve(root, files.checkpoint)];
  const named: [string, string, string | null][] = [];
  const relative = (path: string): string => portable(pathWithin(root, path));
  for (const [role, path] of [
    ['gradients', gradients],
    ['checkpoint', checkpoint],
  ] as const) {
    for (const part of partsOf(path)) {
      named.push([role, relative(part), await same.of(part)]);
    }
  }
  const optional = [
    ...(files.network === null ? [] : [resolve(root, files.network)]),
    ...(files.truth === null ? [] : partsOfTruth(resolve(root, files.truth))),
    ...besideOf(gradients, checkpoint).flatMap(partsOf),
  ];
  for (const path of optional) {
    named.push(['optional', relative(path), await same.ofAny(path)]);
  }
  return createHash('sha256')
    .update(JSON.stringify({ tool: TOOL_VERSION, settings, files: named }))
    .digest('hex')
    .slice(0, 20);
}
