import type { DefenceCurve, DefenceReport, DefenceTarget, FollowedLeak, LeftOver } from '../protocol/defence-report.js';
import { indent } from './text-layout.js';

/** A sweep of defences for a terminal: what is left at each level that was tried, and the lowest that stops each leak. */

const DEFAULT_WIDTH = 100;
const STANDING: Record<LeftOver['standing'], string> = {
  leaks: ' leaks',
  stopped: ' stopped',
  'not-found': 'no longer found',
  untold: ' not tried to its end',
};

export function renderDefence(report: DefenceReport, columns: number | undefined): string {
  const width = Math.max(columns ?? DEFAULT_WIDTH, 60);
  const { leaks, curves, notFollowed, remarks, status, seconds, effort, target } = report;
  const letter = (at: number): string => String.fromCharCode(65 + at);
  const lines = [
    ...indent('', report.sentence, width),
    '',
    ...leaks.flatMap((leak, at) => indent(`  ${letter(at)}  `, `${leak.title}: ${limitInWords(leak)}`, width)),
    ...notFollowed.flatMap(({ title, why }) => indent('  -  ', `${title}: not followed. ${why}`, width)),
    ...remarks.flatMap((own) => indent('', own, width)),
    ...(leaks.length > 0 ? curves.flatMap((curve) => curveLines(curve, leaks, letter, width)) : []),
    ...(target ? targetLines(target, curves, width) : []),
    '',
    ...indent(
      '',
      `${{ complete: 'Complete', stopped: 'Stopped', 'out-of-time': 'Time was up' }[status]} after ${seconds.toFixed(0)} s (${effort}). What is left is the best guess of the methods here on this update, certain or not; other methods may see more.`,
      width,
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function limitInWords({ measure, limit, chance }: FollowedLeak): string {
  const guess = chance === null ? '' : `; guessing alone gives ${amount(chance, measure)}`;
  return `${measure.title}, a leak ${measure.moreIsWorse ? 'above' : 'below'} ${amount(limit, measure)}${guess}`;
}

function amount(value: number, { unit }: FollowedLeak['measure']): string {
  return unit === '' ? String(Number(value.toPrecision(3))) : `${value.toFixed(1)} ${unit}`;
}

function curveLines(
  { title, explanation, levels, points, knees, why }: DefenceCurve,
  leaks: readonly FollowedLeak[],
  letter: (at: number) => string,
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
        const value = own?.left === null || own === undefined ? '' : amount(own.left, leak.measure);
        return `${letter(at)} ${own ? `${value}${STANDING[own.standing]}` : 'not tried'}`;
      });
      return `  ${(levels[level]?.name ?? '').padEnd(nameWidth)}  ${cells.join('   ')}`;
    }),
    ...(why === null ? knees.flatMap(({ sentence }, at) => indent(`  ${letter(at)}  `, sentence, width)) : []),
  ];
}

function targetLines({ asked, met, remarks }: DefenceTarget, curves: readonly DefenceCurve[], width: number): string[] {
  const named = Object.entries(asked).map(([measure, limit]) => `${measure}=${limit}`);
  return [
    '',
    `Target ${named.join(', ')}`,
    ...remarks.flatMap((own) => indent('  ', own, width)),
    ...met.flatMap(({ curve, level, sentence, settings, privacy }) => {
      const own = curves.find(({ id }) => id === curve);
      const also = level === null ? null : (own?.levels[level]?.also ?? null);
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
