import * as vscode from 'vscode';
import { DEFENCE_EFFORTS, type DefenceEffort } from '../protocol/defence-report.js';
import type { SaveRequest } from '../protocol/panel-messages.js';
import { messageOf } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import { compareReports } from '../project/compare-reports.js';
import { comparisonInWords } from '../words/comparison-words.js';
import { allTextsOf } from '../words/recovered-texts.js';
import { shortPath } from '../words/report-words.js';
import { type AuditServices, auditPair, takeStepFor } from './audit-command.js';
import { type AuditSubject, isAudit, isRunning, subjectOfEntry, subjectOfStored } from './audit-rows.js';
import { capturingLine, openScript } from './capturing-line.js';
import { pickAudit } from './history-command.js';
import { askForEffort, tryDefences } from './defend-command.js';
import { deleteFolders } from './delete-folders.js';
import { withShortPaths } from './failures.js';
import { COMMANDS } from './ids.js';
import { inspectFile } from './inspect-command.js';
import { type AuditSettings, auditSettings } from './launch-audit.js';
import type { AuditFiles } from './next-steps.js';
import { askModal, showError, showInformation } from './notifications.js';
import type { ProjectAudits } from './project-audit.js';
import { pickOne } from './questions.js';
import { askForChanges } from './rerun-with.js';
import type { RunningSweeps } from './running-sweeps.js';

/** What can be done with an audit of a list, from its row's menu, a panel, the keyboard or the palette. */

export interface AuditActionServices extends AuditServices {
  readonly project: ProjectAudits;
  readonly sweeps: RunningSweeps;
  /** The rows that are chosen in the list of audits, for keys. */
  readonly selection: () => readonly object[];
}

/** What a command is handed: a row, an audit's id, `selection` from a key, nothing from the palette. */
type Given = object | string | undefined;

export function registerAuditActions(services: AuditActionServices): vscode.Disposable {
  const onOne = (
    command: string,
    title: string,
    act: (audit: AuditSubject) => Promise<void> | void,
  ): vscode.Disposable =>
    vscode.commands.registerCommand(command, async (given: Given) => {
      const [audit] = subjectsOf(services, given, undefined);
      const chosen = audit ?? (given === undefined ? await pickSubject(services, title) : undefined);
      if (chosen) {
        await act(chosen);
      }
    });
  return vscode.Disposable.from(
    onOne(COMMANDS.rerunAudit, 'Re-run Audit', (audit) => auditPair(services, requestOf(services, audit))),
    onOne(COMMANDS.rerunAuditWith, 'Re-run Audit With', (audit) => rerunWith(services, audit)),
    onOne(COMMANDS.changeCheckpoint, 'Change Checkpoint', (audit) =>
      takeStepFor(services, 'choose-checkpoint', requestOf(services, audit)),
    ),
    onOne(COMMANDS.inspectGradient, 'Inspect Gradient', ({ gradients }) => inspectFile(vscode.Uri.file(gradients))),
    onOne(COMMANDS.inspectCheckpoint, 'Inspect Checkpoint', inspectCheckpoint),
    onOne(COMMANDS.openCapturingLine, 'Go to Capturing Line', goToCapturingLine),
    onOne(COMMANDS.revealGradient, 'Reveal Gradient', ({ gradients }) => reveal(vscode.Uri.file(gradients))),
    vscode.commands.registerCommand(COMMANDS.defendAudit, (given: Given, effort?: DefenceEffort) =>
      defend(services, given, effort),
    ),
    onOne(COMMANDS.exportAudit, 'Export Audit', (audit) => exportAudit(services, audit)),
    vscode.commands.registerCommand(COMMANDS.takeStep, (id: string, step: NextStep) => takeStep(services, id, step)),
    vscode.commands.registerCommand(COMMANDS.compareAudits, (given: Given, all?: readonly object[]) =>
      compare(services, subjectsOf(services, given, all)),
    ),
    vscode.commands.registerCommand(COMMANDS.deleteAudit, async (given: Given, all?: readonly object[]) => {
      const audits = subjectsOf(services, given, all);
      const picked = given === undefined ? await pickSubject(services, 'Delete Audit') : undefined;
      await deleteAudits(services, picked ? [picked] : audits);
    }),
    vscode.commands.registerCommand(COMMANDS.stopAudit, (given: Given) => {
      const run = given ?? services.running.list()[0];
      if (typeof run === 'object' && isRunning(run)) {
        run.stop();
      }
    }),
  );
}

