import type { DefenceCurve, DefenceReport, DefenceTarget, FollowedLeak } from '../protocol/defence-report.js';
import { WHAT_IS_LEFT, endInWords, leftInWords, letterOf, limitInWords } from '../words/defence-words.js';
import { indent } from './text-layout.js';

/** A sweep of defences for a terminal: what is left at each level that was tried, and the lowest that stops each leak. */

const DEFAULT_WIDTH = 100;
export function renderDefence(report: DefenceReport, columns: number | undefined): string {
  const width = Math.max(columns ?? DEFAULT_WIDTH, 60);
  const { leaks, curves, notFollowed, remarks, target } = report;
  const lines = [
    ...indent('', report.sentence, width),
    '',
    ...leaks.flatMap((leak, at) => indent(`  ${letterOf(at)}  `, `${leak.title}: ${limitInWords(leak)}`, width)),
    ...notFollowed.flatMap(({ title, why }) => indent('  -  ', `${title}: not followed. ${why}`, width)),
    ...remarks.flatMap((own) => indent('', own, width)),
    ...(leaks.length > 0 ? curves.flatMap((curve) => curveLines(curve, leaks, width)) : []),
    ...(target ? targetLines(target, curves, width) : []),
    '',
    ...indent('', `${endInWords(report)} ${WHAT_IS_LEFT}`, width),
  ];
  return `${lines.join('\n')}\n`;
}

function curveLines(
  { title, explanation, levels, points, knees, why }: DefenceCurve,
  leaks: readonly FollowedLeak[],
  width: number,
): string[] {
  const nameWidth = Math.max(...levels.map(({ name }) => name.length), 1);
  return [
    '',
    title,
    ...indent('  ', why ?? explanation, width),
    ...points.map(({ level, left }) => {
      const cells = leaks.map((leak, at) => {
        const own = left.find((one) => one.leak === leak.id);
        return `${letterOf(at)} ${leftInWords(own, leak)}`;
      });
      return `  ${(levels[level]?.name ?? '').padEnd(nameWidth)}  ${cells.join('   ')}`;
    }),
    ...(why === null ? knees.flatMap(({ sentence }, at) => indent(`  ${letterOf(at)}  `, sentence, width)) : []),
  ];
}

function targetLines({ asked, met, remarks }: DefenceTarget, curves: readonly DefenceCurve[], width: number): string[] {
  const named = Object.entries(asked).map(([measure, limit]) => `${measure}=${limit}`);
  return [
    '',
    `Target ${named.join(', ')}`,
    ...remarks.flatMap((own) => indent('  ', own, width)),
    ...met.flatMap(({ curve, level, sentence }) => {
      const own = curves.find(({ id }) => id === curve);
      const chosen = level === null ? undefined : own?.levels[level];
      const { also = null, settings = [], privacy = [] } = chosen ?? {};
      return [
        ...indent(`  ${own?.title ?? curve}: `, `${sentence}${also === null ? '' : ` That is: ${also}.`}`, width),
        ...settings.flatMap(({ library, note, code }) => [
          ...indent(`    ${library}: `, note, width),
          ...code.split('\n').map((line) => `      ${line}`),
        ]),
        ...privacy.flatMap((own, at) => indent(at === 0 ? '    Privacy: ' : '      ', own, width)),
      ];
    }),
  ];
}
