import type * as vscode from 'vscode';
import { withWholePaths } from '../project/settings-paths.js';
import { type ProjectSettings, projectSettings } from './project-audit.js';

/** The settings of a folder's audits as other machines take them: workers run in other folders, with engines of their own. */
export function sharedSettings(folder: vscode.WorkspaceFolder): ProjectSettings {
  const settings = projectSettings(folder.uri);
  const { tfjsFolder: _own, ...reconstruction } = settings.reconstruction;
  return { ...settings, reconstruction: withWholePaths(reconstruction, folder.uri.fsPath) };
}