/** One that has ended: what runs may have written what it knows so far. */
async function pickSubject(
  { store, panels, running }: AuditActionServices,
  title: string,
): Promise<AuditSubject | undefined> {
  const isOver = (id: string): boolean => running.get(id) === undefined;
  const active = panels.active() ?? '';
  const shown = isOver(active) ? store.about(active) : undefined;
  const audit = shown ?? (await pickAudit(store, title, ({ id }) => isOver(id)));
  return audit && subjectOfStored(audit);
}

/** @param all every row that is chosen, the given one among them */
function subjectsOf(services: AuditActionServices, given: Given, all: readonly object[] | undefined): AuditSubject[] {
  if (typeof given === 'string' && given !== 'selection') {
    const project = services.project.report();
    const entry = project?.entries.find(({ id }) => id === given);
    const audit = services.store.about(given);
    return entry ? [subjectOfEntry(entry, project?.root ?? '')] : audit ? [subjectOfStored(audit)] : [];
  }
  const rows = given === 'selection' ? services.selection() : (all ?? (typeof given === 'object' ? [given] : []));
  return rows.flatMap((row) => {
    if (!isAudit(row) || isRunning(row)) {
      return [];
    }
    return 'made' in row ? subjectOfStored(row) : subjectOfEntry(row, services.project.report()?.root ?? '');
  });
}

/** As it was asked for; as the settings are now where that is not known. */
function requestOf(
  { store }: AuditActionServices,
  { id, checkpoint, gradients, entry }: AuditSubject,
): AuditFiles & { readonly settings: AuditSettings } {
  const kept = store.request(id);
  if (!kept) {
    return { checkpoint, gradients, settings: settingsFor(gradients, entry) };
  }
  const { checkpoint: _checkpoint, gradients: _gradients, ...settings } = kept;
  return { checkpoint, gradients, settings };
}

function settingsFor(gradients: string, entry: AuditSubject['entry']): AuditSettings {
  const settings = auditSettings(vscode.Uri.file(gradients));
  const model = settings.reconstruction.model ?? entry?.network;
  return {
    ...settings,
    ...(entry?.truth === undefined ? {} : { truth: entry.truth }),
    reconstruction: { ...settings.reconstruction, ...(model === undefined ? {} : { model }) },
  };
}

/** A step that a panel offers: on its report, or on the failure that it shows. */
async function takeStep(services: AuditActionServices, id: string, step: NextStep): Promise<void> {
  const failed = services.panels.failureOf(id);
  const [audit] = subjectsOf(services, id, undefined);
  const files = failed?.files ?? (audit && requestOf(services, audit));
  if (files) {
    await takeStepFor(services, step, files, failed?.error);
  }
}

async function rerunWith(services: AuditActionServices, audit: AuditSubject): Promise<void> {
  const changed = await askForChanges(services, requestOf(services, audit));
  if (changed) {
    await auditPair(services, changed);
  }
}

async function inspectCheckpoint({ checkpoint }: AuditSubject): Promise<void> {
  if (checkpoint === undefined) {
    void showInformation('This gradient was audited without a checkpoint.');
  } else {
    await inspectFile(vscode.Uri.file(checkpoint));
  }
}

async function goToCapturingLine({ gradients }: AuditSubject): Promise<void> {
  const line = capturingLine(gradients);
  if (line) {
    await openScript(line);
  } else {
    void showInformation('No notes beside this gradient name the line that captured it.');
  }
}

