import { crc32 as zlibCrc32, inflateRawSync } from 'node:zlib';
import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, malformed, memorySource, truncated, windowSource } from './byte-source.js';
import { requireMemory } from './memory.js';
import { ShortTexts } from './short-texts.js';

/**
 * Reads a zip archive's central directory and its entries on demand (PKWARE APPNOTE 6.3.9, with zip64).
 *
 * Ours rather than a library's because the input is hostile: every size is checked against the file
 * before memory is taken, and entries that share bytes or inflate absurdly are refused.
 */

export interface ZipEntry {
  readonly name: string;
  readonly method: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly headerOffset: number;
  readonly crc32: number;
}

export interface ZipArchive {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** The entry's content; a stored entry is a window of the file, a deflated one is inflated whole. */
  open(entry: ZipEntry): ByteSource;
  /** The first bytes of the content without inflating the rest. */
  head(entry: ZipEntry, length: number): Uint8Array;
}

const STORED = 0;
const DEFLATED = 8;
const END_SIGNATURE = 0x06054b50;
const ZIP64_END_SIGNATURE = 0x06064b50;
const ZIP64_LOCATOR_SIGNATURE = 0x07064b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;

const MAX_DIRECTORY_BYTES = 512 * 2 ** 20;
const MAX_INFLATED_BYTES = 2 ** 31;
/** Deflate cannot exceed 1032:1, and tensors never come near: a large entry above this ratio is a bomb. */
const MAX_RATIO = 200;
const RATIO_CHECK_FROM_BYTES = 256 * 2 ** 20;

/** True when the file begins like a zip archive. */
export function looksLikeZip(source: ByteSource): boolean {
  if (source.size < 4) {
    return false;
  }
  const signature = view(source.read(0, 4)).getUint32(0, true);
  return signature === LOCAL_SIGNATURE || signature === END_SIGNATURE;
}

/**
 * Reads the central directory only.
 *
 * @throws UnusableInputError for a truncated archive, a directory that lies, overlapping entries or a bomb.
 */
export function openZip(source: ByteSource): ZipArchive {
  const directory = locateDirectory(source);
  const entries = readDirectory(source, directory);
  refuseOverlaps(source, entries);
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  // Who reads a tensor in blocks opens its entry for each; what is inflated stays until memory is wanted for something else.
  let recent: { readonly entry: ZipEntry; readonly content: WeakRef<ByteSource> } | undefined;
  const open = (entry: ZipEntry): ByteSource => {
    const known = recent?.entry === entry ? recent.content.deref() : undefined;
    if (known) {
      return known;
    }
    const content = openEntry(source, entry);
    recent = entry.method === STORED ? recent : { entry, content: new WeakRef(content) };
    return content;
  };
  return {
    entries: byName,
    open,
    head: (entry, length) => readHead(source, entry, length),
  };
}

