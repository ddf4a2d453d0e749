import { UnusableInputError } from '../protocol/errors.js';
import type { ByteSource } from './byte-source.js';
import { type ElementLayout, isContiguous, readElements, repeatsTooOften } from './elements.js';
import type { ForeignGlobal, FormatName, TensorEntry, TensorFile } from './tensor-file.js';

/** An entry together with where its elements lie. */
export interface LocatedTensor {
  readonly entry: TensorEntry;
  readonly layout: ElementLayout;
  /** The bytes that the layout counts in; called when they are wanted, not before. */
  open(): ByteSource;
}

/** A tensor file made of located tensors: what every format comes down to once its directory is read. */
export function locatedFile(
  source: ByteSource,
  format: FormatName,
  tensors: readonly LocatedTensor[],
  extras: { foreignGlobals?: readonly ForeignGlobal[]; notes?: readonly string[] } = {},
): TensorFile {
  // A file of a hundred thousand tensors is often listed and no more.
  let byName: Map<string, LocatedTensor> | undefined;
  return {
    path: source.path,
    format,
    entries: tensors.map(listed),
    foreignGlobals: extras.foreignGlobals ?? [],
    notes: extras.notes ?? [],
    read(name, range) {
      byName ??= new Map(tensors.map((own) => [own.entry.name, own]));
      const tensor = byName.get(name);
      if (!tensor) {
        throw unknownTensor(source.path, name);
      }
      const { shape, dtype } = tensor.entry;
      return { shape, dtype, data: readElements(tensor.open(), name, tensor.layout, range) };
    },
    close() {
      source.close();
    },
  };
}

function listed({ entry, layout }: LocatedTensor): TensorEntry {
  if (repeatsTooOften(layout)) {
    return { ...entry, isRepeated: true };
  }
  return isContiguous(layout) ? entry : { ...entry, isScattered: true };
}

/** The error for a name that the file does not list. */
export function unknownTensor(file: string, name: string): UnusableInputError {
  return new UnusableInputError({
    code: 'no-match',
    file,
    found: `no tensor named "${name}"`,
    expected: 'a name that the file lists',
    advice: 'See the names that are in the file.',
    next: ['inspect-file'],
  });
}
