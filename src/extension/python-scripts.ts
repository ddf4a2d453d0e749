import * as vscode from 'vscode';
import { type ScriptAnalysis, analyseScript } from '../scripts/analyse.js';
import { type JoinedCells, cellAt, joinCells } from '../scripts/notebook.js';
import {
  MOST_MS,
  MOST_MS_OF_UPDATE,
  type PythonDocument,
  parsePython,
  parsedLength,
  updatePython,
} from '../scripts/python-document.js';

/** Open Python files and notebooks, parsed as they are edited, and what was found in them. */

/** A place in a document that may be one cell of a notebook. */
export interface ScriptPlaces {
  readonly analysis: ScriptAnalysis;
  /** The document and position of an offset of the analysis. */
  locate(offset: number): { document: vscode.TextDocument; position: vscode.Position };
  /** False for what belongs to another cell. */
  isHere(offset: number): boolean;
}

/** Files beyond this are data that happens to be called Python. */
const MOST_CHARACTERS = 4 * 2 ** 20;

export class PythonScripts implements vscode.Disposable {
  private readonly parsed = new Map<string, { version: number; document: PythonDocument }>();
  /** Lenses, hints and quick fixes ask one after the other, the last with every move of the cursor. */
  private readonly analysed = new WeakMap<PythonDocument, ScriptAnalysis>();
  private readonly parsedMore = new vscode.EventEmitter<vscode.TextDocument>();
  /** What was left of a script when time ran out is parsed. */
  readonly onDidParseMore = this.parsedMore.event;
  private readonly subscriptions: readonly { dispose(): unknown }[];

  constructor() {
    this.subscriptions = [
      this.parsedMore,
      vscode.workspace.onDidChangeTextDocument((event) => {
        this.change(event);
      }),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => {
        this.parsed.delete(uri.toString());
      }),
    ];
  }

  /** Undefined for what is too large. */
  analyse(document: vscode.TextDocument): ScriptPlaces | undefined {
    const notebook = notebookOf(document);
    if (notebook) {
      return analyseCell(notebook, document);
    }
    const source = this.parse(document);
    return (
      source && {
        analysis: this.analysisOf(source),
        locate: (offset) => ({ document, position: document.positionAt(offset) }),
        isHere: () => true,
      }
    );
  }

  private analysisOf(source: PythonDocument): ScriptAnalysis {
    const analysis = this.analysed.get(source) ?? analyseScript(source);
    this.analysed.set(source, analysis);
    return analysis;
  }

  private parse(document: vscode.TextDocument): PythonDocument | undefined {
    const key = document.uri.toString();
    const known = this.parsed.get(key);
    if (known?.version === document.version) {
      return known.document;
    }
    const text = document.getText();
    if (text.length > MOST_CHARACTERS) {
      return undefined;
    }
    const parsed = parsePython(text);
    this.keep(document, parsed);
    return parsed;
  }

  private keep(document: vscode.TextDocument, parsed: PythonDocument, mostMs = MOST_MS_OF_UPDATE): void {
    const { version } = document;
    this.parsed.set(document.uri.toString(), { version, document: parsed });
    if (!parsed.isComplete && mostMs <= MOST_MS) {
      // Typing and other extensions come in between.
      setTimeout(() => {
        if (!document.isClosed && document.version === version) {
          const more = updatePython(parsed, parsed.text, mostMs);
          // What is parsed anew from its beginning each time, as short texts are, needs more time or has none to gain.
          this.keep(document, more, parsedLength(more) > parsedLength(parsed) ? mostMs : 2 * mostMs);
          if (more.isComplete) {
            this.parsedMore.fire(document);
          }
        }
      });
    }
  }

  private change({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const key = document.uri.toString();
    const known = this.parsed.get(key);
    if (known && contentChanges.length > 0) {
      this.keep(document, updatePython(known.document, document.getText()));
    }
  }

  dispose(): void {
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}

function notebookOf(document: vscode.TextDocument): vscode.NotebookDocument | undefined {
  return document.uri.scheme === 'vscode-notebook-cell'
    ? vscode.workspace.notebookDocuments.find((notebook) =>
        notebook.getCells().some((cell) => cell.document.uri.toString() === document.uri.toString()),
      )
    : undefined;
}

function analyseCell(notebook: vscode.NotebookDocument, document: vscode.TextDocument): ScriptPlaces {
  const cells = notebook
    .getCells()
    .filter(({ kind, document: own }) => kind === vscode.NotebookCellKind.Code && own.languageId === 'python')
    .map((cell) => cell.document);
  const joined: JoinedCells = joinCells(cells.map((cell) => cell.getText()));
  const place = (offset: number): { document: vscode.TextDocument; offset: number } => {
    const { cell, offset: within } = cellAt(joined, offset);
    return { document: cells[cell] ?? document, offset: within };
  };
  return {
    analysis: analyseScript(parsePython(joined.text)),
    locate: (offset) => {
      const { document: own, offset: within } = place(offset);
      return { document: own, position: own.positionAt(within) };
    },
    isHere: (offset) => place(offset).document.uri.toString() === document.uri.toString(),
  };
}
