import { Tree, TreeFragment } from '@lezer/common';
import { parser } from '@lezer/python';

/** A Python text with its syntax tree, parsed anew only where it changed. */
export interface PythonDocument {
  readonly text: string;
  /** Ends before the text does where parsing took too long; empty where it is nested deeper than the stack is. */
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

/** Programs of a million characters take as long, and so do some thousands of which nearly every one is an error. */
const MOST_MS = 500;

/** @param mostMs of elapsed and of processor time; then the tree ends with what was parsed until then */
export function parsePython(text: string, mostMs = MOST_MS): PythonDocument {
  return { text, tree: parse(text, [], mostMs), isFresh: true };
}

function parse(text: string, fragments: readonly TreeFragment[], mostMs: number): Tree {
  const parsing = parser.startParse(text, fragments);
  const [started, used] = [performance.now(), process.cpuUsage()];
  // Elapsed time counts other processes too: a busy machine cuts no script short.
  const isOver = (): boolean => {
    if (performance.now() - started < mostMs) {
      return false;
    }
    const { user, system } = process.cpuUsage(used);
    return (user + system) / 1000 >= mostMs;
  };
  try {
    let tree = parsing.advance();
    while (!tree) {
      if (parsing.stoppedAt === null && isOver()) {
        parsing.stopAt(parsing.parsedPos);
      }
      tree = parsing.advance();
    }
    return tree;
  } catch (error) {
    // Lezer builds a tree of some texts nested thousands deep by calls nested as deep; how many fit depends on the caller.
    if (error instanceof RangeError) {
      return Tree.empty;
    }
    throw error;
  }
}

/**
 * The document after changes; parts of the old tree that they do not touch are used again, and one that ends early is
 * gone on with.
 *
 * @param changes made one after the other, as VS Code reports them
 */
export function updatePython(before: PythonDocument, text: string, changes: readonly TextChange[]): PythonDocument {
  const isPart = before.tree.length < before.text.length;
  let fragments: readonly TreeFragment[] = TreeFragment.addTree(before.tree, [], isPart);
  for (const { from, to, inserted } of changes) {
    fragments = TreeFragment.applyChanges(fragments, [{ fromA: from, toA: to, fromB: from, toB: from + inserted }]);
  }
  return { text, tree: parse(text, fragments, MOST_MS), isFresh: false };
}
