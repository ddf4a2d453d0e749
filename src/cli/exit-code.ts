import type { DefenceReport } from '../protocol/defence-report.js';
import type { ProjectReport } from '../protocol/project-report.js';
import type { Report, Severity } from '../protocol/report.js';
import { reaches } from '../audit/findings.js';

/** What a script or a CI job learns of a run: one number, by one table. */

export const EXIT = { done: 0, finding: 1, unusable: 2, fault: 3, notAssessed: 4, cancelled: 130 } as const;

/** In the order in which they are told; README and docs/findings.md hold the same words. */
export const EXIT_TABLE: readonly (readonly [code: number, meaning: string])[] = [
  [EXIT.cancelled, 'stopped by the user'],
  [EXIT.fault, 'a defect of GradLeak'],
  [EXIT.finding, 'a finding at or above --fail-on; a --target that no defence met'],
  [EXIT.unusable, 'unusable input: arguments, files, a folder without dumps, a gradient of another checkpoint'],
  [
    EXIT.notAssessed,
    'not assessed: no method could judge the gradient, a gradient of a project could not be audited, or a --target not be judged',
  ],
  [EXIT.done, 'done: assessed, and nothing of the above'],
];

export interface RunFacts {
  readonly cancelled: boolean;
  readonly fault: boolean;
  /** A finding is as severe as the user asked about. */
  readonly finding: boolean;
  readonly unusable: boolean;
  readonly notAssessed: boolean;
}

/** The first that applies; what was found goes before what could not be looked at, and neither is ever 0. */
export function exitCode(facts: Partial<RunFacts>): number {
  if (facts.cancelled) {
    return EXIT.cancelled;
  }
  if (facts.fault) {
    return EXIT.fault;
  }
  if (facts.finding) {
    return EXIT.finding;
  }
  if (facts.unusable) {
    return EXIT.unusable;
  }
  return facts.notAssessed ? EXIT.notAssessed : EXIT.done;
}

/** @param failOn undefined when no finding is to fail the run */
export function factsOfReport(
  { cancelled, findings, verdict }: Pick<Report, 'cancelled' | 'findings' | 'verdict'>,
  failOn: Severity | undefined,
): Partial<RunFacts> {
  return {
    cancelled: cancelled === true,
    finding: failOn !== undefined && reaches(findings, failOn),
    unusable: verdict.outcome === 'mismatch',
    notAssessed: verdict.outcome === 'not-assessed',
  };
}

/** Of a project each entry counts as its own audit would, but for one that failed: others may have been assessed. */
export function factsOfProject(
  { status, entries, summary, skipped }: Pick<ProjectReport, 'status' | 'entries' | 'summary' | 'skipped'>,
  failOn: Severity | undefined,
): Partial<RunFacts> {
  return {
    cancelled: status === 'cancelled',
    finding:
      failOn !== undefined &&
      reaches(
        entries.flatMap(({ result }) => result?.findings ?? []),
        failOn,
      ),
    unusable: summary.dumps === 0 || summary.mismatched > 0,
    notAssessed: summary.notAssessed + summary.failed > 0 || skipped.some(({ isGradient }) => isGradient === true),
  };
}

/** A sweep without anything to follow tells nothing, and a target that is not known to be met is not met. */
export function factsOfDefence({
  status,
  leaks,
  curves,
  target,
  outcome,
}: Pick<DefenceReport, 'status' | 'leaks' | 'curves' | 'target' | 'outcome'>): Partial<RunFacts> {
  const isTried = leaks.length > 0 && curves.some(({ points }) => points.length > 0);
  return {
    cancelled: status === 'stopped',
    finding: target?.outcome === 'not-met',
    unusable: outcome === 'mismatch',
    notAssessed: !isTried || target?.outcome === 'unknown',
  };
}
