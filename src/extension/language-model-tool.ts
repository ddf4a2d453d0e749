import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import * as vscode from 'vscode';
import { renderReport } from '../cli/render-text.js';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { visible } from '../words/visible.js';
import type { AuditServices } from './audit-command.js';
import { TOOL_NAME } from './ids.js';
import { launchAudit } from './launch-audit.js';

/** The language-model tool `gradleak_audit`: asks before it runs, returns the report as text. */

interface ToolInput {
  gradients: string;
  checkpoint: string;
}

export function registerLanguageModelTool(services: AuditServices): vscode.Disposable {
  return vscode.lm.registerTool<ToolInput>(TOOL_NAME, {
    prepareInvocation: ({ input }) => ({
      invocationMessage: plain(`Auditing ${input.gradients}`),
      confirmationMessages: {
        title: 'Audit a captured gradient',
        message: plain(
          `Compute what ${input.gradients} gives away about its training data, with the checkpoint ${input.checkpoint}? The labels found become part of the conversation.`,
        ),
      },
    }),
    invoke: async ({ input }, token) => {
      const text = await auditAsText(services, input, token).catch((error: unknown) =>
        error instanceof UnusableInputError ? error.message : `The audit failed: ${messageOf(error)}`,
      );
      return new vscode.LanguageModelToolResult([new vscode.LanguageModelTextPart(visible(text))]);
    },
  });
}

/** The editor takes these texts for Markdown; a path must not be a link or an image there. */
function plain(text: string): vscode.MarkdownString {
  return new vscode.MarkdownString().appendText(visible(text));
}

async function auditAsText(
  { runner, store, running }: AuditServices,
  input: ToolInput,
  token: vscode.CancellationToken,
): Promise<string> {
  if (!vscode.workspace.isTrusted) {
    return 'GradLeak runs audits in trusted workspaces only.';
  }
  const { id, folder } = store.create();
  const [gradients, checkpoint] = [absolute(input.gradients), absolute(input.checkpoint)];
  await launchAudit({ executor: runner, store, running, checkpoint, gradients, id, folder, token });
  const report = store.read(id);
  return report ? renderReport(report) : 'The audit left no report.';
}

/** Relative to the first workspace folder that holds it. */
function absolute(path: string): string {
  const folders = vscode.workspace.workspaceFolders ?? [];
  return isAbsolute(path)
    ? path
    : (folders.map(({ uri }) => join(uri.fsPath, path)).find((own) => existsSync(own)) ?? path);
}
