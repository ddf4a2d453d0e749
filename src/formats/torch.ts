import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, malformed, truncated, windowSource } from './byte-source.js';
import { locatedFile } from './located-file.js';
import { parsePickle } from './pickle.js';
import { PickleDict, PickleGlobal, PickleList, PickleObject, PickleTuple, type PickleValue } from './pickle-values.js';
import { foreignGlobals } from './pickle-globals.js';
import { type Storage, type StorageResolver, collectTensors, storageDtype } from './pickled-tensors.js';
import { type TensorFile, dtypeBytes } from './tensor-file.js';
import type { ZipArchive } from './zip.js';

/** What `torch.save` and `torch.jit.save` write: the zip format, the legacy stream, and a bare pickle. */

/** torch.serialization.MAGIC_NUMBER of the legacy format. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;
/** PyTorch compresses none; it would be in memory as a whole. */
const MAX_INFLATED_PICKLE = 64 * 2 ** 20;

/** The folder inside the archive that holds `data.pkl`; undefined when this is no PyTorch archive. */
export function torchArchiveRoot(archive: ZipArchive): string | undefined {
  for (const name of archive.entries.keys()) {
    if (name === 'data.pkl' || name.endsWith('/data.pkl')) {
      return name.slice(0, -'data.pkl'.length);
    }
  }
  return undefined;
}

/** Opens a zip-format checkpoint (torch >= 1.6) or a TorchScript archive; reads the directory and the pickle only. */
export function openTorchZip(source: ByteSource, archive: ZipArchive, root: string): TensorFile {
  const open = (name: string): ByteSource | undefined => {
    const entry = archive.entries.get(root + name);
    return entry && archive.open(entry);
  };
  const pickle = openPickle(source, archive, `${root}data.pkl`);
  const order = open('byteorder');
  const littleEndian = !order || new TextDecoder().decode(order.read(0, Math.min(order.size, 8))).trim() !== 'big';
  const resolve: StorageResolver = (id) => {
    const reference = storageReference(id);
    const entry = reference && archive.entries.get(`${root}data/${reference.key}`);
    if (!entry) {
      return undefined;
    }
    return { dtype: reference.dtype, bytes: entry.size, littleEndian, open: () => archive.open(entry) };
  };
  const parsed = parsePickle(pickle);
  const { tensors, notes } = collectTensors(source.path, parsed.value, resolve);
  const isScript = hasFolder(archive, `${root}code/`);
  return locatedFile(source, isScript ? 'torchscript' : 'torch-zip', tensors, {
    // A TorchScript archive names its own compiled classes, which no Python import could reach.
    foreignGlobals: foreignGlobals(parsed.globals).filter(
      (global) => !isScript || !global.module.startsWith('__torch__'),
    ),
    notes,
  });
}

function hasFolder({ entries }: ZipArchive, folder: string): boolean {
  for (const name of entries.keys()) {
    if (name.startsWith(folder)) {
      return true;
    }
  }
  return false;
}

function openPickle(source: ByteSource, archive: ZipArchive, name: string): ByteSource {
  const entry = archive.entries.get(name);
  if (!entry) {
    throw malformed(source.path, 'an archive without data.pkl', 'a PyTorch archive');
  }
  if (entry.size !== entry.compressedSize && entry.size > MAX_INFLATED_PICKLE) {
    throw new UnusableInputError({
      code: 'zip-bomb',
      file: source.path,
      found: `a compressed data.pkl of ${entry.size} bytes`,
      expected: `at most ${MAX_INFLATED_PICKLE} bytes`,
      advice: 'PyTorch compresses none: do not trust the file, or save it again.',
    });
  }
  return archive.open(entry);
}

/** "(", the smallest opcode there is. */
const LEAST_OPCODE = 0x28;

/**
 * True when the file begins like a pickle of protocol 2 or later, as both older PyTorch files and bare pickles do. Bytes
 * that no pickle goes on with are the length of a safetensors header, such as 640.
 */
export function looksLikePickle(head: Uint8Array): boolean {
  const [mark, protocol = 0, opcode = LEAST_OPCODE] = head;
  return mark === 0x80 && protocol >= 2 && protocol <= 5 && opcode >= LEAST_OPCODE;
}

