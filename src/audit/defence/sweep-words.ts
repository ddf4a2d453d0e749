import type { DefenceCurve, DefenceReport, FollowedLeak } from '../../protocol/defence-report.js';
import { counted } from '../../words/count-words.js';
import type { FoundLeak } from '../report.js';
import type { Undefended } from './undefended.js';

/** What is said of a sweep as a whole. */

/** Noise is what a guarantee can be had of, so its levels are told first. */
const TOLD_FIRST = 'gaussian-noise';

export function sentenceOf(leaks: readonly FollowedLeak[], curves: readonly DefenceCurve[]): string {
  if (leaks.length === 0) {
    return 'The audit found no label, feature, input or text of a sample for certain in this update, so there is nothing to follow; that does not say that nothing leaks.';
  }
  const told =
    curves.find(({ id, points }) => id === TOLD_FIRST && points.length > 0) ??
    curves.find(({ points }) => points.length > 0);
  const followed = `${counted(leaks.length, 'leak was', 'leaks were')} followed`;
  if (!told) {
    return `${followed}, and no level was tried.`;
  }
  // Choices stand beside each other.
  const isChoice = told.scale === 'names';
  const parts = leaks.map(({ title }, at) => {
    const knee = told.knees[at];
    const level = knee?.level === null || knee === undefined ? undefined : told.levels[knee.level];
    return level
      ? `"${title}" ${knee?.by === 'not-found' ? 'is no longer found' : 'is stopped'} ${isChoice ? `with "${level.name}"` : `${knee?.isSettled ? 'from' : 'at the latest from'} ${level.name} on`}`
      : `"${title}" is not stopped by any level that was tried`;
  });
  return `${followed}. ${told.title}: ${parts.join('; ')}. This holds for the methods that were tried and this update.`;
}

/** What the audit told without being certain of it. */
export function notFollowed({ result }: Undefended, leaks: readonly FollowedLeak[]): DefenceReport['notFollowed'] {
  const followed = new Set(leaks.map(({ method }) => method));
  const samples = result.report.samples.some(({ status }) => status !== 'recovered') && !followed.has('head-batch');
  const inputs = result.reconstructions.filter(({ report, input }) => input && report.verdict !== 'exact');
  const counts = result.report.labelCounts;
  const isLabelFollowed = leaks.some(({ measure }) => measure.id === 'label');
  return [
    ...(samples && !followed.has('head-single')
      ? [
          {
            title: 'Labels',
            why: 'No label was told for certain, so there is nothing to compare with.',
            measure: 'label' as const,
          },
        ]
      : []),
    ...(inputs.length > 0
      ? [
          {
            title: counted(inputs.length, 'input'),
            why: 'What was reconstructed is not exact without a defence, so it is no truth to compare with.',
            measure: 'psnr' as const,
          },
        ]
      : []),
    ...(counts && typeof counts.confirmedBy !== 'string'
      ? [
          {
            title: 'How often each class occurs',
            why: 'It is an estimate that nothing confirms.',
            measure: isLabelFollowed ? null : ('label' as const),
          },
        ]
      : []),
    ...result.leaks.flatMap(({ method, leak }) =>
      leak.sample === null && leak.brief !== null && leak.certificate?.verdict !== 'exact' && !followed.has(method)
        ? [
            {
              title: leak.title,
              why: 'It is not exact without a defence, so it is no truth to compare with.',
              measure: measureOf(leak),
            },
          ]
        : [],
    ),
  ];
}

function measureOf({ details, arrays }: FoundLeak['leak']): 'texts' | 'psnr' | null {
  return details.some(({ type }) => type === 'texts') ? 'texts' : arrays.length > 0 ? 'psnr' : null;
}
