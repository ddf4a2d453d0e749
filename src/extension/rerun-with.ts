import * as vscode from 'vscode';
import { shortPath } from '../words/report-words.js';
import { visibleInList } from '../words/visible.js';
import { type AuditServices, chooseCheckpoint } from './audit-command.js';
import type { AuditSettings } from './launch-audit.js';
import type { AuditFiles } from './next-steps.js';
import { askForText, pickOne } from './questions.js';
import { type FileOption, type RerunOption, rerunOptions } from './rerun-options.js';

/**
 * Lets the user change an audit before it is run again: a list of what it is done with, of which each can be changed.
 *
 * @returns undefined when the list was closed
 */
export async function askForChanges(
  services: AuditServices,
  before: AuditFiles & { readonly settings: AuditSettings },
): Promise<AuditFiles | undefined> {
  for (let audit = before; ;) {
    const picked = await pickOption(audit);
    if (picked === undefined || picked === 'run') {
      return picked && audit;
    }
    if (picked === 'checkpoint') {
      const chosen = await chooseCheckpoint(services, audit.gradients);
      audit = chosen ? { ...audit, checkpoint: chosen.checkpoint } : audit;
    } else {
      audit = { ...audit, settings: (await change(picked)) ?? audit.settings };
    }
  }
}

async function pickOption({
  gradients,
  checkpoint,
  settings,
}: AuditFiles & { readonly settings: AuditSettings }): Promise<RerunOption | 'run' | 'checkpoint' | undefined> {
  const items = [
    { label: '$(play) Run', description: 'with what stands below', does: 'run' as const },
    {
      label: 'Checkpoint',
      description: checkpoint === undefined ? 'none' : visibleInList(vscode.workspace.asRelativePath(checkpoint)),
      does: 'checkpoint' as const,
    },
    ...rerunOptions(settings).map((own) => ({ label: own.label, description: visibleInList(own.value), does: own })),
  ];
  const picked = await pickOne(items, {
    title: `Re-run ${visibleInList(shortPath(gradients))} With`,
    placeHolder: 'Choose what to change, or run',
  });
  return picked?.does;
}

/** @returns undefined when it stays as it is */
async function change(option: RerunOption): Promise<AuditSettings | undefined> {
  switch (option.form) {
    case 'choice': {
      const { label, value, choices } = option;
      return (await pickOne(choices, { title: label, placeHolder: `Now: ${value}` }))?.settings;
    }
    case 'text': {
      const text = await askForText({
        title: option.label,
        prompt: option.prompt,
        value: option.text,
        validateInput: (own) => option.problem(own.trim()),
      });
      return text === undefined ? undefined : option.set(text.trim());
    }
    case 'file':
      return changeFile(option);
  }
}

async function changeFile({ label, file, set }: FileOption): Promise<AuditSettings | undefined> {
  const items = [
    { label: '$(folder-opened) Browse...', isNone: false },
    { label: 'Found beside the files, or recognised', isNone: true },
  ];
  const picked = await pickOne(items, { title: label, placeHolder: file });
  if (picked?.isNone === true) {
    return set(undefined);
  }
  const chosen = picked && (await vscode.window.showOpenDialog({ title: `Choose the ${file}` }))?.[0];
  return chosen && set(chosen.fsPath);
}
