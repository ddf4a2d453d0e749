import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as vscode from 'vscode';
import type { Report } from '../protocol/report.js';
import { HINTS } from '../scripts/hints.js';
import type { ScriptPoint } from '../scripts/analyse.js';
import { visible } from '../words/visible.js';
import type { AuditStore } from './audit-store.js';
import type { Captures } from './captures.js';
import { COMMANDS, HINT_SWITCHES, LENS_SWITCHES, SETTINGS } from './ids.js';
import { showError, showInformation } from './notifications.js';
import type { PythonScripts } from './python-scripts.js';

/** Prompts on training scripts: lenses, information diagnostics with quick fixes, and the capture that is inserted. */

const CAPTURE_FILE = 'gradleak_capture.py';
const HELP = 'https://github.com/gradleak/gradleak/blob/main/docs/hints.md';
const PYTHON: vscode.DocumentSelector = [{ language: 'python' }];
/** Diagnostics follow typing at this distance; lenses are asked for by the editor. */
const SETTLE_MS = 300;

export interface PromptServices {
  readonly scripts: PythonScripts;
  readonly captures: Captures;
  readonly store: AuditStore;
  readonly extensionUri: vscode.Uri;
}

export function registerScriptPrompts(services: PromptServices): vscode.Disposable {
  const lenses = new CaptureLenses(services);
  return vscode.Disposable.from(
    lenses,
    new Hints(services.scripts),
    vscode.languages.registerCodeLensProvider(PYTHON, lenses),
    vscode.languages.registerCodeActionsProvider(PYTHON, new HintFixes(services.scripts), {
      providedCodeActionKinds: [vscode.CodeActionKind.QuickFix],
    }),
    vscode.commands.registerCommand(COMMANDS.insertCapture, (uri: vscode.Uri, at: number) =>
      insertCapture(services, uri, at),
    ),
  );
}

/** What the user has not switched is as the setting's default says, which VS Code fills in. */
function isOn(
  setting: typeof SETTINGS.lenses | typeof SETTINGS.hints,
  name: string,
  document: vscode.TextDocument,
): boolean {
  const switches = vscode.workspace.getConfiguration(undefined, document.uri).get<Record<string, unknown>>(setting, {});
  return switches[name] === true;
}

class CaptureLenses implements vscode.CodeLensProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChangeCodeLenses = this.changed.event;
  private readonly subscriptions: readonly { dispose(): unknown }[];

  constructor(private readonly services: PromptServices) {
    const again = (): void => {
      this.changed.fire();
    };
    this.subscriptions = [
      this.changed,
      services.scripts.onDidParseMore(again),
      services.captures.onDidChange(again),
      services.store.onDidChange(again),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration(SETTINGS.lenses)) {
          again();
        }
      }),
    ];
  }

  async provideCodeLenses(document: vscode.TextDocument): Promise<vscode.CodeLens[]> {
    const places = this.services.scripts.analyse(document);
    if (!places) {
      return [];
    }
    const every = isOn(SETTINGS.lenses, LENS_SWITCHES.everyPoint, document);
    const shown = places.analysis.points.filter(
      ({ at, kind, isFirst }) => places.isHere(at) && (every || isFirst) && isOn(SETTINGS.lenses, kind, document),
    );
    const [first] = shown;
    const last =
      first && isOn(SETTINGS.lenses, LENS_SWITCHES.lastCapture, document)
        ? await this.lastCapture(document)
        : undefined;
    return shown.flatMap((point) => {
      const { position } = places.locate(point.at);
      const range = new vscode.Range(position, position);
      const capture = point.insertion
        ? [
            new vscode.CodeLens(range, {
              title: 'Capture gradients here',
              tooltip: `Inserts a call of ${CAPTURE_FILE} and copies that file beside the script`,
              command: COMMANDS.insertCapture,
              arguments: [document.uri, point.at],
            }),
          ]
        : [];
      return [...capture, ...(point === first && last ? [new vscode.CodeLens(range, last)] : [])];
    });
  }

  private async lastCapture(document: vscode.TextDocument): Promise<vscode.Command | undefined> {
    const capture = await this.services.captures.lastOf(document.uri.fsPath);
    if (!capture) {
      return undefined;
    }
    const audited = this.services.store.newestOf(capture.gradients, capture.made);
    return audited
      ? {
          title: `Audit last capture: ${leaksInWords(audited.report)}`,
          tooltip: visible(audited.report.verdict.sentence),
          command: COMMANDS.showAudit,
          arguments: [audited.id],
        }
      : {
          title: 'Audit last capture',
          tooltip: visible(`Audits ${vscode.workspace.asRelativePath(capture.gradients)}`),
          command: COMMANDS.auditPair,
          arguments: [capture.checkpoint, capture.gradients],
        };
  }

  dispose(): void {
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}

