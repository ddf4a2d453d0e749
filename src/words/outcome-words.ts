import type { ProjectEntry, ProjectSummary } from '../protocol/project-report.js';
import type { Report } from '../protocol/report.js';
import { counted } from './count-words.js';

/**
 * How an audit came out, in the words of every surface. Only `nothing` is calm: what could not be judged must never look
 * like a clean result.
 */
export type Standing = 'leaks' | 'estimate' | 'nothing' | 'not-assessed' | 'mismatch' | 'failed' | 'waiting';

export const STANDING_WORDS: Record<Standing, string> = {
  leaks: 'Leaks',
  estimate: 'Counts estimated',
  nothing: 'Nothing found',
  'not-assessed': 'Not assessed',
  mismatch: 'Files do not fit',
  failed: 'Could not be audited',
  waiting: 'Not yet audited',
};

/** Label counts that nothing confirms are a guess, and a guess is no leak. */
export function standingOfReport({ verdict, labelCounts }: Pick<Report, 'verdict' | 'labelCounts'>): Standing {
  return standingOfOutcome(verdict.outcome, typeof labelCounts?.confirmedBy === 'string');
}

export function standingOf({ status, result }: Pick<ProjectEntry, 'status' | 'result'>): Standing {
  if (result) {
    return standingOfOutcome(result.outcome, result.counts?.confirmed === true);
  }
  return status === 'failed' ? 'failed' : 'waiting';
}

function standingOfOutcome(outcome: Report['verdict']['outcome'], confirmed: boolean): Standing {
  switch (outcome) {
    case 'counts':
      return confirmed ? 'leaks' : 'estimate';
    case 'none':
      return 'nothing';
    case 'leaks':
    case 'not-assessed':
    case 'mismatch':
      return outcome;
  }
}

/** True where an audit ended without a judgement, which somebody has to look at. */
export function isOpen(standing: Standing): boolean {
  return standing === 'not-assessed' || standing === 'mismatch' || standing === 'failed';
}

/** Why an entry has no judgement, null for one that has, or that waits for it. */
export function whyOpen(entry: Pick<ProjectEntry, 'status' | 'result' | 'problem'>): string | null {
  return isOpen(standingOf(entry)) ? (entry.result?.sentence ?? entry.problem ?? '') : null;
}

/** Entries of a project without a judgement. */
export function openOf({ notAssessed, mismatched, failed }: ProjectSummary): number {
  return notAssessed + mismatched + failed;
}

/** A project in one sentence, counted in gradients and in inputs: batches differ too much in size for anything else. */
export function projectInWords(summary: ProjectSummary): string {
  const { dumps, done, leaking, estimated, nothing, notAssessed, mismatched, failed } = summary;
  if (dumps === 0) {
    return 'No captured gradients were found in this project.';
  }
  const waiting = dumps - done - failed;
  const open = openOf(summary);
  const all = counted(dumps, 'gradient');
  const lead =
    open === dumps
      ? `None of ${all} could be assessed`
      : leaking > 0
        ? `${leaking} of ${all} ${leaking === 1 ? 'leaks' : 'leak'}`
        : `None of ${all} was found to leak`;
  const rest = [
    inputsInWords(summary),
    estimated > 0 ? `label counts estimated for ${estimated}` : '',
    nothing > 0 ? `nothing found in ${nothing} by the methods that apply` : '',
    notAssessed > 0 ? `${notAssessed} not assessed` : '',
    mismatched > 0 ? `${mismatched} not of ${mismatched === 1 ? 'its' : 'their'} checkpoint` : '',
    failed > 0 ? `${failed} could not be audited` : '',
    waiting > 0 ? `${waiting} not yet audited` : '',
  ].filter(Boolean);
  return `${[lead, ...rest].join('; ')}.`;
}

/** Empty where no input was recovered. */
function inputsInWords({ exactInputs, closeInputs }: ProjectSummary): string {
  if (exactInputs === 0) {
    return closeInputs === 0 ? '' : `${counted(closeInputs, 'input')} recovered closely`;
  }
  return `${counted(exactInputs, 'input')} recovered exactly${closeInputs === 0 ? '' : `, ${closeInputs} closely`}`;
}

/** What is known of the labels of a project's samples. */
export function samplesInWords({ labels, samples }: ProjectSummary): string {
  return `Labels of ${labels} of ${counted(samples, 'sample')} recovered`;
}

/** Whether inputs or texts of an entry can be shown. */
export function hasInputsOrTexts({ result }: Pick<ProjectEntry, 'result'>): boolean {
  return result !== null && result.exactInputs + result.closeInputs + (result.texts ?? 0) > 0;
}
