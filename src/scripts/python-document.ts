import { type Tree, TreeFragment } from '@lezer/common';
import { parser } from '@lezer/python';

/** A Python text with its syntax tree, parsed anew only where it changed. */
export interface PythonDocument {
  readonly text: string;
  readonly tree: Tree;
  /** False where parts of an earlier tree were used again. */
  readonly isFresh: boolean;
}

/** A replaced stretch of the old text, in UTF-16 offsets. */
export interface TextChange {
  readonly from: number;
  readonly to: number;
  readonly inserted: number;
}

export function parsePython(text: string): PythonDocument {
  return { text, tree: parser.parse(text), isFresh: true };
}

/**
 * The document after changes; parts of the old tree that they do not touch are used again.
 *
 * @param changes made one after the other, as VS Code reports them
 */
export function updatePython(before: PythonDocument, text: string, changes: readonly TextChange[]): PythonDocument {
  let fragments: readonly TreeFragment[] = TreeFragment.addTree(before.tree);
  for (const { from, to, inserted } of changes) {
    fragments = TreeFragment.applyChanges(fragments, [{ fromA: from, toA: to, fromB: from, toB: from + inserted }]);
  }
  return { text, tree: parser.parse(text, fragments), isFresh: false };
}
