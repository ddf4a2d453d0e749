import * as vscode from 'vscode';
import type { Severity } from '../protocol/report.js';
import type { Standing } from '../words/outcome-words.js';
import { iconNameOf } from './icon-names.js';

const CALM = ['pass', 'clock'];

/** The icon of a row, in the colour of what it stands for. */
export function standingIcon(standing: Standing, severity: Severity | null): vscode.ThemeIcon {
  const name = iconNameOf(standing, severity);
  if (CALM.includes(name)) {
    return new vscode.ThemeIcon(name);
  }
  return new vscode.ThemeIcon(
    name,
    new vscode.ThemeColor(name === 'error' ? 'list.errorForeground' : 'list.warningForeground'),
  );
}
