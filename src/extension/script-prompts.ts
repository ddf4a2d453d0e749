import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as vscode from 'vscode';
import type { Report } from '../protocol/report.js';
import { HINTS, type Hint, type HintCode } from '../scripts/hints.js';
import type { ScriptPoint } from '../scripts/analyse.js';
import { isSending } from '../scripts/training-points.js';
import { visible } from '../words/visible.js';
import type { AuditStore } from './audit-store.js';
import type { Captures } from './captures.js';
import { COMMANDS, HINT_SWITCHES, LENS_SWITCHES, SETTINGS } from './ids.js';
import { showError, showInformation } from './notifications.js';
import type { PythonScripts, ScriptPlaces } from './python-scripts.js';

/** Prompts on training scripts: lenses, information diagnostics with quick fixes, and the capture that is inserted. */

const CAPTURE_FILE = 'gradleak_capture.py';
const HELP = 'https://github.com/gradleak/gradleak/blob/main/docs/hints.md';
/** Documents that can be edited: not the other side of a difference, which Git shows. */
const SCHEMES = ['file', 'untitled', 'vscode-notebook-cell'];
const PYTHON: vscode.DocumentSelector = SCHEMES.map((scheme) => ({ language: 'python', scheme }));
/** Hints on what a captured gradient would show. */
const LEAKS: ReadonlySet<HintCode> = new Set(['GL101', 'GL102', 'GL103', 'GL104', 'GL105', 'GL106', 'GL107']);
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
      const own = captureCommand(point, document.uri);
      const capture = own ? [new vscode.CodeLens(range, own)] : [];
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

/** What the lens at a place offers, or says will happen where a capture is in place. */
function captureCommand(
  { at, kind, insertion, isCapturing }: ScriptPoint,
  uri: vscode.Uri,
): vscode.Command | undefined {
  const sends = isSending(kind);
  if (isCapturing) {
    return {
      title: sends ? 'The next run captures what is sent here' : 'The next run captures a gradient here',
      tooltip: `The call of ${CAPTURE_FILE} writes ${sends ? 'the weights before and after' : 'the gradient and its checkpoint'}. Once it has, a lens here offers to audit them.`,
      command: '',
    };
  }
  return insertion
    ? {
        title: sends ? 'Capture what is sent here' : 'Capture gradients here',
        tooltip: `Inserts a call of ${CAPTURE_FILE}, which the next run writes ${sends ? 'the weights before and after the training' : 'one gradient'} with, and copies that file beside the script. One undo takes the lines back.`,
        command: COMMANDS.insertCapture,
        arguments: [uri, at],
      }
    : undefined;
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
    if (document.languageId !== 'python' || !SCHEMES.includes(document.uri.scheme)) {
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
    return (places?.analysis.hints ?? []).flatMap((hint) => {
      if (!places?.isHere(hint.from)) {
        return [];
      }
      const own = new vscode.Range(places.locate(hint.from).position, places.locate(hint.to).position);
      if (!own.intersection(range)) {
        return [];
      }
      const point = places.analysis.points.find(({ at, insertion }) => insertion && places.isHere(at));
      const actions = [
        ...(hint.fix ? [replacement(places, document, hint.code, hint.fix)] : []),
        ...(point && LEAKS.has(hint.code) ? [captureToSee(document, point)] : []),
        switchOf(hint.code),
      ];
      for (const action of actions) {
        action.diagnostics = diagnostics.filter((diagnostic) => diagnostic.range.isEqual(own));
      }
      return actions;
    });
  }
}

function replacement(
  places: ScriptPlaces,
  document: vscode.TextDocument,
  code: HintCode,
  { title, at, replaces, text }: NonNullable<Hint['fix']>,
): vscode.CodeAction {
  const action = new vscode.CodeAction(`${title} (GradLeak ${code})`, vscode.CodeActionKind.QuickFix);
  const start = places.locate(at).position;
  const end = replaces > 0 ? places.locate(at + replaces).position : start;
  action.edit = new vscode.WorkspaceEdit();
  action.edit.replace(document.uri, new vscode.Range(start, end), text);
  action.isPreferred = true;
  return action;
}

/** Where no edit of a line would stop the leak, what it gives away can be seen. */
function captureToSee({ uri }: vscode.TextDocument, { at }: ScriptPoint): vscode.CodeAction {
  const title = 'Capture a gradient to see what it gives away (GradLeak)';
  const action = new vscode.CodeAction(title, vscode.CodeActionKind.QuickFix);
  action.command = { title, command: COMMANDS.insertCapture, arguments: [uri, at] };
  return action;
}

function switchOf(code: HintCode): vscode.CodeAction {
  const title = `Show the switch of this hint, ${HINT_SWITCHES[code]} (GradLeak ${code})`;
  const action = new vscode.CodeAction(title, vscode.CodeActionKind.QuickFix);
  action.command = { title, command: 'workbench.action.openSettings', arguments: [SETTINGS.hints] };
  return action;
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
  for (const other of [insertion.start, insertion.import]) {
    if (other) {
      const place = places.locate(other.at);
      edit.insert(place.document.uri, place.position, other.text.replace(/\n/g, lineEnd));
    }
  }
  await copyBeside(extensionUri, uri);
  if (!(await vscode.workspace.applyEdit(edit))) {
    void showError('The capture could not be inserted: the file cannot be edited.');
    return;
  }
  await selectFirstUnknown(call.document, insertion.unknown, text);
  const { unknown } = insertion;
  const what = isSending(point.kind) ? 'what is sent' : 'one gradient';
  void showInformation(
    unknown.length > 0
      ? `Fill in ${unknown.join(', ')}: then the next run captures ${what}.`
      : `The next run captures ${what} into captures/.`,
  );
}

/** The text has changed since the lens was drawn. */
function nearest(points: readonly ScriptPoint[], at: number): ScriptPoint | undefined {
  return points.reduce<ScriptPoint | undefined>(
    (best, own) => (!best || Math.abs(own.at - at) < Math.abs(best.at - at) ? own : best),
    undefined,
  );
}

/** Never replaces a file that is there. */
async function copyBeside(extensionUri: vscode.Uri, script: vscode.Uri): Promise<void> {
  const path =
    script.scheme === 'vscode-notebook-cell' ? script.with({ scheme: 'file', fragment: '' }).fsPath : script.fsPath;
  const target = join(dirname(path), CAPTURE_FILE);
  if (script.scheme === 'untitled' || existsSync(target)) {
    return;
  }
  await vscode.workspace.fs.copy(vscode.Uri.joinPath(extensionUri, 'media', CAPTURE_FILE), vscode.Uri.file(target));
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
