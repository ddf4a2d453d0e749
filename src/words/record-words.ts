import type { HashedFile, Report } from '../protocol/report.js';

/** What a report says of itself to whoever files it: when and from what it was made, and what it does not tell. */

/** "2026-11-27 05:31 UTC"; undefined for a report of an earlier version. */
export function whenInWords({ finished }: Pick<Report, 'finished'>): string | undefined {
  return finished === undefined ? undefined : `${finished.slice(0, 16).replace('T', ' ')} UTC`;
}

const ROLES: Record<HashedFile['role'], string> = {
  gradient: 'gradient',
  checkpoint: 'checkpoint',
  network: 'network',
  beside: 'beside them',
  truth: 'truth, for comparison',
};

export function roleInWords({ role }: Pick<HashedFile, 'role'>): string {
  return ROLES[role];
}

/** With digits in groups of three, as they are read out. */
export function bytesInWords(bytes: number): string {
  return `${String(bytes).replace(/\B(?=(\d{3})+$)/g, ' ')} bytes`;
}

/** How to treat a page that shows what was recovered. */
export const CARE =
  'This report shows what was recovered of the training data: keep and share it as the data themselves.';

/** Undefined where nothing was recovered. */
export function careInWords({ samples, leaks, labelCounts }: Report): string | undefined {
  return samples.length > 0 || leaks.length > 0 || labelCounts ? CARE : undefined;
}

/** What the report does not tell, one sentence each. */
export function limitsInWords(report: Report): string[] {
  const { batch, cancelled, inputs, methods = [], samples, update } = report;
  const when = (condition: boolean, sentence: string): string[] => (condition ? [sentence] : []);
  return [
    ...when(cancelled === true, 'The audit was stopped before its end: what it had not yet done is missing.'),
    'One gradient was assessed. Other rounds, other clients, and what several gradients give away together were not.',
    ...when(inputs.checkpoint === null, 'No checkpoint was given, so nothing was assessed that needs the weights.'),
    ...when(
      update !== undefined && update.kind !== 'gradient',
      'The file is not a plain gradient, and some methods do not read what it is.',
    ),
    ...when(batch.size === null, `How many samples the gradient is of is not known: at least ${batch.lowerBound}.`),
    'That a method found nothing is no proof that nothing can be found: another one, or more time, may find more.',
    ...when(
      methods.length > 0,
      'Each result holds as far as what its method assumes holds, which was not checked beyond the checks above.',
    ),
    ...when(
      samples.length > 0,
      'A stated confidence is a probability under these assumptions, calibrated on gradients of known samples.',
    ),
    ...when(
      samples.some(({ reconstruction }) => reconstruction?.usedTruth),
      'An input was reconstructed with the true label, which an attacker may not have: it is no evidence of a leak.',
    ),
    'Who can get hold of the gradient, whether what it gives away is personal data, and where the files came from was not assessed.',
    ...when(
      inputs.files === undefined,
      'The files’ hashes were not computed, so nothing here proves which files were read.',
    ),
  ];
}
