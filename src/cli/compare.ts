import { compareProjects, compareReports } from '../project/compare-reports.js';
import { type StoredResults, readResults } from '../project/stored-results.js';
import { reaches } from '../audit/findings.js';
import type { Comparison, ProjectComparison } from '../protocol/comparison.js';
import { SEVERITIES, type Severity } from '../protocol/report.js';
import { counted } from '../words/count-words.js';
import { badArguments, oneOf, parse, textOf } from './arguments.js';
import { type RunFacts, exitCode } from './exit-code.js';
import type { CliSurroundings } from './surroundings.js';
import { renderComparison, renderProjects } from './render-comparison.js';

/** `gradleak compare A B`: what leaked in two audits, or in two projects. */

/** @throws UnusableInputError for arguments and files that cannot be used */
export function compare(args: readonly string[], surroundings: CliSurroundings): number {
  const { values, positionals } = parse(args, {
    'fail-on': { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  const failOn = oneOf('--fail-on', textOf(values)('fail-on'), SEVERITIES);
  const [one, other] = positionals;
  if (one === undefined || other === undefined || positionals.length > 2) {
    throw badArguments(`${positionals.length} results`, 'two folders of results, or their report.json');
  }
  const [a, b] = [read(one, surroundings), read(other, surroundings)];
  surroundings.reading?.(null);
  const compared = comparisonOf(a, b);
  const { print, printError, columns } = surroundings;
  print(
    values.json === true
      ? `${JSON.stringify(compared, undefined, 1)}\n`
      : 'entries' in compared
        ? renderProjects(compared, columns)
        : renderComparison(compared, columns),
  );
  const comparisons = 'entries' in compared ? compared.entries.map((own) => own.comparison) : [compared];
  const facts = factsOf(comparisons, failOn);
  if (facts.notAssessed) {
    const open = comparisons.filter(isOpen).length;
    printError(`gradleak: not assessed in both: ${open} of ${counted(comparisons.length, 'gradient')}\n`);
  }
  return exitCode(facts);
}

function read(path: string, { reading }: CliSurroundings): StoredResults {
  reading?.({ path, what: 'listing' });
  return readResults(path);
}

function comparisonOf(a: StoredResults, b: StoredResults): Comparison | ProjectComparison {
  if (a.of === 'gradient' && b.of === 'gradient') {
    return compareReports(a.report, b.report);
  }
  if (a.of === 'project' && b.of === 'project') {
    return compareProjects(a.report, b.report, (side, id) => (side === 'a' ? a : b).entry(id));
  }
  throw badArguments('the audit of one gradient and that of a project', 'two of the same');
}

/** @param failOn undefined when no leak is to fail the run */
export function factsOf(comparisons: readonly Comparison[], failOn: Severity | undefined): Partial<RunFacts> {
  const risen = comparisons
    .flatMap(({ leaks }) => leaks)
    .filter(({ change }) => change === 'new' || change === 'unassessed-a' || change === 'worse')
    .flatMap(({ b: { severity } }) => (severity === null ? [] : [{ severity }]));
  return {
    finding: failOn !== undefined && reaches(risen, failOn),
    notAssessed: comparisons.length === 0 || comparisons.some(isOpen),
  };
}

/** Nobody looked in B for something that A found or looked for, or one of the two is no judgement at all. */
function isOpen({ a, b, leaks, onlyInA }: Comparison): boolean {
  return (
    a.open !== null || b.open !== null || onlyInA.length > 0 || leaks.some(({ change }) => change === 'unassessed-b')
  );
}
