import { isAbsolute, resolve } from 'node:path';
import type * as vscode from 'vscode';
import { type ProjectSettings, projectSettings } from './project-audit.js';

/** The settings of a folder's audits as other machines take them: workers run in other folders. */
export function sharedSettings(folder: vscode.WorkspaceFolder): ProjectSettings {
  const settings = projectSettings(folder.uri);
  const { model, lpips, tfjsFolder: _own, ...reconstruction } = settings.reconstruction;
  const whole = (path: string): string => (isAbsolute(path) ? path : resolve(folder.uri.fsPath, path));
  return {
    ...settings,
    reconstruction: {
      ...reconstruction,
      ...(model === undefined ? {} : { model: whole(model) }),
      ...(lpips === undefined ? {} : { lpips: whole(lpips) }),
    },
  };
}
