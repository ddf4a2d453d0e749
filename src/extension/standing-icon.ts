import * as vscode from 'vscode';
import type { Severity } from '../protocol/report.js';
import type { Standing } from '../words/outcome-words.js';

/** How an audit came out, as the icon of a row: only what is calm may look so. */
export function standingIcon(standing: Standing, severity: Severity | null): vscode.ThemeIcon {
  const warning = new vscode.ThemeColor('list.warningForeground');
  switch (standing) {
    case 'leaks':
      return severity === 'critical' || severity === 'high'
        ? new vscode.ThemeIcon('error', new vscode.ThemeColor('list.errorForeground'))
        : new vscode.ThemeIcon('warning', warning);
    case 'estimate':
      return new vscode.ThemeIcon('warning', warning);
    case 'not-assessed':
      return new vscode.ThemeIcon('question', warning);
    case 'mismatch':
    case 'failed':
      return new vscode.ThemeIcon('circle-slash', warning);
    case 'nothing':
      return severity === null ? new vscode.ThemeIcon('pass') : new vscode.ThemeIcon('warning', warning);
    case 'waiting':
      return new vscode.ThemeIcon('clock');
  }
}
