import * as vscode from 'vscode';
import { STANDING_WORDS, type Standing, standingOfReport } from '../words/outcome-words.js';
import { visibleInList } from '../words/visible.js';
import type { AuditStore } from './audit-store.js';
import { showInformation } from './notifications.js';
import type { ResultsPanels } from './results-panel.js';

/** A list's icons have no colours: only what is calm may look so. */
const ICONS: Record<Standing, string> = {
  leaks: 'error',
  estimate: 'warning',
  nothing: 'info',
  'not-assessed': 'warning',
  mismatch: 'warning',
  failed: 'warning',
  waiting: 'clock',
};

/** "GradLeak: Open Audit...": the audits of this workspace, newest first, with everything in them. */
export async function openAudit(store: AuditStore, panels: ResultsPanels): Promise<void> {
  const items = store.ids().flatMap((id) => {
    const report = store.read(id);
    if (!report) {
      return [];
    }
    const standing = standingOfReport(report);
    const rebuilt = report.samples[0]?.reconstruction?.verdict;
    return [
      {
        label: `$(${ICONS[standing]}) ${visibleInList(report.inputs.gradients.path.split(/[\\/]/).slice(-2).join('/'))}`,
        description: `${STANDING_WORDS[standing]}, ${whenOf(id)}${rebuilt === undefined ? '' : `, input: ${rebuilt}`}`,
        detail: visibleInList(report.verdict.sentence),
        id,
      },
    ];
  });
  if (items.length === 0) {
    void showInformation('No audit is stored for this workspace yet.');
    return;
  }
  const picked = await vscode.window.showQuickPick(items, {
    title: 'Open Audit',
    placeHolder: 'Newest first',
    matchOnDescription: true,
    matchOnDetail: true,
  });
  if (picked) {
    panels.show(picked.id);
  }
}

/** Ids start with the time of the audit, in UTC. */
function whenOf(id: string): string {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)/.exec(id) ?? [];
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`).toLocaleString();
}
