import { type CaptureInsertion, insertionFor } from './capture-insertion.js';
import { type Hint, hintsOf } from './hints.js';
import { type Outline, outlineOf } from './outline.js';
import { type PythonDocument, parsePython } from './python-document.js';
import { type PointKind, trainingPointsOf } from './training-points.js';

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

/** Offsets are into the document's text, in UTF-16 units as the editor counts. A file that does not train gives nothing. */
export function analyseScript(document: PythonDocument): ScriptAnalysis {
  const outline = outlineOfAny(document);
  const points = trainingPointsOf(outline);
  return {
    points: points.map((point) => ({
      kind: point.kind,
      at: point.at,
      isFirst: point.isFirst,
      isCapturing: outline.capturing.has(point.scope),
      within: [point.scope.owner?.name, point.scope.name].filter(Boolean).join('.'),
      // Computed when it is asked for: most places are never shown.
      get insertion() {
        return insertionFor(outline, point);
      },
    })),
    hints: hintsOf(outline, points),
  };
}

function canBeWalked({ tree }: PythonDocument): boolean {
  try {
    tree.iterate({ enter: () => undefined });
    return true;
  } catch {
    return false;
  }
}

/** Of some texts nested thousands deep, Lezer joins parts of an earlier tree to one that cannot be walked. */
function outlineOfAny(document: PythonDocument): Outline {
  try {
    return outlineOf(document);
  } catch {
    const fresh = document.isFresh ? document : parsePython(document.text);
    // What cannot be walked even when it was parsed afresh has no prompts; a defect of our own throws again.
    return outlineOf(canBeWalked(fresh) ? fresh : parsePython(''));
  }
}
