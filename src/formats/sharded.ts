import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { type ByteSource, isFileName, malformed, openFile } from './byte-source.js';
import { parseJson, readBounded } from './json-file.js';
import { unknownTensor } from './located-file.js';
import { mergedGlobals } from './pickle-globals.js';
import type { TensorFile, FormatName } from './tensor-file.js';

/** Checkpoints in several files beside each other, with an index in JSON, as `save_pretrained` writes large ones. */

const MAX_INDEX_BYTES = 100_000_000;
const MAX_SHARDS = 4096;

const FORMATS: readonly (readonly [ending: string, format: FormatName])[] = [
  ['.safetensors.index.json', 'safetensors-sharded'],
  ['.bin.index.json', 'torch-sharded'],
];

/** How the names of indices end: `model.safetensors.index.json`, `pytorch_model.bin.index.json`. */
export const INDEX_EXTENSIONS = FORMATS.map(([ending]) => ending);

/** True for the name of a sharded checkpoint's index. */
export function isShardIndex(path: string): boolean {
  return INDEX_EXTENSIONS.some((ending) => path.endsWith(ending));
}

/**
 * Opens a sharded checkpoint through its index; every shard must lie beside it.
 *
 * @param openShard opens one shard; closes nothing
 */
export function openSharded(source: ByteSource, openShard: (source: ByteSource) => TensorFile): TensorFile {
  if (source.size > MAX_INDEX_BYTES) {
    throw malformed(source.path, `an index of ${source.size} bytes`, `at most ${MAX_INDEX_BYTES} bytes`);
  }
  const bytes = source.read(0, source.size);
  const map = weightMap(source.path, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const placed = Object.entries(map).map(([name, shard]) => [name, shardName(source.path, shard)] as const);
  const shardNames = [...new Set(placed.map(([, shard]) => shard))];
  if (shardNames.length > MAX_SHARDS) {
    throw malformed(source.path, `${shardNames.length} shards`, `at most ${MAX_SHARDS}`);
  }
  const shards = new Map<string, TensorFile>();
  const closeShards = (): void => {
    for (const shard of shards.values()) {
      shard.close();
    }
  };
  let owners: Map<string, TensorFile>;
  try {
    for (const name of shardNames) {
      shards.set(name, shardBeside(source.path, name, openShard));
    }
    owners = ownersOf(source.path, placed, shards);
  } catch (error) {
    closeShards();
    throw error;
  }
  const all = [...shards.values()];
  return {
    path: source.path,
    format: FORMATS.find(([ending]) => source.path.endsWith(ending))?.[1] ?? 'safetensors-sharded',
    entries: all.flatMap((shard) => shard.entries.filter(({ name }) => owners.get(name) === shard)),
    foreignGlobals: mergedGlobals(all.flatMap((shard) => shard.foreignGlobals)),
    notes: [...new Set(all.flatMap((shard) => shard.notes))],
    read(name, range) {
      const owner = owners.get(name);
      if (!owner) {
        throw unknownTensor(source.path, name);
      }
      return owner.read(name, range);
    },
    close() {
      closeShards();
      source.close();
    },
  };
}

/** The files beside an index that it names, sorted; none where it cannot be read, as opening it says why. */
export function shardsOf(path: string): string[] {
  try {
    const shards = Object.values(weightMap(path, readBounded(path, MAX_INDEX_BYTES))).filter(isShardName);
    return [...new Set(shards)].sort().map((shard) => join(dirname(path), shard));
  } catch {
    return [];
  }
}

function weightMap(path: string, bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(bytes);
  } catch (error) {
    throw malformed(path, `an index that cannot be read (${messageOf(error)})`, 'a JSON object');
  }
  const map = isObject(value) ? value.weight_map : undefined;
  if (!isObject(map)) {
    throw malformed(path, 'an index without weight_map', 'a map from tensor names to shard files');
  }
  return map;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A shard is a sibling by definition; anything else would let an index open files elsewhere, or itself. */
function isShardName(name: unknown): name is string {
  return typeof name === 'string' && isFileName(name) && !isShardIndex(name);
}

function shardName(indexPath: string, name: unknown): string {
  if (!isShardName(name)) {
    throw malformed(
      indexPath,
      typeof name === 'string' ? `shard "${name}"` : 'a shard whose name is no text',
      "names of tensor files in the index's own folder",
    );
  }
  return name;
}

function shardBeside(indexPath: string, name: string, openShard: (source: ByteSource) => TensorFile): TensorFile {
  const path = join(dirname(indexPath), name);
  if (!existsSync(path)) {
    throw new UnusableInputError({
      code: 'missing-file',
      file: indexPath,
      found: `no shard "${name}" beside it`,
      expected: 'all the files that the index names',
      advice: 'Copy the missing shard into the same folder.',
    });
  }
  const source = openFile(path);
  try {
    return openShard(source);
  } catch (error) {
    source.close();
    throw error;
  }
}

function ownersOf(
  indexPath: string,
  placed: readonly (readonly [name: string, shard: string])[],
  shards: ReadonlyMap<string, TensorFile>,
): Map<string, TensorFile> {
  const held = new Map(
    [...shards].map(([shard, file]) => [shard, { file, names: new Set(file.entries.map(({ name }) => name)) }]),
  );
  return new Map(
    placed.map(([name, shard]) => {
      const own = held.get(shard);
      if (own?.names.has(name) !== true) {
        throw malformed(
          indexPath,
          `tensor "${name}" that shard "${shard}" does not hold`,
          'an index that fits its shards',
        );
      }
      return [name, own.file];
    }),
  );
}
