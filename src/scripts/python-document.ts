import { Tree, TreeFragment } from '@lezer/common';
import { parser } from '@lezer/python';
import { blocksOf } from './python-blocks.js';

/** A Python text with its syntax trees, parsed anew only where it changed. */
export interface PythonDocument {
  readonly text: string;
  /** In the order of the text, all of it; one that has not changed is the same object as before. */
  readonly blocks: readonly ParsedBlock[];
  /** False where time ran out; {@link updatePython} goes on, with the same text or another. */
  readonly isComplete: boolean;
}

export interface ParsedBlock {
  readonly text: string;
  /** Ends before the text does where time ran out; empty where it is nested deeper than the stack is. */
  readonly tree: Tree;
  /** Whether there is nothing left to parse, or no hope of it. */
  readonly isDone: boolean;
}

/** Programs of a million characters take as long, and so do some thousands of which nearly every one is an error. */
export const MOST_MS = 500;
/** Whoever types waits for it. */
export const MOST_MS_OF_UPDATE = 15;

/** @param mostMs of elapsed and of processor time; what was not parsed until then is left out of the trees */
export function parsePython(text: string, mostMs = MOST_MS): PythonDocument {
  const isOver = clock(mostMs);
  const blocks = blocksOf(text).map((own) => (isOver() ? unparsed(own) : parseBlock(own, [], isOver)));
  return documentOf(text, blocks);
}

/**
 * The document with another text; trees of blocks that stay the same are used again, and parts of those that change.
 *
 * @param mostMs as {@link parsePython} takes it
 */
export function updatePython(before: PythonDocument, text: string, mostMs = MOST_MS_OF_UPDATE): PythonDocument {
  const isOver = clock(mostMs);
  const blocks = aligned(before.blocks, blocksOf(text));
  // What has changed is looked at, so it comes before what was left from earlier.
  const next = blocks.map(({ own, old }) =>
    old?.text === own || isOver() ? known(own, old) : parseBlock(own, changedFragments(old, own), isOver),
  );
  return documentOf(
    text,
    next.map((block) => (block.isDone || isOver() ? block : parseBlock(block.text, fragmentsOf(block), isOver))),
  );
}

/** How much of a document is parsed, in characters. */
export function parsedLength({ blocks }: PythonDocument): number {
  return blocks.reduce((sum, { tree }) => sum + tree.length, 0);
}

function documentOf(text: string, blocks: readonly ParsedBlock[]): PythonDocument {
  return { text, blocks, isComplete: blocks.every(({ isDone }) => isDone) };
}

/** Elapsed time counts other processes too: a busy machine cuts no script short. */
function clock(mostMs: number): () => boolean {
  const [started, used] = [performance.now(), process.cpuUsage()];
  return () => {
    if (performance.now() - started < mostMs) {
      return false;
    }
    const { user, system } = process.cpuUsage(used);
    return (user + system) / 1000 >= mostMs;
  };
}

function unparsed(text: string): ParsedBlock {
  return { text, tree: Tree.empty, isDone: false };
}

/** Of a block whose text has changed, nothing holds until it is parsed. */
function known(text: string, old: ParsedBlock | undefined): ParsedBlock {
  return old?.text === text ? old : unparsed(text);
}

function parseBlock(text: string, fragments: readonly TreeFragment[], isOver: () => boolean): ParsedBlock {
  const parsing = parser.startParse(text, fragments);
  try {
    let tree = parsing.advance();
    while (!tree) {
      if (parsing.stoppedAt === null && isOver()) {
        parsing.stopAt(parsing.parsedPos);
      }
      tree = parsing.advance();
    }
    return { text, tree, isDone: tree.length === text.length };
  } catch (error) {
    // Lezer builds a tree of some texts nested thousands deep by calls nested as deep; how many fit depends on the caller.
    if (error instanceof RangeError) {
      return { text, tree: Tree.empty, isDone: true };
    }
    throw error;
  }
}

/** Each block with the earlier one that it is, or that it is a change of. */
function aligned(before: readonly ParsedBlock[], texts: readonly string[]): { own: string; old?: ParsedBlock }[] {
  const shorter = Math.min(before.length, texts.length);
  let same = 0;
  while (same < shorter && before[same]?.text === texts[same]) {
    same++;
  }
  let sameAtEnd = 0;
  while (sameAtEnd < shorter - same && before.at(-1 - sameAtEnd)?.text === texts.at(-1 - sameAtEnd)) {
    sameAtEnd++;
  }
  const shift = before.length - texts.length;
  // Blocks that were cut or joined move others in between.
  const between = new Map(before.slice(same, before.length - sameAtEnd).map((block) => [block.text, block]));
  return texts.map((own, at) => {
    const old = at < same ? before[at] : at >= texts.length - sameAtEnd ? before[at + shift] : undefined;
    const found = old ?? between.get(own) ?? (at < before.length - sameAtEnd ? before[at] : undefined);
    return found ? { own, old: found } : { own };
  });
}

function fragmentsOf({ text, tree }: ParsedBlock): readonly TreeFragment[] {
  return TreeFragment.addTree(tree, [], tree.length < text.length);
}

function changedFragments(old: ParsedBlock | undefined, text: string): readonly TreeFragment[] {
  if (!old) {
    return [];
  }
  const shorter = Math.min(old.text.length, text.length);
  let from = 0;
  while (from < shorter && old.text.charCodeAt(from) === text.charCodeAt(from)) {
    from++;
  }
  let end = 0;
  while (end < shorter - from && old.text.at(-1 - end) === text.at(-1 - end)) {
    end++;
  }
  return TreeFragment.applyChanges(fragmentsOf(old), [
    { fromA: from, toA: old.text.length - end, fromB: from, toB: text.length - end },
  ]);
}
