import { basename, dirname } from 'node:path';
import * as vscode from 'vscode';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import type { Directory } from '../protocol/inspection.js';
import type { FromInspector, LookAt, LookResult, ToInspector } from '../protocol/inspector-messages.js';
import type { RunnerClient } from '../runner/client.js';
import { STANDING_WORDS } from '../words/outcome-words.js';
import { visible, visibleInList } from '../words/visible.js';
import type { AuditStore } from './audit-store.js';
import { failureSentence } from './failures.js';
import { COMMANDS, INSPECTOR_VIEWS } from './ids.js';
import type { Log } from './log.js';
import { pickOne } from './questions.js';
import type { RunnerHost } from './runner-host.js';
import { FROM_INSPECTOR, onViewMessage } from './view-messages.js';
import { webviewOptions, webviewPage } from './webview-page.js';

/**
 * The gradient inspector: a read-only editor of tensor files. The child process reads; this passes on what is on screen.
 * Nothing in a file is run, so it works in untrusted workspaces too.
 */

interface InspectorServices {
  readonly runner: RunnerHost;
  /** Where the audits of a file are known from. */
  readonly store: AuditStore;
  readonly log: Log;
}

export function registerInspector(context: vscode.ExtensionContext, services: InspectorServices): vscode.Disposable {
  const provider = new InspectorProvider(context.extensionUri, services);
  const options = { supportsMultipleEditorsPerDocument: true, webviewOptions: { retainContextWhenHidden: false } };
  return vscode.Disposable.from(
    ...INSPECTOR_VIEWS.map((view) => vscode.window.registerCustomEditorProvider(view, provider, options)),
  );
}

class InspectorProvider implements vscode.CustomReadonlyEditorProvider {
  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly services: InspectorServices,
  ) {}

  openCustomDocument(uri: vscode.Uri): vscode.CustomDocument {
    return { uri, dispose: () => undefined };
  }

  resolveCustomEditor(document: vscode.CustomDocument, panel: vscode.WebviewPanel): void {
    panel.webview.options = webviewOptions(this.extensionUri);
    // The child starts while the page loads; a failure shows when it is asked.
    void this.services.runner.get().catch(() => undefined);
    const editor = new InspectorEditor(document.uri, panel.webview, this.services);
    panel.onDidDispose(() => {
      editor.dispose();
    });
    panel.webview.html = webviewPage(
      panel.webview,
      this.extensionUri,
      'inspector',
      `Opening ${escapeHtml(visible(basename(document.uri.path)))}...`,
    );
  }
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Rows of a directory per message: the first of 100,000 arrive while the rest is on its way. */
const ROWS_PER_MESSAGE = 10_000;
/** A file that is being written changes many times. */
const SETTLE_MS = 300;

class InspectorEditor implements vscode.Disposable {
  private readonly subscriptions: { dispose(): unknown }[] = [];
  private open: { client: RunnerClient; inspection: number } | undefined;
  private compared: string | undefined;
  /** The look that is out. */
  private looking: vscode.CancellationTokenSource | undefined;
  private settle: NodeJS.Timeout | undefined;
  private disposed = false;

  constructor(
    private readonly uri: vscode.Uri,
    private readonly webview: vscode.Webview,
    private readonly services: InspectorServices,
  ) {
    const { store, log } = services;
    this.subscriptions.push(
      onViewMessage(webview, { validator: FROM_INSPECTOR, view: 'inspector', log }, (message) => this.receive(message)),
      store.onDidChange(() => {
        this.tellAudit();
      }),
    );
    if (uri.scheme === 'file') {
      const watcher = vscode.workspace.createFileSystemWatcher(
        new vscode.RelativePattern(vscode.Uri.file(dirname(uri.fsPath)), basename(uri.fsPath)),
      );
      const changed = (): void => {
        clearTimeout(this.settle);
        this.settle = setTimeout(() => void this.load(), SETTLE_MS);
      };
      this.subscriptions.push(watcher, watcher.onDidChange(changed), watcher.onDidCreate(changed));
    }
  }

  private post(message: ToInspector): void {
    if (!this.disposed) {
      void this.webview.postMessage(message);
    }
  }

  private async receive(message: FromInspector): Promise<void> {
    switch (message.t) {
      case 'ready':
        await this.load();
        break;
      case 'need':
        await this.answerRows(message.rows, message.differences);
        break;
      case 'look':
        await this.answerLook(message.id, message.at);
        break;
      case 'look-away':
        this.looking?.cancel();
        break;
      case 'audit':
        await vscode.commands.executeCommand(COMMANDS.auditFile, this.uri);
        break;
      case 'show-audit':
        await this.showAudit();
        break;
      case 'compare':
        await this.chooseOther();
        break;
      case 'compare-nothing':
        this.compared = undefined;
        await this.open?.client.look(this.open.inspection, { look: 'compare-nothing' });
        this.post({ t: 'difference', summary: null });
        break;
      case 'copy':
        await vscode.env.clipboard.writeText(message.text);
        break;
    }
  }

  private async load(): Promise<void> {
    try {
      if (this.uri.scheme !== 'file') {
        throw new UnusableInputError({
          code: 'unreadable-file',
          file: this.uri.toString(),
          found: `a file of scheme "${this.uri.scheme}"`,
          expected: 'a file on the machine that runs the extension',
          advice: 'Copy it into the workspace.',
        });
      }
      const client = await this.services.runner.get();
      const { inspection, directory } = await client.openInspection(this.uri.fsPath);
      const before = this.open;
      this.open = { client, inspection };
      if (before) {
        await this.release(before);
      }
      this.show(directory);
      this.tellAudit();
      this.post({ t: 'kind', kind: await client.look(inspection, { look: 'kind' }) });
      if (this.compared !== undefined) {
        await this.compare(this.compared);
      }
      this.post({ t: 'findings', of: await client.look(inspection, { look: 'findings' }) });
    } catch (error) {
      this.fail(error);
    }
  }