/** `3 of 4 labels and 1 image leaked`. */
function leaksInWords({ batch, samples, leaks }: Report): string {
  const known = samples.filter(({ status }) => status === 'recovered');
  const labels = known.reduce((sum, { multiplicity = 1 }) => sum + multiplicity, 0);
  const inputs = samples.filter(
    ({ reconstruction }) => reconstruction?.verdict === 'exact' || reconstruction?.verdict === 'close',
  ).length;
  const tokens = leaks.reduce((sum, { gives }) => sum + gives.tokens, 0);
  const isImages = samples.some(({ reconstruction }) => reconstruction?.preview);
  const all = batch.size ?? batch.lowerBound;
  const parts = [
    `${labels} of ${all} label${all === 1 ? '' : 's'}`,
    ...(inputs > 0 ? [`${inputs} ${isImages ? 'image' : 'input'}${inputs === 1 ? '' : 's'}`] : []),
    ...(tokens > 0 ? [`${tokens} tokens`] : []),
  ];
  return `${parts.join(' and ')} leaked`;
}

class Hints implements vscode.Disposable {
  private readonly collection = vscode.languages.createDiagnosticCollection('gradleak-hints');
  private readonly waiting = new Map<string, NodeJS.Timeout>();
  private readonly subscriptions: readonly { dispose(): unknown }[];

  constructor(private readonly scripts: PythonScripts) {
    this.subscriptions = [
      this.collection,
      vscode.workspace.onDidOpenTextDocument((document) => {
        this.later(document);
      }),
      vscode.workspace.onDidChangeTextDocument(({ document }) => {
        this.later(document);
      }),
      scripts.onDidParseMore((document) => {
        this.later(document);
      }),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => {
        this.collection.delete(uri);
      }),
      vscode.workspace.onDidChangeConfiguration((event) => {
        if (event.affectsConfiguration(SETTINGS.hints)) {
          this.all();
        }
      }),
    ];
    this.all();
  }

  private all(): void {
    for (const document of vscode.workspace.textDocuments) {
      this.later(document);
    }
  }

  private later(document: vscode.TextDocument): void {
    if (
      document.languageId !== 'python' ||
      !['file', 'untitled', 'vscode-notebook-cell'].includes(document.uri.scheme)
    ) {
      return;
    }
    const key = document.uri.toString();
    clearTimeout(this.waiting.get(key));
    this.waiting.set(
      key,
      setTimeout(() => {
        this.waiting.delete(key);
        if (!document.isClosed) {
          this.collection.set(document.uri, diagnosticsOf(this.scripts, document));
        }
      }, SETTLE_MS),
    );
  }

  dispose(): void {
    for (const timer of this.waiting.values()) {
      clearTimeout(timer);
    }
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }
}

function diagnosticsOf(scripts: PythonScripts, document: vscode.TextDocument): vscode.Diagnostic[] {
  const places = scripts.analyse(document);
  if (!places) {
    return [];
  }
  return places.analysis.hints
    .filter(({ from, code }) => places.isHere(from) && isOn(SETTINGS.hints, HINT_SWITCHES[code], document))
    .map(({ from, to, code }) => {
      const range = new vscode.Range(places.locate(from).position, places.locate(to).position);
      const diagnostic = new vscode.Diagnostic(range, HINTS[code], vscode.DiagnosticSeverity.Information);
      diagnostic.source = 'GradLeak';
      diagnostic.code = { value: code, target: vscode.Uri.parse(`${HELP}#${code.toLowerCase()}`) };
      return diagnostic;
    });
}

class HintFixes implements vscode.CodeActionProvider {
  constructor(private readonly scripts: PythonScripts) {}

