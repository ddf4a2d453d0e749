import type { Comparison, ProjectComparison } from '../protocol/comparison.js';
import {
  type Names,
  auditInWords,
  changeInWords,
  changesInWords,
  groupsOf,
  openInWords,
  projectsInWords,
  samenessInWords,
} from '../words/comparison-words.js';
import { DEFAULT_COLUMNS, indent, wrap } from './text-layout.js';

/** Two audits side by side, for a terminal. */

export const NAMES: Names = ['A', 'B'];

/** @param columns width to fill; 100 when the output is not a terminal */
export function renderComparison(comparison: Comparison, columns = DEFAULT_COLUMNS): string {
  const { a, b } = comparison;
  const lines = [
    ...indent('A  ', `${a.gradients}: ${auditInWords(a)}`, columns),
    ...indent('B  ', `${b.gradients}: ${auditInWords(b)}`, columns),
    '',
    ...wrap(samenessInWords(comparison), columns),
    '',
    ...changeLines(comparison, columns),
  ];
  return `${lines.join('\n')}\n`;
}

function changeLines(comparison: Comparison, columns: number): string[] {
  return [
    ...wrap(changesInWords(comparison, NAMES), columns),
    ...groupsOf(comparison, NAMES).flatMap(({ change, severity, what, sides }) => [
      ...indent(`  ${(severity ?? '').padEnd(8)}  `, `${what}: ${changeInWords(change, NAMES)}`, columns),
      ...indent('            ', sides, columns),
    ]),
    ...openInWords(comparison, NAMES).flatMap((own) => indent('! ', own, columns)),
  ];
}

/** Gradients in which nothing changed are told by their number alone. */
export function renderProjects(compared: ProjectComparison, columns = DEFAULT_COLUMNS): string {
  const told = compared.entries.filter(
    ({ comparison }) =>
      comparison.leaks.some(({ change }) => change !== 'same') || openInWords(comparison, NAMES).length > 0,
  );
  const same = compared.entries.length - told.length;
  const lines = [
    `A  ${compared.a.root}, ${compared.a.finished}`,
    `B  ${compared.b.root}, ${compared.b.finished}`,
    '',
    ...wrap(projectsInWords(compared, NAMES), columns),
    ...told.flatMap(({ gradients, comparison }) => [
      '',
      gradients,
      ...wrap(samenessInWords(comparison), columns),
      ...changeLines(comparison, columns),
    ]),
    ...(same > 0 && told.length > 0 ? ['', `${same} more without a difference`] : []),
  ];
  return `${lines.join('\n')}\n`;
}
