import { basename, dirname } from 'node:path';
import * as vscode from 'vscode';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import type { FileKind } from '../protocol/inspection.js';
import type { NextStep } from '../protocol/next-steps.js';
import type { AuditOutcome, FileOfKind, RankedCheckpoint } from '../protocol/runner-messages.js';
import { visible, visibleInList } from '../words/visible.js';
import { pairOfWeights } from '../facts/inputs.js';
import type { AuditStore } from './audit-store.js';
import { failureSentence, offerSteps, withShortPaths } from './failures.js';
import { type Launch, launchAudit } from './launch-audit.js';
import type { Log } from './log.js';
import { type AuditFiles, type AuditWays, type StepContext, stepsFrom, takeStep } from './next-steps.js';
import { showError, showWarning, withProgressNotification } from './notifications.js';
import { pickOne } from './questions.js';
import type { ResultsPanels } from './results-panel.js';
import type { RunnerHost } from './runner-host.js';
import type { RunningAudits } from './running-audits.js';
import { isNamedGradient, soleCheckpoint } from './sole-checkpoint.js';

/** "GradLeak: Audit Gradient File...": from a file to the results panel. */

export interface AuditServices {
  readonly runner: RunnerHost;
  readonly store: AuditStore;
  readonly running: RunningAudits;
  readonly panels: ResultsPanels;
  readonly memory: vscode.Memento;
  readonly log: Log;
}

const CANDIDATE_GLOB = '**/*.{pt,pth,bin,ckpt,safetensors,npz,safetensors.index.json,bin.index.json}';
const IGNORED_GLOB = '**/{node_modules,.git,.venv,venv}/**';
const MOST_CANDIDATES = 200;

/**
 * @param clicked the file of the Explorer's menu or the inspector; asked for when the palette started the command. One that
 *   surely is a checkpoint takes that part, and the gradient is asked for.
 */
export async function auditFile(services: AuditServices, clicked: vscode.Uri | undefined): Promise<void> {
  if (!(await isTrusted())) {
    return;
  }
  try {
    const given = clicked ?? (await askForGradient(services));
    if (!given) {
      return;
    }
    const path = localPath(given);
    const pair = pairOfWeights(path);
    if (pair) {
      await runAndShow(services, pair);
      return;
    }
    if (await isCheckpoint(services, path)) {
      const gradients = await askForGradient(services, path);
      if (gradients) {
        await remember(services, path, localPath(gradients));
        await runAndShow(services, { checkpoint: path, gradients: localPath(gradients) });
      }
      return;
    }
    const candidates = await rankCandidates(services, path);
    const sole = soleCheckpoint(candidates, path, services.memory.get<string>(memoryKey(path)));
    const chosen = sole === undefined ? await askForCheckpoint(services, path, candidates) : { checkpoint: sole };
    if (chosen) {
      await runAndShow(services, { checkpoint: chosen.checkpoint, gradients: path });
    }
  } catch (error) {
    const again = (): Promise<void> => auditFile(services, clicked);
    await reportFailure(
      services,
      clicked?.scheme === 'file'
        ? {
            error,
            again,
            audit: { files: { checkpoint: undefined, gradients: clicked.fsPath }, ways: waysOf(services) },
          }
        : { error, again },
    );
  }
}

/** The picker, whatever fits. @returns undefined when nothing was chosen, and an undefined checkpoint for the gradient alone */
export async function chooseCheckpoint(services: AuditServices, gradients: string): Promise<Chosen | undefined> {
  return askForCheckpoint(services, gradients, await rankCandidates(services, gradients));
}

interface Chosen {
  readonly checkpoint: string | undefined;
}

function localPath(uri: vscode.Uri): string {
  if (uri.scheme !== 'file') {
    throw new UnusableInputError({
      code: 'unreadable-file',
      file: uri.toString(),
      found: `a file of scheme "${uri.scheme}"`,
      expected: 'a file on the machine that runs the extension',
      advice: 'Copy it into the workspace.',
    });
  }
  return uri.fsPath;
}

/**
 * Whether the file surely is a checkpoint. Where that is open it is taken for what the command asks for, a gradient.
 *
 * @throws UnusableInputError for the state of an optimiser, before a checkpoint is asked for in vain
 */