interface DirectoryLocation {
  offset: number;
  size: number;
  count: number;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function locateDirectory(source: ByteSource): DirectoryLocation {
  // The end record is 22 bytes plus a comment of at most 65535.
  const tailLength = Math.min(source.size, 22 + 0xffff);
  const tailStart = source.size - tailLength;
  const tail = view(source.read(tailStart, tailLength));
  for (let at = tailLength - 22; at >= 0; at--) {
    if (tail.getUint32(at, true) !== END_SIGNATURE || at + 22 + tail.getUint16(at + 20, true) > tailLength) {
      continue;
    }
    const location = {
      count: tail.getUint16(at + 10, true),
      size: tail.getUint32(at + 12, true),
      offset: tail.getUint32(at + 16, true),
    };
    const needs64 = location.count === 0xffff || location.size === 0xffffffff || location.offset === 0xffffffff;
    return checkLocation(source, needs64 ? locateDirectory64(source, tailStart + at) : location);
  }
  throw truncated(source.path, 'a zip archive without its directory at the end', 'a complete zip archive');
}

function locateDirectory64(source: ByteSource, endOffset: number): DirectoryLocation {
  const locator = endOffset >= 20 ? view(source.read(endOffset - 20, 20)) : undefined;
  if (locator?.getUint32(0, true) !== ZIP64_LOCATOR_SIGNATURE) {
    throw malformed(source.path, 'a zip64 archive without its locator', 'a complete zip64 archive');
  }
  const record = view(source.read(safeUint64(source, locator, 8), 56));
  if (record.getUint32(0, true) !== ZIP64_END_SIGNATURE) {
    throw malformed(source.path, 'a zip64 locator that points to something else', 'a zip64 end record');
  }
  return {
    count: safeUint64(source, record, 32),
    size: safeUint64(source, record, 40),
    offset: safeUint64(source, record, 48),
  };
}

function checkLocation(source: ByteSource, location: DirectoryLocation): DirectoryLocation {
  const { offset, size, count } = location;
  if (offset + size > source.size || count * 46 > size || size > MAX_DIRECTORY_BYTES) {
    throw new UnusableInputError({
      code: 'size-lie',
      file: source.path,
      found: `a zip directory that claims ${count} entries in ${size} bytes at offset ${offset}`,
      expected: `a directory inside the file's ${source.size} bytes`,
      advice: 'The file is damaged or forged: do not trust it.',
    });
  }
  return location;
}

function readDirectory(source: ByteSource, location: DirectoryLocation): ZipEntry[] {
  const bytes = Buffer.from(source.read(location.offset, location.size).buffer);
  const data = view(bytes);
  const names = new ShortTexts();
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let index = 0; index < location.count; index++) {
    if (at + 46 > bytes.length || data.getUint32(at, true) !== CENTRAL_SIGNATURE) {
      throw malformed(source.path, `a zip directory that breaks off at entry ${index}`, `${location.count} entries`);
    }
    const nameLength = data.getUint16(at + 28, true);
    const extraLength = data.getUint16(at + 30, true);
    const commentLength = data.getUint16(at + 32, true);
    const next = at + 46 + nameLength + extraLength + commentLength;
    if (next > bytes.length) {
      throw malformed(source.path, `a zip directory entry ${index} longer than the directory`, 'an entry inside it');
    }
    const extra = at + 46 + nameLength;
    const { size, compressedSize, headerOffset } = readSizes(source, data, at, extra, extra + extraLength);
    entries.push({
      name: names.decode(bytes, at + 46, extra),
      method: data.getUint16(at + 10, true),
      crc32: data.getUint32(at + 16, true),
      size,
      compressedSize,
      headerOffset,
    });
    at = next;
  }
  return entries;
}

const IN_EXTRA = 0xffffffff;

/** Sizes and offset of an entry; a value of 0xffffffff means "see the zip64 extra field", in this order. */
function readSizes(
  source: ByteSource,
  data: DataView,
  at: number,
  extra: number,
  end: number,
): Pick<ZipEntry, 'compressedSize' | 'size' | 'headerOffset'> {
  let size = data.getUint32(at + 24, true);
  let compressedSize = data.getUint32(at + 20, true);
  let headerOffset = data.getUint32(at + 42, true);
  if (size !== IN_EXTRA && compressedSize !== IN_EXTRA && headerOffset !== IN_EXTRA) {
    return { size, compressedSize, headerOffset };
  }
  for (let field = extra; field + 4 <= end; field += 4 + data.getUint16(field + 2, true)) {
    if (data.getUint16(field, true) !== 1) {
      continue;
    }
    let cursor = field + 4;
    const last = Math.min(cursor + data.getUint16(field + 2, true), end);
    const next = (value: number): number => {
      if (value !== IN_EXTRA || cursor + 8 > last) {
        return value;
      }
      cursor += 8;
      return safeUint64(source, data, cursor - 8);
    };
    size = next(size);
    compressedSize = next(compressedSize);
    headerOffset = next(headerOffset);
    break;
  }
  return { size, compressedSize, headerOffset };
}

function refuseOverlaps(source: ByteSource, entries: readonly ZipEntry[]): void {
  const isSorted = entries.every((entry, at) => at === 0 || (entries[at - 1]?.headerOffset ?? 0) <= entry.headerOffset);
  const sorted = isSorted ? entries : [...entries].sort((one, other) => one.headerOffset - other.headerOffset);
  let end = 0;
  for (const entry of sorted) {
    if (entry.headerOffset < end) {
      throw new UnusableInputError({
        code: 'zip-bomb',
        file: source.path,
        found: `zip entries that share the same bytes ("${entry.name}")`,
        expected: 'entries one after another',
        advice: 'This is how zip bombs are built: do not trust the file.',
      });
    }
    end = entry.headerOffset + 30 + entry.compressedSize;
    if (end > source.size) {
      throw new UnusableInputError({
        code: 'size-lie',
        file: source.path,
        found: `entry "${entry.name}" of ${entry.compressedSize} bytes at offset ${entry.headerOffset}`,
        expected: `an entry inside the file's ${source.size} bytes`,
        advice: 'The file is cut short or forged: copy or save it again.',
      });
    }
  }
}

