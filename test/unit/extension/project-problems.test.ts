import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as vscode from 'vscode';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { ProjectAudits } from '../../../src/extension/project-audit.js';
import { ProjectProblems } from '../../../src/extension/project-problems.js';
import type { ProjectEntry } from '../../../src/protocol/project-report.js';
import { entryResult, projectEntry } from '../../project-entries.js';

/** From a problem on a script's line to the audit that it is of. */

const host = vi.hoisted(() => ({ root: '', problems: new Map<string, object[]>() }));
vi.mock('vscode', () => {
  class Range {
    readonly start: { line: number };
    constructor(line: number) {
      this.start = { line };
    }
  }
  class Values {
    readonly given: unknown[];
    constructor(...given: unknown[]) {
      this.given = given;
    }
  }
  class Diagnostic {
    constructor(
      readonly range: Range,
      readonly message: string,
    ) {}
  }
  class CodeAction {
    constructor(readonly title: string) {}
  }
  const file = (fsPath: string): object => ({ fsPath, toString: () => `file://${fsPath}` });
  return {
    Range,
    Position: Values,
    Location: Values,
    DiagnosticRelatedInformation: Values,
    Diagnostic,
    CodeAction,
    CodeActionKind: { QuickFix: 'quickfix' },
    DiagnosticSeverity: { Warning: 1, Information: 2 },
    Uri: { file },
    workspace: {
      get workspaceFolders() {
        return [{ uri: { scheme: 'file', fsPath: host.root } }];
      },
    },
    languages: {
      createDiagnosticCollection: () => ({
        clear: () => {
          host.problems.clear();
        },
        set: ({ fsPath }: { fsPath: string }, own: object[]) => void host.problems.set(fsPath, own),
      }),
      registerCodeActionsProvider: () => undefined,
    },
  };
});

const root = realpathSync(mkdtempSync(join(tmpdir(), 'gradleak-problems-')));
const script = join(root, 'train.py');
writeFileSync(script, 'loss.backward()\n');
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

function entry(id: string, sentence: string, own: Partial<ProjectEntry> = {}): ProjectEntry {
  return projectEntry({
    id,
    gradients: `${id}/gradient.pt`,
    script: { file: script, line: 1 },
    result: entryResult({ sentence }),
    ...own,
  });
}

/** Titles and audits of what is offered at each problem of the script. */
function offered(entries: ProjectEntry[]): [string, unknown][][] {
  host.root = root;
  const project = { onDidChange: () => undefined, report: () => ({ root, entries }) };
  const problems = new ProjectProblems(project as unknown as ProjectAudits);
  const document = { uri: { toString: () => `file://${script}` } } as unknown as vscode.TextDocument;
  return (host.problems.get(script) ?? []).map((diagnostic) =>
    problems
      // VS Code hands over copies.
      .provideCodeActions(document, new vscode.Range(0, 0, 0, 0), {
        diagnostics: [{ ...diagnostic }],
      } as unknown as vscode.CodeActionContext)
      .map(({ title, command }): [string, unknown] => [title, command?.arguments?.[0]]),
  );
}

describe('the way from a problem', () => {
  it('leads to the audit of the gradient that it speaks of', () => {
    expect(offered([entry('a', 'One leaks.'), entry('b', 'All leak.')])).toEqual([
      [['Show the audit of a/gradient.pt', 'a']],
      [['Show the audit of b/gradient.pt', 'b']],
    ]);
  });

  it('leads to each of those that say the same on one line, to the first five', () => {
    const rounds = Array.from({ length: 7 }, (_, at) => entry(`r${at}`, 'One leaks.'));
    const [first] = offered(rounds);
    expect(first?.map(([, id]) => id)).toEqual(['r0', 'r1', 'r2', 'r3', 'r4']);
  });

  it('leads nowhere where the audit failed and left no report', () => {
    expect(offered([entry('a', '', { status: 'failed', problem: 'The file is damaged.', result: null })])).toEqual([
      [],
    ]);
  });
});
