import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, windowSource } from './byte-source.js';
import { checkLayout } from './elements.js';
import { type LocatedTensor, locatedFile } from './located-file.js';
import { looksLikeNpy, npyEntry, npyHeaderLength, parseNpyHeader } from './npy.js';
import type { TensorFile } from './tensor-file.js';
import type { ZipArchive, ZipEntry } from './zip.js';

/** True when the archive holds `.npy` members. */
export function looksLikeNpz(archive: ZipArchive): boolean {
  return [...archive.entries.keys()].some((name) => name.endsWith('.npy'));
}

/** Opens numpy's archive of arrays; listing reads only each member's header. */
export function openNpz(source: ByteSource, archive: ZipArchive): TensorFile {
  const tensors: LocatedTensor[] = [];
  const notes: string[] = [];
  for (const entry of archive.entries.values()) {
    if (!entry.name.endsWith('.npy')) {
      continue;
    }
    try {
      tensors.push(locate(source, archive, entry));
    } catch (error) {
      if (!(error instanceof UnusableInputError) || error.code !== 'unsupported-tensor') {
        throw error;
      }
      notes.push(`"${entry.name}" is left out: ${error.parts.found}.`);
    }
  }
  return locatedFile(source, 'npz', asList(tensors), { notes });
}

/** `np.savez(*arrays)` calls them by their place: arr_0, arr_1, ... */
function asList(tensors: LocatedTensor[]): LocatedTensor[] {
  const isList = tensors.length > 0 && tensors.every(({ entry }, index) => entry.name === `arr_${index}`);
  return isList ? tensors.map((own) => ({ ...own, entry: { ...own.entry, positional: true } })) : tensors;
}

function locate(source: ByteSource, archive: ZipArchive, entry: ZipEntry): LocatedTensor {
  const name = entry.name.slice(0, -'.npy'.length);
  let head = archive.head(entry, 512);
  if (!looksLikeNpy(head)) {
    throw new UnusableInputError({
      code: 'malformed-file',
      file: source.path,
      found: `member "${entry.name}" without numpy's signature`,
      expected: 'an npy array',
      advice: 'Save the archive again with np.savez.',
    });
  }
  const headerLength = npyHeaderLength(source.path, head);
  if (headerLength > head.length) {
    head = archive.head(entry, headerLength);
  }
  const { layout, dataOffset } = parseNpyHeader(source.path, head);
  checkLayout(source.path, name, layout, entry.size - dataOffset);
  return {
    entry: npyEntry(name, layout),
    layout,
    open: () => {
      const content = archive.open(entry);
      return windowSource(content, dataOffset, content.size - dataOffset);
    },
  };
}
