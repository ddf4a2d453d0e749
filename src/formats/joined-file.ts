import { mergedGlobals } from './pickle-globals.js';
import type { TensorFile } from './tensor-file.js';

/**
 * Two files of one model as one. Where both hold a name, the first one's tensor is meant.
 *
 * Closing it closes both.
 */
export function joinedFile(first: TensorFile, second: TensorFile): TensorFile {
  const names = new Set(first.entries.map(({ name }) => name));
  return {
    path: first.path,
    format: first.format,
    entries: [...first.entries, ...second.entries.filter(({ name }) => !names.has(name))],
    foreignGlobals: mergedGlobals([...first.foreignGlobals, ...second.foreignGlobals]),
    notes: [...first.notes, ...second.notes],
    read: (name, range) => (names.has(name) ? first : second).read(name, range),
    close: () => {
      first.close();
      second.close();
    },
  };
}
