import { BFLOAT16, FLOAT16, toGrid } from '../../defences/float-grid.js';
import type { Dtype, TensorFile } from '../../formats/tensor-file.js';

/** An update as it would have left the machine under a defence, in memory: its numbers are changed when they are read. */

/** Numbers of changed tensors that are kept for the next method that reads them. */
const MOST_KEPT = 2 ** 24;

/**
 * @param numbers names of the tensors that are changed; others stay as they are
 * @param withheld names of those that are not there at all
 * @param change gives other numbers, and leaves the ones that it is given alone
 */
export function defendedFile(
  file: TensorFile,
  numbers: ReadonlySet<string>,
  withheld: ReadonlySet<string>,
  change: (name: string, data: Float64Array) => Float64Array,
): TensorFile {
  const dtypes = new Map(file.entries.map(({ name, dtype }) => [name, dtype]));
  const kept = new Map<string, Float64Array>();
  let size = 0;
  // A larger one stays while it is read in blocks, until memory is wanted for something else.
  let recent: { readonly name: string; readonly data: WeakRef<Float64Array> } | undefined;
  const changed = (name: string): Float64Array => {
    const known = kept.get(name) ?? (recent?.name === name ? recent.data.deref() : undefined);
    if (known) {
      return known;
    }
    const data = stored(change(name, file.read(name).data), dtypes.get(name));
    if (size + data.length <= MOST_KEPT) {
      kept.set(name, data);
      size += data.length;
    } else {
      recent = { name, data: new WeakRef(data) };
    }
    return data;
  };
  return {
    path: file.path,
    format: file.format,
    entries: file.entries.filter(({ name }) => !withheld.has(name)),
    foreignGlobals: [],
    notes: [],
    read: (name, range) => {
      if (!numbers.has(name)) {
        return file.read(name, range);
      }
      const { shape, dtype } = file.read(name, { start: 0, end: 0 });
      const data = changed(name);
      // Readers may write into what they are given.
      return { shape, dtype, data: range ? data.slice(range.start, range.end) : data.slice() };
    },
    close: () => undefined,
  };
}

/** As the file's own type holds it. */
function stored(data: Float64Array, dtype: Dtype | undefined): Float64Array {
  switch (dtype) {
    case 'float32':
      return data.map(Math.fround);
    case 'float16':
      return data.map((value) => toGrid(value, FLOAT16));
    case 'bfloat16':
      return data.map((value) => toGrid(value, BFLOAT16));
    default:
      return data;
  }
}