/** Opens the legacy stream of torch < 1.6, or a bare pickle (numpy arrays in it are read). */
export function openTorchLegacy(source: ByteSource): TensorFile {
  const first = parsePickle(source);
  if (first.value !== LEGACY_MAGIC) {
    const { tensors, notes } = collectTensors(source.path, first.value, () => undefined);
    return locatedFile(source, 'pickle', tensors, { foreignGlobals: foreignGlobals(first.globals), notes });
  }
  const protocol = parsePickle(source, first.end);
  if (protocol.value !== LEGACY_PROTOCOL) {
    throw malformed(source.path, 'a legacy PyTorch file of an unknown protocol', `protocol ${LEGACY_PROTOCOL}`);
  }
  const system = parsePickle(source, protocol.end);
  const object = parsePickle(source, system.end);
  const keys = parsePickle(source, object.end);
  const storages = locateLegacyStorages(source, object.value, keys.value, keys.end, isLittleEndian(system.value));
  const { tensors, notes } = collectTensors(source.path, object.value, (id) =>
    storages.get(storageReference(id)?.key ?? ''),
  );
  return locatedFile(source, 'torch-legacy', tensors, { foreignGlobals: foreignGlobals(object.globals), notes });
}

interface StorageReference {
  readonly dtype: Storage['dtype'];
  readonly key: string;
}

/** `('storage', FloatStorage, key, location, numel[, view])`, the same in both formats. */
function storageReference(id: PickleValue): StorageReference | undefined {
  if (!(id instanceof PickleTuple) || id.items[0] !== 'storage') {
    return undefined;
  }
  const [, type, key] = id.items;
  return { dtype: storageDtype(type), key: storageKey(key) };
}

/** Keys are strings, numbers in very old files. */
function storageKey(key: PickleValue | undefined): string {
  return typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint' ? String(key) : '';
}

function isLittleEndian(system: PickleValue): boolean {
  const pairs = system instanceof PickleDict ? system.pairs : [];
  return pairs.find(([key]) => key === 'little_endian')?.[1] !== false;
}

/** After the key list, each storage is an int64 element count followed by its data, in the order of the keys. */
function locateLegacyStorages(
  source: ByteSource,
  object: PickleValue,
  keys: PickleValue,
  start: number,
  littleEndian: boolean,
): Map<string, Storage> {
  const types = legacyStorageTypes(object);
  const storages = new Map<string, Storage>();
  let at = start;
  for (const key of keys instanceof PickleList ? keys.items.map(storageKey) : []) {
    if (at + 8 > source.size) {
      throw truncated(source.path, `data for ${storages.size} storages`, `data for storage "${key}" as well`);
    }
    const count = Number(new DataView(source.read(at, 8).buffer).getBigInt64(0, littleEndian));
    const dtype = types.get(key);
    if (!dtype) {
      throw malformed(source.path, `storage "${key}" of an unknown type`, 'a typed storage');
    }
    const bytes = count * dtypeBytes(dtype);
    if (!(count >= 0) || at + 8 + bytes > source.size) {
      throw truncated(source.path, `${source.size} bytes`, `${at + 8 + bytes} bytes or more for storage "${key}"`);
    }
    const offset = at + 8;
    storages.set(key, { dtype, bytes, littleEndian, open: () => windowSource(source, offset, bytes) });
    at = offset + bytes;
  }
  return storages;
}

function legacyStorageTypes(root: PickleValue): Map<string, NonNullable<Storage['dtype']>> {
  const types = new Map<string, NonNullable<Storage['dtype']>>();
  const seen = new Set<PickleValue>();
  const pending: PickleValue[] = [root];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (typeof value !== 'object' || value === null || seen.has(value)) {
      continue;
    }
    seen.add(value);
    if ('id' in value) {
      const reference = storageReference(value.id);
      if (reference?.dtype) {
        types.set(reference.key, reference.dtype);
      }
    }
    for (const child of childrenOf(value)) {
      pending.push(child);
    }
  }
  return types;
}

function childrenOf(value: PickleValue & object): PickleValue[] {
  if (value instanceof PickleObject) {
    return [value.args, value.state ?? null, ...value.items, ...value.pairs.flat()];
  }
  if (value instanceof PickleDict) {
    return value.pairs.flat();
  }
  return value instanceof Uint8Array || value instanceof PickleGlobal || !('items' in value) ? [] : [...value.items];
}