async function isCheckpoint(services: AuditServices, path: string): Promise<boolean> {
  const runner = await services.runner.get();
  const [own] = await runner.kinds({ paths: [path] });
  if (own?.kind.sure !== true) {
    return false;
  }
  if (own.kind.kind === 'optimiser-state') {
    throw new UnusableInputError({
      code: 'not-a-gradient',
      file: path,
      found: KIND_WORDS['optimiser-state'],
      expected: 'a captured gradient, or the difference of the weights after and before a step',
      advice: own.kind.reasons[0] ?? '',
    });
  }
  return own.kind.kind === 'checkpoint';
}

/** Says so where audits are not allowed. */
export async function isTrusted(): Promise<boolean> {
  if (vscode.workspace.isTrusted) {
    return true;
  }
  const manage = 'Manage Workspace Trust';
  const answer = await showWarning(
    'GradLeak runs audits in trusted workspaces only. Looking into tensor files, lenses and hints work here.',
    manage,
  );
  if (answer === manage) {
    await vscode.commands.executeCommand('workbench.trust.manage');
  }
  return false;
}

const KIND_WORDS: Record<FileKind, string> = {
  gradient: 'a gradient',
  checkpoint: 'a checkpoint',
  'optimiser-state': 'the state of an optimiser',
  delta: 'a difference of weights',
  unknown: 'tensors of unknown kind',
};

interface GradientCandidate {
  readonly uri: vscode.Uri;
  /** Undefined where the child could not read the file or had no time for it: only the name is known. */
  readonly known: FileOfKind | undefined;
}

/** @param checkpoint the gradient is to be one of it; best fit first then */
async function askForGradient(services: AuditServices, checkpoint?: string): Promise<vscode.Uri | undefined> {
  const all = await gradientCandidates(services, checkpoint);
  const offered = all.filter(({ known }) => known?.canBeGradient !== false);
  const browse = { label: '$(folder-opened) Browse...', uri: undefined };
  const items = offered.map(({ uri, known }) => ({
    label: visibleInList(vscode.workspace.asRelativePath(uri)),
    description: [describeFit(known?.fit ?? null), describeKind(uri, known)].filter((text) => text !== '').join(', '),
    uri,
  }));
  const picked = await pickOne([...items, browse], {
    title:
      checkpoint === undefined
        ? 'Audit Gradient File: which gradient?'
        : `${visible(basename(checkpoint))} is a checkpoint: which gradient was computed with it?`,
    placeHolder:
      leftOut(all.length, offered.length, 'a gradient') ?? 'A captured gradient (.pt, .pth, .safetensors, .npz, ...)',
    matchOnDescription: true,
  });
  if (!picked) {
    return undefined;
  }
  return picked.uri ?? (await vscode.window.showOpenDialog({ title: 'Choose a captured gradient' }))?.[0];
}

/** Only an empty list needs the explanation; in any other the files that are missing are no loss. */
function leftOut(all: number, offered: number, what: string): string | undefined {
  return all > 0 && offered === 0
    ? `No file here can be ${what}: ${all} left out, being something else by ${all === 1 ? 'its' : 'their'} contents`
    : undefined;
}

async function gradientCandidates(
  services: AuditServices,
  checkpoint: string | undefined,
): Promise<GradientCandidate[]> {
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Window, title: 'GradLeak: looking for gradients' },
    async () => {
      const found = await vscode.workspace.findFiles(CANDIDATE_GLOB, IGNORED_GLOB, MOST_CANDIDATES);
      const files = found.filter(({ fsPath }) => fsPath !== checkpoint);
      const isNear = ({ fsPath }: vscode.Uri): boolean =>
        checkpoint !== undefined && dirname(fsPath) === dirname(checkpoint);
      // The child looks at the first of many only.
      files.sort(
        (one, other) =>
          Number(isNear(other)) - Number(isNear(one)) ||
          Number(isNamedGradient(other.fsPath)) - Number(isNamedGradient(one.fsPath)) ||
          one.path.localeCompare(other.path),
      );
      const runner = await services.runner.get();
      const paths = files.map(({ fsPath }) => fsPath);
      const told = await runner.kinds({ paths, ...(checkpoint === undefined ? {} : { checkpoint }) });
      const byPath = new Map(told.map((own) => [own.path, own]));
      return files
        .map((uri) => ({ uri, known: byPath.get(uri.fsPath) }))
        .sort((one, other) => likelihood(other) - likelihood(one));
    },
  );
}

