import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { AuditRequest } from '../protocol/audit-request.js';
import { imageBeside } from '../audit/truth.js';
import { ADAPTER_CONFIG } from '../facts/adapters.js';
import { CONFIG_FILE } from '../facts/config-json.js';
import { ADAPTER_FILES, BASE_FILES } from '../facts/inputs.js';
import { isFileName } from '../formats/byte-source.js';
import { parseJson, readBounded } from '../formats/json-file.js';
import { isShardIndex } from '../formats/sharded.js';
import { VOCABULARY_NAMES } from '../formats/vocabulary-file.js';

/** What an audit depends on, by contents: file times change on every copy, and stay where contents change. */

const CHUNK_BYTES = 4 * 2 ** 20;
/** More than any project has files; reached only by an editor that stays open for long. */
const MOST_KNOWN = 20_000;

/** Contents by path and everything that the file system says of a file; one checkpoint serves thousands of gradients. */
const known = new Map<string, string>();

/**
 * SHA-256 of a file, in hexadecimal.
 *
 * @param pause called between chunks; may throw to stop
 * @throws what the file system throws when the file cannot be read
 */
export async function contentHash(path: string, pause: () => Promise<void>): Promise<string> {
  const before = await stat(path, { bigint: true });
  const earlier = known.get(keyOf(path, before));
  if (earlier !== undefined) {
    return earlier;
  }
  const hash = createHash('sha256');
  const file = await open(path);
  try {
    const buffer = Buffer.allocUnsafe(
      Number(before.size < BigInt(CHUNK_BYTES) ? before.size + 1n : BigInt(CHUNK_BYTES)),
    );
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) {
        break;
      }
      hash.update(buffer.subarray(0, bytesRead));
      await pause();
    }
  } finally {
    await file.close();
  }
  const digest = hash.digest('hex');
  const after = keyOf(path, await stat(path, { bigint: true }));
  // A file that is being written has no contents yet that could be remembered.
  if (after === keyOf(path, before)) {
    if (known.size >= MOST_KNOWN) {
      known.clear();
    }
    known.set(after, digest);
  }
  return digest;
}

function keyOf(path: string, { size, mtimeNs, ctimeNs, ino, dev }: BigIntStats): string {
  return [path, size, mtimeNs, ctimeNs, ino, dev].join('\0');
}

/** A file with all that belongs to it: the shards of an index. */
export function partsOf(path: string): string[] {
  if (!isShardIndex(path)) {
    return [path];
  }
  const map = Object.values((jsonOf(path)?.weight_map ?? {}) as Record<string, unknown>);
  const shards = [
    ...new Set(map.filter((name): name is string => typeof name === 'string' && isFileName(name))),
  ].sort();
  return [path, ...shards.map((name) => join(dirname(path), name))];
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

/** What the audit looks for beside the gradient and the checkpoint. */
const BESIDE = [
  'capture.json',
  'classes.txt',
  'classes.json',
  'class_names.json',
  'labels.txt',
  ...VOCABULARY_NAMES,
  // Says of vocab.json what its tokens are written in.
  'merges.txt',
  'model.onnx',
  'recipe.json',
  CONFIG_FILE,
  ADAPTER_CONFIG,
  ...ADAPTER_FILES,
  ...BASE_FILES,
  'model.json',
  'model.keras',
];

export function besideOf(gradients: string, checkpoint: string): string[] {
  const folders = [...new Set([dirname(gradients), dirname(checkpoint)])];
  return folders.flatMap((folder) => BESIDE.map((name) => join(folder, name)));
}

/** The same for a file that may be missing or unreadable: then its absence is what counts. */
export async function contentHashIfAny(path: string, pause: () => Promise<void>): Promise<string | null> {
  try {
    return await contentHash(path, pause);
  } catch (error) {
    if (isFileSystemError(error)) {
      return null;
    }
    throw error;
  }
}

export function isFileSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error;
}

/** Settings as a text that changes with them and with the contents of the files that they name. */
export async function settingsKey(
  settings: Omit<AuditRequest, 'checkpoint' | 'gradients' | 'out' | 'truth'>,
  pause: () => Promise<void>,
): Promise<string> {
  const { model, lpips } = settings.reconstruction ?? {};
  const files: (string | null)[] = [];
  for (const path of [model, lpips]) {
    files.push(path === undefined ? null : await contentHashIfAny(path, pause));
  }
  return JSON.stringify({ settings, files });
}
