import type { Report, TruthComparison } from '../protocol/report.js';
import { counted } from './count-words.js';
import { baseName } from './report-words.js';

/** What is said of a truth that a report was compared with. */

/** Where it came from, if it took no part; empty for one that was given with the audit. */
export function originOfTruth({ found, chosenAfterwards }: TruthComparison): string {
  return found ? 'found beside the file, not used' : chosenAfterwards ? 'chosen after the audit, not used' : '';
}

/** The comparison in a line; undefined without one. */
export function truthInWords({ truth, samples }: Pick<Report, 'truth' | 'samples'>): string | undefined {
  if (!truth) {
    return undefined;
  }
  const origin = originOfTruth(truth);
  const isUsed = samples.some(({ reconstruction }) => reconstruction?.usedTruth);
  const part = origin === '' ? (isUsed ? 'took part in the reconstruction' : 'not used') : origin;
  const { missed, countErrors } = truth;
  return [
    `Compared with ${baseName(truth.path)} (${part})`,
    ...(missed === undefined
      ? []
      : [
          missed === 0
            ? 'every true sample was found'
            : `${counted(missed, 'true sample')} ${missed === 1 ? 'was' : 'were'} not found`,
        ]),
    ...(countErrors === null
      ? []
      : [
          countErrors === 0 ? 'every class counted right' : `${counted(countErrors, 'class', 'classes')} counted wrong`,
        ]),
  ].join(', ');
}

/** @param value of a PSNR; not finite, or null in a stored report, where nothing differs */
export function decibels(value: number | null): string {
  return value === null || !Number.isFinite(value) ? 'no difference' : `${value.toFixed(1)} dB`;
}
