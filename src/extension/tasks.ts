import { join } from 'node:path';
import * as vscode from 'vscode';
import { runtimeEnvironment } from '../runner/runtime.js';
import { TASK_TYPE } from './ids.js';
import type { RunnerHost } from './runner-host.js';

/** Tasks of type `gradleak`: the command line's audit of a folder, for tasks.json. */

interface AuditTask extends vscode.TaskDefinition {
  /** Folder, relative to the workspace folder. */
  folder?: string;
  /** Further arguments of `gradleak audit`. */
  args?: string[];
}

export function registerTasks(extensionPath: string, runner: RunnerHost): vscode.Disposable {
  const taskOf = async (
    definition: AuditTask,
    scope: vscode.WorkspaceFolder | vscode.TaskScope,
  ): Promise<vscode.Task> => {
    const { executable, kind } = await runner.runtime();
    const folder = definition.folder ?? '.';
    const execution = new vscode.ProcessExecution(
      executable,
      [join(extensionPath, 'dist', 'cli.js'), 'audit', folder, ...(definition.args ?? [])],
      { env: definedOf(runtimeEnvironment(kind, process.env)) },
    );
    return new vscode.Task(definition, scope, `audit ${folder}`, 'GradLeak', execution, []);
  };
  return vscode.tasks.registerTaskProvider(TASK_TYPE, {
    provideTasks: () =>
      Promise.all(
        (vscode.workspace.workspaceFolders ?? []).map((folder) => taskOf({ type: TASK_TYPE, folder: '.' }, folder)),
      ),
    resolveTask: (task) => taskOf(task.definition, task.scope ?? vscode.TaskScope.Workspace),
  });
}

function definedOf(environment: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