  private async showAudit(): Promise<void> {
    const audit = this.services.store.newestWith(this.uri.fsPath);
    if (audit) {
      await vscode.commands.executeCommand(COMMANDS.showAudit, audit.id);
    }
  }

  private tellAudit(): void {
    const audit = this.services.store.newestWith(this.uri.fsPath);
    this.post({
      t: 'audited',
      audit: audit ? { standing: STANDING_WORDS[audit.standing], sentence: audit.sentence } : null,
    });
  }

  private show({ names, shapes, dtypes, bytes, ...about }: Directory): void {
    this.post({ t: 'directory', about: { ...about, tensors: names.length } });
    for (let from = 0; from < names.length; from += ROWS_PER_MESSAGE) {
      const part = <T>(all: T[]): T[] => all.slice(from, from + ROWS_PER_MESSAGE);
      this.post({
        t: 'rows',
        from,
        rows: { names: part(names), shapes: part(shapes), dtypes: part(dtypes), bytes: part(bytes) },
      });
    }
  }

  private fail(error: unknown): void {
    if (this.disposed) {
      return;
    }
    this.services.log.error(error);
    this.post({ t: 'problem', sentence: failureSentence(error) });
  }

  private async answerRows(rows: number[], differences: boolean): Promise<void> {
    const { open } = this;
    try {
      if (open && differences) {
        this.post({ t: 'differences', of: await open.client.differences({ inspection: open.inspection, rows }) });
      } else if (open) {
        this.post({ t: 'statistics', of: await open.client.statistics({ inspection: open.inspection, rows }) });
      }
    } catch (error) {
      await this.recover(error, open);
    }
  }

  /** The child may have ended, or the file been opened anew, between question and answer. */
  private async recover(error: unknown, asked: typeof this.open): Promise<void> {
    if (this.disposed || this.open !== asked) {
      return;
    }
    if (asked && !asked.client.alive) {
      this.open = undefined;
      this.fail(error);
      await this.load();
      return;
    }
    this.fail(error);
  }

  private async answerLook(id: number, at: LookAt): Promise<void> {
    this.looking?.cancel();
    const source = new vscode.CancellationTokenSource();
    this.looking = source;
    try {
      if (this.open) {
        this.post({ t: 'look', id, result: await look(this.open.client, this.open.inspection, at, source.token) });
      }
    } catch (error) {
      if (!(error instanceof CancelledError)) {
        this.services.log.error(error);
        this.post({ t: 'look-failed', id, sentence: failureSentence(error) });
      }
    } finally {
      source.dispose();
      if (this.looking === source) {
        this.looking = undefined;
      }
    }
  }

  private async chooseOther(): Promise<void> {
    const nearby = await vscode.workspace.findFiles('**/*.{pt,pth,bin,ckpt,safetensors,npz,npy}', undefined, 200);
    const browse = { label: '$(folder-opened) Browse...', uri: undefined };
    const items = nearby
      .filter(({ fsPath }) => fsPath !== this.uri.fsPath)
      .sort((one, other) => Number(this.isNear(other)) - Number(this.isNear(one)) || one.path.localeCompare(other.path))
      .map((uri) => ({ label: visibleInList(vscode.workspace.asRelativePath(uri)), uri }));
    const picked = await pickOne([...items, browse], {
      title: `Compare ${visible(basename(this.uri.fsPath))} with`,
      placeHolder: 'A later round, another client, before and after an update',
    });
    const path =
      picked?.uri?.fsPath ??
      (picked && (await vscode.window.showOpenDialog({ title: 'Choose the other file' }))?.[0]?.fsPath);
    if (path !== undefined) {
      try {
        await this.compare(path);
      } catch (error) {
        this.fail(error);
      }
    }
  }

  private isNear(uri: vscode.Uri): boolean {
    return dirname(uri.fsPath) === dirname(this.uri.fsPath);
  }

  private async compare(path: string): Promise<void> {
    if (this.open) {
      const summary = await this.open.client.look(this.open.inspection, { look: 'compare', path });
      this.compared = path;
      this.post({ t: 'difference', summary });
    }
  }

  private async release({ client, inspection }: NonNullable<typeof this.open>): Promise<void> {
    if (client.alive) {
      // The file is closed with the child at the latest.
      await client.look(inspection, { look: 'close' }).catch(() => undefined);
    }
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.settle);
    this.looking?.cancel();
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
    if (this.open) {
      void this.release(this.open);
    }
  }
}

async function look(
  client: RunnerClient,
  inspection: number,
  at: LookAt,
  token: vscode.CancellationToken,
): Promise<LookResult> {
  switch (at.what) {
    case 'slice': {
      const { row, request } = at;
      return { what: 'slice', slice: await client.look(inspection, { look: 'slice', row, request }, token) };
    }
    case 'histogram':
      return { what: 'histogram', histogram: await client.look(inspection, { look: 'histogram', row: at.row }, token) };
    case 'text': {
      const { row, start } = at;
      return { what: 'text', text: await client.look(inspection, { look: 'text', row, start }, token) };
    }
    case 'filters': {
      const { row, input } = at;
      return { what: 'filters', filters: await client.look(inspection, { look: 'filters', row, input }, token) };
    }
    case 'pictures': {
      const { row, request } = at;
      return { what: 'pictures', pictures: await client.look(inspection, { look: 'pictures', row, request }, token) };
    }
    case 'rows':
      return { what: 'rows', rows: await client.look(inspection, { look: 'rows', row: at.row }, token) };
  }
}
