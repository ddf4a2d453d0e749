import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ADAPTER_CONFIG } from '../facts/adapters.js';
import { CONFIG_FILE } from '../facts/config-json.js';
import { ADAPTER_FILES, BASE_FILES } from '../facts/inputs.js';
import { contentHashIfAny } from '../formats/content-hash.js';
import { parseJson, readBounded } from '../formats/json-file.js';
import { isShardIndex, shardsOf } from '../formats/sharded.js';
import { VOCABULARY_NAMES } from '../formats/vocabulary-file.js';
import { remoteIdentity } from '../formats/byte-source.js';
import type { HashedFile, Report, StoredFile } from '../protocol/report.js';
import { imageBeside } from './truth.js';

/** Which files an audit depends on. */

/** A file with all that belongs to it: the shards of an index. */
export function partsOf(path: string): string[] {
  return isShardIndex(path) ? [path, ...shardsOf(path)] : [path];
}

/** A truth with the picture that it names, as `audit/truth.ts` reads it. */
export function partsOfTruth(path: string): string[] {
  return [path, imageBeside(path, jsonOf(path)?.image)];
}

/** Larger files hold their numbers themselves, and reading them for one name would hold up the plan. */
const MOST_JSON_BYTES = 16 * 2 ** 20;

function jsonOf(path: string): Record<string, unknown> | undefined {
  try {
    const value = parseJson(readBounded(path, MOST_JSON_BYTES));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    // The audit will say what is wrong with it.
    return undefined;
  }
}

/** What the audit reads beside the gradient and the checkpoint wherever it is there. */
const NOTES = [
  'capture.json',
  'classes.txt',
  'classes.json',
  'class_names.json',
  'labels.txt',
  ...VOCABULARY_NAMES,
  // Says of vocab.json what its tokens are written in.
  'merges.txt',
  CONFIG_FILE,
  ADAPTER_CONFIG,
];

/** What it reads there only if nothing else tells the same, which may be large. */
const MODELS = ['model.onnx', 'recipe.json', ...ADAPTER_FILES, ...BASE_FILES, 'model.json', 'model.keras'];

/** Everything that the audit looks for beside the gradient and the checkpoint. */
export function besideOf(gradients: string, checkpoint: string): string[] {
  return besideCalled([...NOTES, ...MODELS], [gradients, checkpoint]);
}

function besideCalled(names: readonly string[], paths: readonly string[]): string[] {
  const folders = [...new Set(paths.map(dirname))];
  return folders.flatMap((folder) => names.map((name) => join(folder, name)));
}

type FilesOfRole = readonly [HashedFile['role'], readonly string[]];

/** The files of one audit. */
export interface AuditedFiles {
  readonly gradients: string;
  /** Undefined for a gradient alone. */
  readonly checkpoint: string | undefined;
  /** Adapters apart from their model, or the model apart from its adapters. */
  readonly otherHalf: string | undefined;
  /** What described the network; null where no file did. */
  readonly network: string | null;
  /** What the result is compared with. */
  readonly truth: string | undefined;
}

/**
 * What an audit read, each file with its SHA-256, so that a report can be held against its inputs later.
 *
 * @param pause called between chunks; may throw to stop
 */
export async function hashFiles(files: AuditedFiles, pause: () => Promise<void>): Promise<FilesRead> {
  const objects = storedFiles(files);
  return { files: await hashOf(rolesOf(files), pause), ...(objects.length > 0 ? { objects } : {}) };
}

/** As a report lists them. */
export type FilesRead = Required<Pick<Report['inputs'], 'files'>> & Pick<Report['inputs'], 'objects'>;

/** The same of what lies in an object store, by what that says of it. */
function storedFiles(files: AuditedFiles): StoredFile[] {
  const known = new Map<string, StoredFile>();
  for (const [role, paths] of rolesOf(files)) {
    for (const path of paths) {
      const identity = remoteIdentity(path);
      const bytes = statSync(path, { throwIfNoEntry: false })?.size;
      if (identity !== undefined && bytes !== undefined && !known.has(path)) {
        known.set(path, { role, path, bytes, identity });
      }
    }
  }
  return [...known.values()];
}

function rolesOf({ gradients, checkpoint, otherHalf, network, truth }: AuditedFiles): readonly FilesOfRole[] {
  const given = [gradients, ...(checkpoint === undefined ? [] : [checkpoint])];
  return [
    ['gradient', partsOf(gradients)],
    ['checkpoint', [checkpoint, otherHalf].flatMap((path) => (path === undefined ? [] : partsOf(path)))],
    ['network', network === null ? [] : [network]],
    ['beside', besideCalled(NOTES, given)],
    ['truth', truth === undefined ? [] : partsOfTruth(truth)],
  ];
}

/** The same for a truth alone. */
export function hashTruth(path: string, pause: () => Promise<void>): Promise<HashedFile[]> {
  return hashOf([['truth', partsOfTruth(path)]], pause);
}

/** A file counts for the first role it is named for; those that are not there are left out. */
async function hashOf(roles: readonly FilesOfRole[], pause: () => Promise<void>): Promise<HashedFile[]> {
  const hashed = new Map<string, HashedFile>();
  for (const [role, paths] of roles) {
    for (const path of paths) {
      const bytes = statSync(path, { throwIfNoEntry: false })?.size;
      if (remoteIdentity(path) !== undefined) {
        continue;
      }
      const sha256 = hashed.has(path) || bytes === undefined ? null : await contentHashIfAny(path, pause);
      if (bytes !== undefined && sha256 !== null) {
        hashed.set(path, { role, path, bytes, sha256 });
      }
    }
  }
  return [...hashed.values()];
}