/** How well it fits comes first; other checkpoints of one model fit as well as gradients, and come after them. */
function likelihood({ uri, known }: GradientCandidate): number {
  const isGradient = known?.kind.kind === 'gradient' || known?.kind.kind === 'delta';
  const own =
    isGradient && known.kind.sure === true
      ? 0.3
      : isGradient || isNamedGradient(uri.fsPath)
        ? 0.2
        : known === undefined || known.kind.kind === 'unknown'
          ? 0.1
          : 0;
  return (known?.fit ?? 0) + own;
}

function describeFit(fit: number | null): string {
  return fit === null ? '' : fit > 0 ? `fits ${Math.round(100 * fit)} %` : 'does not fit';
}

function describeKind(uri: vscode.Uri, known: FileOfKind | undefined): string {
  if (known?.isOtherState === true) {
    return 'weights of the same model, taken as those after the training';
  }
  if (known && known.kind.kind !== 'unknown') {
    const words = KIND_WORDS[known.kind.kind];
    return known.kind.sure === true ? `${words}, by its contents` : `perhaps ${words}`;
  }
  return isNamedGradient(uri.fsPath) ? 'a gradient, by its name' : '';
}

function memoryKey(gradients: string): string {
  return `checkpoint:${dirname(gradients)}`;
}

async function askForCheckpoint(
  services: AuditServices,
  gradients: string,
  all: readonly RankedCheckpoint[],
): Promise<Chosen | undefined> {
  const ranked = all.filter(({ isOther }) => isOther !== true);
  const remembered = services.memory.get<string>(memoryKey(gradients));
  ranked.sort((one, other) => score(other, gradients, remembered) - score(one, gradients, remembered));
  const browse = { label: '$(folder-opened) Browse...', path: undefined, isAlone: false };
  const alone = {
    label: '$(circle-slash) Without a checkpoint',
    description: 'only feature maps of convolutions and tokens of embeddings: no labels, no inputs',
    path: undefined,
    isAlone: true,
  };
  const items = ranked.map(({ path, fit, problem }) => ({
    label: visibleInList(vscode.workspace.asRelativePath(path)),
    description: visibleInList(
      problem ?? `${describeFit(fit)}${fit > 0 && path === remembered ? ', used last time' : ''}`,
    ),
    path,
    isAlone: false,
  }));
  const picked = await pickOne([...items, browse, alone], {
    title: `Audit ${visible(basename(gradients))}: which checkpoint was it computed with?`,
    placeHolder: leftOut(all.length, ranked.length, 'a checkpoint') ?? 'Best match first',
    matchOnDescription: true,
  });
  if (!picked) {
    return undefined;
  }
  if (picked.isAlone) {
    return { checkpoint: undefined };
  }
  const path = picked.path ?? (await vscode.window.showOpenDialog({ title: 'Choose the checkpoint' }))?.[0]?.fsPath;
  if (path === undefined) {
    return undefined;
  }
  await remember(services, path, gradients);
  return { checkpoint: path };
}

async function remember(services: AuditServices, checkpoint: string, gradients: string): Promise<void> {
  await services.memory.update(memoryKey(gradients), checkpoint);
}

/** Fit decides; among equals the last choice, then the nearest folder. */
function score({ path, fit }: RankedCheckpoint, gradients: string, remembered: string | undefined): number {
  return fit + (path === remembered ? 0.05 : 0) + (dirname(path) === dirname(gradients) ? 0.02 : 0);
}

async function rankCandidates(services: AuditServices, gradients: string): Promise<RankedCheckpoint[]> {
  return vscode.window.withProgress(
    { location: vscode.ProgressLocation.Window, title: 'GradLeak: looking for checkpoints' },
    async () => {
      const files = await vscode.workspace.findFiles(CANDIDATE_GLOB, IGNORED_GLOB, MOST_CANDIDATES);
      const candidates = files.map((uri) => uri.fsPath).filter((path) => path !== gradients);
      const runner = await services.runner.get();
      return runner.rank({ gradients, candidates });
    },
  );
}

/** Audits files that are known. */
export async function auditPair(services: AuditServices, audit: AuditFiles): Promise<void> {
  if (await isTrusted()) {
    await runAndShow(services, audit);
  }
}