/** Where the content starts: the local header repeats the name and may hold another extra field (PyTorch aligns with it). */
function dataOffset(source: ByteSource, entry: ZipEntry): number {
  const header = view(source.read(entry.headerOffset, 30));
  if (header.getUint32(0, true) !== LOCAL_SIGNATURE) {
    throw malformed(
      source.path,
      `no local header for entry "${entry.name}"`,
      'the header that the directory points to',
    );
  }
  return entry.headerOffset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
}

function openEntry(source: ByteSource, entry: ZipEntry): ByteSource {
  const start = dataOffset(source, entry);
  if (entry.method === STORED) {
    if (entry.size !== entry.compressedSize) {
      throw malformed(source.path, `stored entry "${entry.name}" with two different sizes`, 'equal sizes');
    }
    return windowSource(source, start, entry.size);
  }
  refuseBomb(source, entry);
  requireMemory({
    bytes: entry.compressedSize + entry.size,
    file: source.path,
    what: `compressed entry "${entry.name}" that is inflated whole and`,
  });
  const compressed = source.read(start, entry.compressedSize);
  const content = inflate(source, entry, compressed, entry.size);
  if (content.length !== entry.size) {
    throw malformed(source.path, `entry "${entry.name}" of ${content.length} bytes`, `${entry.size} bytes as declared`);
  }
  // zlib.crc32 is missing from Node 20.0 to 20.14; the check is a courtesy, so it is left out there.
  if (typeof zlibCrc32 === 'function' && zlibCrc32(content) !== entry.crc32) {
    throw malformed(source.path, `entry "${entry.name}" with a wrong checksum`, 'the checksum in the directory');
  }
  return memorySource(source.path, content);
}

function readHead(source: ByteSource, entry: ZipEntry, length: number): Uint8Array {
  const start = dataOffset(source, entry);
  if (entry.method === STORED) {
    return source.read(start, Math.min(length, entry.size));
  }
  const compressed = source.read(start, Math.min(length, entry.compressedSize));
  return inflate(source, entry, compressed, compressed.length * 1040 + 1024).subarray(0, length);
}

function inflate(source: ByteSource, entry: ZipEntry, compressed: Uint8Array, limit: number): Uint8Array {
  if (entry.method !== DEFLATED) {
    throw malformed(source.path, `entry "${entry.name}" with compression method ${entry.method}`, 'stored or deflated');
  }
  try {
    // A flush instead of a finish accepts a prefix of the stream, which is what reading a head needs.
    return inflateRawSync(compressed, { maxOutputLength: Math.max(limit, 1), finishFlush: 2 });
  } catch {
    throw malformed(
      source.path,
      `entry "${entry.name}" that does not inflate to its declared size`,
      'valid deflate data',
    );
  }
}

function refuseBomb(source: ByteSource, entry: ZipEntry): void {
  const ratio = entry.size / Math.max(entry.compressedSize, 1);
  if (entry.size > MAX_INFLATED_BYTES || (entry.size > RATIO_CHECK_FROM_BYTES && ratio > MAX_RATIO)) {
    throw new UnusableInputError({
      code: 'zip-bomb',
      file: source.path,
      found: `entry "${entry.name}" that inflates from ${entry.compressedSize} to ${entry.size} bytes`,
      expected: `at most ${MAX_INFLATED_BYTES} bytes, and at most ${MAX_RATIO} times the compressed size`,
      advice: 'This looks like a zip bomb: do not trust the file, or save it again uncompressed.',
    });
  }
}

function safeUint64(source: ByteSource, data: DataView, at: number): number {
  const value = data.getUint32(at + 4, true) * 2 ** 32 + data.getUint32(at, true);
  if (!Number.isSafeInteger(value)) {
    throw malformed(source.path, `a size of ${data.getBigUint64(at, true)} bytes`, 'a size that a file can have');
  }
  return value;
}