  provideCodeActions(
    document: vscode.TextDocument,
    range: vscode.Range,
    { diagnostics }: vscode.CodeActionContext,
  ): vscode.CodeAction[] {
    const places = this.scripts.analyse(document);
    return (places?.analysis.hints ?? []).flatMap(({ from, to, code, fix }) => {
      if (!places?.isHere(from)) {
        return [];
      }
      const own = new vscode.Range(places.locate(from).position, places.locate(to).position);
      if (!fix || !own.intersection(range)) {
        return [];
      }
      const action = new vscode.CodeAction(`${fix.title} (GradLeak ${code})`, vscode.CodeActionKind.QuickFix);
      const start = places.locate(fix.at).position;
      const end = fix.replaces > 0 ? places.locate(fix.at + fix.replaces).position : start;
      action.edit = new vscode.WorkspaceEdit();
      action.edit.replace(document.uri, new vscode.Range(start, end), fix.text);
      action.diagnostics = diagnostics.filter((diagnostic) => diagnostic.range.isEqual(own));
      action.isPreferred = true;
      return [action];
    });
  }
}

/** Inserts the call and its import in one step that one undo takes back, and copies the capture file beside the script. */
async function insertCapture({ scripts, extensionUri }: PromptServices, uri: vscode.Uri, at: number): Promise<void> {
  const document = await vscode.workspace.openTextDocument(uri);
  const places = scripts.analyse(document);
  const point = places?.analysis.points.find((own) => own.at === at) ?? nearest(places?.analysis.points ?? [], at);
  if (!places || !point?.insertion) {
    void showInformation('There is no line here that a capture could be put before.');
    return;
  }
  const { insertion } = point;
  const call = places.locate(insertion.at);
  const edit = new vscode.WorkspaceEdit();
  const lineEnd = call.document.eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n';
  const text = insertion.text.replace(/\n/g, lineEnd);
  edit.insert(call.document.uri, call.position, text);
  if (insertion.import) {
    const place = places.locate(insertion.import.at);
    edit.insert(place.document.uri, place.position, insertion.import.text.replace(/\n/g, lineEnd));
  }
  const copied = await copyBeside(extensionUri, uri);
  if (!(await vscode.workspace.applyEdit(edit))) {
    void showError('The capture could not be inserted: the file cannot be edited.');
    return;
  }
  await selectFirstUnknown(call.document, insertion.unknown, text);
  const note = insertion.unknown.length > 0 ? ` Fill in: ${insertion.unknown.join(', ')}.` : '';
  const beside = copied ? ` ${CAPTURE_FILE} was copied beside the script.` : '';
  void showInformation(`The next run captures one gradient into captures/.${note}${beside} Undo takes the lines back.`);
}

/** The text has changed since the lens was drawn. */
function nearest(points: readonly ScriptPoint[], at: number): ScriptPoint | undefined {
  return points.reduce<ScriptPoint | undefined>(
    (best, own) => (!best || Math.abs(own.at - at) < Math.abs(best.at - at) ? own : best),
    undefined,
  );
}

/** Never replaces a file that is there. @returns whether it was copied */
async function copyBeside(extensionUri: vscode.Uri, script: vscode.Uri): Promise<boolean> {
  const path =
    script.scheme === 'vscode-notebook-cell' ? script.with({ scheme: 'file', fragment: '' }).fsPath : script.fsPath;
  const target = join(dirname(path), CAPTURE_FILE);
  if (script.scheme === 'untitled' || existsSync(target)) {
    return false;
  }
  await vscode.workspace.fs.copy(vscode.Uri.joinPath(extensionUri, 'media', CAPTURE_FILE), vscode.Uri.file(target));
  return true;
}

/** Names that could not be told are selected, so that typing replaces the first. */
async function selectFirstUnknown(
  document: vscode.TextDocument,
  unknown: readonly string[],
  inserted: string,
): Promise<void> {
  const [first] = unknown;
  const start = document.getText().indexOf(inserted.trim());
  const editor = vscode.window.visibleTextEditors.find((own) => own.document === document);
  if (first === undefined || start < 0 || !editor) {
    return;
  }
  const name = first === 'loss' ? 'loss_function' : first;
  const at = start + inserted.trim().search(new RegExp(`\\b${name}\\b`));
  editor.selection = new vscode.Selection(document.positionAt(at), document.positionAt(at + name.length));
  editor.revealRange(editor.selection);
  await vscode.window.showTextDocument(document, editor.viewColumn);
}
