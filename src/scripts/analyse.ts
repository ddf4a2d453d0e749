import { Tree } from '@lezer/common';
import { type BlockPlace, type CaptureInsertion, insertionFor } from './capture-insertion.js';
import { type Hint, hintsOf } from './hints.js';
import { type Block, type Imports, type Outline, importsOf, outlineOf } from './outline.js';
import { type PythonDocument, parsePython } from './python-document.js';
import { type Facts, type Surroundings, factsOf, keyOf, surroundingsOf } from './surroundings.js';
import { type PointKind, type TrainingPoint, trainingPointsOf } from './training-points.js';

/** What the editor shows on a script. */
export interface ScriptAnalysis {
  readonly points: readonly ScriptPoint[];
  readonly hints: readonly Hint[];
}

export interface ScriptPoint {
  readonly kind: PointKind;
  readonly at: number;
  /** True for the first of its function. */
  readonly isFirst: boolean;
  /** Function that it is in, with its class: `Client.fit`; empty at the top of the file. */
  readonly within: string;
  readonly insertion: CaptureInsertion | undefined;
  /** True where its function calls gradleak_capture.py already. */
  readonly isCapturing: boolean;
}

/**
 * Offsets are into the document's text, in UTF-16 units as the editor counts. A file that does not train gives nothing.
 * What was found in a block is kept as long as the block, so after a keystroke little else is looked at.
 */
export function analyseScript({ blocks }: PythonDocument): ScriptAnalysis {
  const all = blocks.map((block) => knownOf(block));
  const imports: Imports = new Map(all.flatMap((known) => [...known.imports]));
  const outlined = all.map((known) => outlinedIn(known, imports));
  const facts = outlined.map((own) => own.facts);
  const around = surroundingsOf(facts, imports);
  const key = keyOf(around);
  const isTopCapturing = facts.some((own) => own.isTopCapturing);
  const points: ScriptPoint[] = [];
  const hints: Hint[] = [];
  let start = 0;
  let isTopSeen = false;
  for (const own of outlined) {
    const found = foundIn(own, around, key);
    const place = { start, first: outlined[0]?.outline ?? own.outline, imports, isTopCapturing };
    for (const point of found.points) {
      const isTop = !point.scope.parent;
      points.push(scriptPoint(own.outline, point, place, point.isFirst && !(isTop && isTopSeen)));
      isTopSeen ||= isTop;
    }
    hints.push(...found.hints.map((hint) => moved(hint, place.start)));
    start += own.outline.text.length;
  }
  return { points, hints: points.length > 0 ? hints : [] };
}

function scriptPoint(outline: Outline, point: TrainingPoint, place: BlockPlace, isFirst: boolean): ScriptPoint {
  return {
    kind: point.kind,
    at: place.start + point.at,
    isFirst,
    isCapturing: point.scope.parent ? outline.capturing.has(point.scope) : place.isTopCapturing,
    within: [point.scope.owner?.name, point.scope.name].filter(Boolean).join('.'),
    // Computed when it is asked for: most places are never shown.
    get insertion() {
      return insertionFor(outline, point, place);
    },
  };
}

function moved({ fix, ...hint }: Hint, by: number): Hint {
  const [from, to] = [hint.from + by, hint.to + by];
  return { ...hint, from, to, ...(fix ? { fix: { ...fix, at: fix.at + by } } : {}) };
}

/** What is known of a block. */
interface Known {
  readonly block: Block;
  readonly imports: Imports;
  outlined?: Outlined;
}

interface Outlined {
  readonly outline: Outline;
  readonly facts: Facts;
  found?: Found;
}

interface Found {
  /** The surroundings that it was found in. */
  readonly key: string;
  readonly points: readonly TrainingPoint[];
  readonly hints: readonly Hint[];
}

const KNOWN = new WeakMap<Block, Known>();

function knownOf(block: Block): Known {
  const known = KNOWN.get(block) ?? walked(block);
  KNOWN.set(block, known);
  return known;
}

/** Of some texts nested thousands deep, Lezer joins parts of an earlier tree to one that cannot be walked. */
function walked(block: Block): Known {
  const own = canBeWalked(block) ? block : (parsePython(block.text).blocks[0] ?? block);
  // What cannot be walked even when it was parsed afresh has no prompts.
  const walkable = own === block || canBeWalked(own) ? own : { text: block.text, tree: Tree.empty };
  return { block: walkable, imports: importsOf(walkable) };
}

function canBeWalked({ tree }: Block): boolean {
  try {
    tree.iterate({ enter: () => undefined });
    return true;
  } catch {
    return false;
  }
}

/** As it was, unless a name that it looked up is imported otherwise now. */
function outlinedIn(known: Known, imports: Imports): Outlined {
  const { outlined } = known;
  if (
    outlined &&
    [...outlined.outline.lookedUp].every((name) => outlined.outline.imports.get(name) === imports.get(name))
  ) {
    return outlined;
  }
  const outline = outlineOf(known.block, imports);
  known.outlined = { outline, facts: factsOf(outline) };
  return known.outlined;
}

function foundIn(outlined: Outlined, around: Surroundings, key: string): Found {
  const { outline, found } = outlined;
  if (found?.key === key) {
    return found;
  }
  const points = trainingPointsOf(outline, around);
  outlined.found = { key, points, hints: hintsOf(outline, points, around) };
  return outlined.found;
}