/**
 * Goes on from an audit; what fails is told.
 *
 * @param error why the audit of the files failed
 */
export async function takeStepFor(
  services: AuditServices,
  step: NextStep,
  files: AuditFiles,
  error?: unknown,
): Promise<void> {
  if (!(await isTrusted())) {
    return;
  }
  try {
    await takeStep(step, contextOf(services, files, error));
  } catch (failure) {
    await reportFailure(services, { error: failure, again: () => takeStepFor(services, step, files, error) });
  }
}

function contextOf(services: AuditServices, files: AuditFiles, error?: unknown): StepContext {
  return { error, again: () => runAndShow(services, files), audit: { files, ways: waysOf(services) } };
}

function waysOf(services: AuditServices): AuditWays {
  return {
    run: (files) => runAndShow(services, files),
    start: (gradients) => auditFile(services, vscode.Uri.file(gradients)),
    chooseCheckpoint: (gradients) => chooseCheckpoint(services, gradients),
    chooseGradient: async (checkpoint) => {
      const chosen = await askForGradient(services, checkpoint);
      return chosen && localPath(chosen);
    },
    remember: (checkpoint, gradients) => remember(services, checkpoint, gradients),
  };
}

async function runAndShow(services: AuditServices, files: AuditFiles): Promise<void> {
  const { checkpoint, gradients } = files;
  const { id, folder } = services.store.create();
  try {
    const outcome = await runWithProgress(services, { ...files, id, folder });
    const done = `Audit ${id} of ${gradients} ${checkpoint === undefined ? 'alone' : `against ${checkpoint}`} is done: ${folder}`;
    // What nobody could judge must not pass for a clean result, in the log either.
    const unjudged = outcome.mismatch ?? (outcome.cancelled ? null : outcome.notAssessed);
    if (unjudged === null) {
      services.log.info(done);
    } else {
      services.log.warn(`${done}. ${unjudged}`);
    }
    if (outcome.cancelled) {
      sayStopped(services, true);
    }
    services.panels.show(id);
    if (unjudged !== null) {
      void offerSteps(
        showWarning,
        withShortPaths(`${gradients}: ${unjudged}`),
        services.store.read(id)?.next ?? [],
        (step) => takeStep(step, contextOf(services, files)),
      );
    }
  } catch (error) {
    if (error instanceof CancelledError && services.store.read(id)) {
      services.panels.show(id);
      sayStopped(services, true);
      return;
    }
    const context = contextOf(services, files, error);
    if (error instanceof CancelledError) {
      services.panels.close(id);
    } else {
      services.panels.fail(id, { files, error, steps: stepsFrom(context) });
    }
    await reportFailure(services, context);
  }
}

function runWithProgress(
  services: AuditServices,
  audit: Pick<Launch, 'id' | 'folder' | 'checkpoint' | 'gradients' | 'settings' | 'given'>,
): Thenable<AuditOutcome> {
  return withProgressNotification(`GradLeak: ${basename(audit.gradients)}`, (report, token) => {
    let shown = 0;
    let isWatched = false;
    return launchAudit({
      ...audit,
      executor: services.runner,
      store: services.store,
      running: services.running,
      token,
      progress: ({ message, fraction, reconstruction }) => {
        // Once: a panel that the user closed stays closed.
        if (reconstruction && !isWatched) {
          isWatched = true;
          services.panels.show(audit.id);
        }
        // VS Code wants what was added, not where it stands.
        report({ message, increment: Math.max(0, fraction - shown) * 100 });
        shown = Math.max(shown, fraction);
      },
    });
  });
}

/** @param isKept whether there is a report of what was found until then */
function sayStopped(services: AuditServices, isKept: boolean): void {
  const words = isKept ? 'audit stopped, what was found is kept' : 'audit stopped, nothing was found yet';
  services.log.info(words);
  void vscode.window.setStatusBarMessage(`GradLeak: ${words}`, 5000);
}

async function reportFailure(services: AuditServices, context: StepContext): Promise<void> {
  const { error } = context;
  if (error instanceof CancelledError) {
    sayStopped(services, false);
    return;
  }
  services.log.error(error);
  await offerSteps(showError, failureSentence(error), stepsFrom(context), (step) => takeStep(step, context));
}