/** In the Explorer, or where the machine shows files outside the workspace. */
async function reveal(file: vscode.Uri): Promise<void> {
  const isInside = vscode.workspace.getWorkspaceFolder(file) !== undefined;
  try {
    await vscode.commands.executeCommand(isInside ? 'revealInExplorer' : 'revealFileInOS', file);
  } catch {
    // On a server there is no window to show it in.
    void showInformation(`The gradient is outside this workspace: ${file.fsPath}`);
  }
}

/** @param effort asked for where a panel does not say it */
async function defend(services: AuditActionServices, given: Given, effort: unknown): Promise<void> {
  const [own] = subjectsOf(services, given, undefined);
  const audit = own ?? (given === undefined ? await pickSubject(services, 'What Would Stop This Leak') : undefined);
  const chosen = DEFENCE_EFFORTS.find((one) => one === effort) ?? (audit && (await askForEffort()));
  if (audit && chosen) {
    const { checkpoint, gradients, settings } = requestOf(services, audit);
    const { truth: _truth, ...asked } = settings;
    await tryDefences(
      services,
      audit.id,
      { ...asked, gradients, ...(checkpoint === undefined ? {} : { checkpoint }) },
      chosen,
    );
  }
}

async function exportAudit({ panels, store }: AuditActionServices, { id }: AuditSubject): Promise<void> {
  const report = store.read(id);
  if (!report) {
    void showInformation('This audit left no report.');
    return;
  }
  const items: { label: string; detail: string; what: SaveRequest['what'] }[] = [
    { label: 'Page', detail: 'HTML in one file, to read, print or send', what: 'html' },
    { label: 'Report', detail: 'JSON, every number of it', what: 'json' },
    ...(report.samples.length > 0
      ? [{ label: 'Features', detail: 'numpy array, a row for each sample', what: 'npy' as const }]
      : []),
    ...(allTextsOf(report) === '' ? [] : [{ label: 'Texts', detail: 'The recovered texts', what: 'txt' as const }]),
  ];
  const picked = await pickOne(items, { title: 'Export Audit', placeHolder: 'What to save' });
  if (picked) {
    await panels.save(id, { t: 'save', what: picked.what });
  }
}

async function compare({ panels, store }: AuditActionServices, chosen: readonly AuditSubject[]): Promise<void> {
  const ids = chosen.filter(({ hasReport }) => hasReport).map(({ id }) => id);
  const one = ids[0] ?? (await pickAudit(store, 'Compare Audits: the first'))?.id;
  const other = ids[1] ?? (one && (await pickAudit(store, 'Compare Audits: the other', ({ id }) => id !== one))?.id);
  if (one !== undefined && other !== undefined) {
    panels.show(one, vscode.ViewColumn.One);
    panels.show(other, vscode.ViewColumn.Two);
    const [left, right] = [store.read(one), store.read(other)];
    if (left && right) {
      void showInformation(comparisonInWords(compareReports(left, right), ['the left one', 'the right one']));
    }
  }
}

async function deleteAudits(services: AuditActionServices, chosen: readonly AuditSubject[]): Promise<void> {
  const { store, panels, log } = services;
  const own = chosen.flatMap(({ id, gradients }) => {
    const folder = store.ownFolder(id);
    return folder === undefined ? [] : [{ id, gradients, folder }];
  });
  const [first] = own;
  if (!first) {
    return;
  }
  const answer = 'Delete';
  const what = own.length === 1 ? `the audit of ${shortPath(first.gradients)}` : `${own.length} audits`;
  const detail = 'The reports and what was recovered are deleted; the gradients and checkpoints stay.';
  if ((await askModal(`Delete ${what}?`, detail, answer)) !== answer) {
    return;
  }
  try {
    await Promise.all(own.map(({ id }) => services.sweeps.stop(id)));
    await deleteFolders(
      own.map(({ folder }) => folder),
      (folder) => {
        panels.close(own.find((audit) => audit.folder === folder)?.id ?? '');
      },
    );
  } catch (error) {
    log.error(error);
    void showError(withShortPaths(`The audit could not be deleted: ${messageOf(error)}`));
  }
  store.changed();
}
