import { unknownTensor } from './located-file.js';
import { type TensorEntry, type TensorFile, elementCount, isFloating } from './tensor-file.js';

/** A tensor and what is added to it: `factor` times a tensor of the same shape. */
export interface Summands {
  readonly first: TensorEntry;
  readonly second: TensorEntry;
  readonly factor: number;
}

/**
 * One file's tensors plus multiples of another's as a file of its own, under the names of the first: weights after minus
 * weights before, or an update without its weight decay. The sum is taken in float64 when a tensor is read, so a difference
 * is exact wherever both numbers are of one size, and nothing is kept.
 *
 * Closing it closes nothing: both files belong to who opened them.
 */
export function sumFile(first: TensorFile, second: TensorFile, sums: readonly Summands[]): TensorFile {
  const byName = new Map(sums.map((own) => [own.first.name, own]));
  return {
    path: first.path,
    format: first.format,
    entries: sums.map(({ first: entry }) =>
      isFloating(entry.dtype) ? { ...entry, dtype: 'float64', bytes: 8 * elementCount(entry.shape) } : entry,
    ),
    foreignGlobals: first.foreignGlobals,
    notes: first.notes,
    read(name, range) {
      const sum = byName.get(name);
      if (!sum) {
        throw unknownTensor(first.path, name);
      }
      const { shape, dtype, data } = first.read(name, range);
      if (sum.factor === 0) {
        return { shape, dtype: isFloating(dtype) ? 'float64' : dtype, data };
      }
      const added = second.read(sum.second.name, range).data;
      return {
        shape,
        dtype: isFloating(dtype) ? 'float64' : dtype,
        data: data.map((value, index) => value + sum.factor * (added[index] ?? 0)),
      };
    },
    close: () => undefined,
  };
}

/** The same tensors times -1. Closing it closes nothing. */
export function negatedFile(file: TensorFile): TensorFile {
  return {
    ...file,
    read(name, range) {
      const own = file.read(name, range);
      return { ...own, data: own.data.map((value) => -value) };
    },
    close: () => undefined,
  };
}
