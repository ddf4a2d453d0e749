import type { DefenceCurve, DefenceReport, FollowedLeak, LeakMeasure, LeftOver } from '../protocol/defence-report.js';

/** What every surface says of a sweep of defences. */

export const STANDING_OF_LEFT: Record<LeftOver['standing'], string> = {
  leaks: 'leaks',
  stopped: 'stopped',
  'not-found': 'no longer found',
  untold: 'not tried to its end',
};

export const WHAT_IS_LEFT =
  'What is left is the best guess of the methods here on this update, certain or not; other methods may see more.';

/** What a leak is called where there is little room: A, B, ... */
export function letterOf(at: number): string {
  return String.fromCharCode(65 + (at % 26));
}

/** A value of a measure with its unit. */
export function amountLeft(value: number, { id, unit }: LeakMeasure): string {
  switch (id) {
    case 'psnr':
      return `${value.toFixed(1)} ${unit}`;
    case 'feature':
      return String(Number(value.toPrecision(3)));
    default:
      return `${Math.round(100 * value)} %`;
  }
}

/** What is measured of a leak, and from where on it counts. */
export function limitInWords({ measure, limit, chance }: FollowedLeak): string {
  const guess = chance === null ? '' : `; guessing alone gives ${amountLeft(chance, measure)}`;
  return `${measure.title}, a leak ${measure.moreIsWorse ? 'above' : 'below'} ${amountLeft(limit, measure)}${guess}`;
}

export function leftInWords(own: LeftOver | undefined, { measure }: FollowedLeak): string {
  if (!own) {
    return 'not tried';
  }
  const standing = STANDING_OF_LEFT[own.standing];
  return own.left === null ? standing : `${amountLeft(own.left, measure)}: ${standing}`;
}

/** How a sweep ended. */
export function endInWords({ status, seconds, effort }: DefenceReport): string {
  const ends = { complete: 'Complete', stopped: 'Stopped', 'out-of-time': 'Time was up' };
  return `${ends[status]} after ${seconds.toFixed(0)} s (${effort}).`;
}

/** Share of a leak that is left, 0 to 1, by its measure's own ends. */
export function shareLeft(value: number, { from, to }: LeakMeasure): number {
  return Math.min(Math.max((value - from) / (to - from), 0), 1);
}

/** Where a defence stops a leak, in a few words for a table. */
export function kneeInWords(
  { levels, points, scale }: DefenceCurve,
  knee: DefenceCurve['knees'][number] | undefined,
): string {
  if (points.length === 0 || !knee) {
    return 'not tried';
  }
  const name = knee.level === null ? undefined : levels[knee.level]?.name;
  if (name === undefined) {
    return knee.isSettled ? 'not stopped' : 'not stopped so far';
  }
  return `${knee.by === 'not-found' ? 'no longer found' : 'stopped'}: ${name}${knee.isSettled || scale === 'names' ? '' : ' or less'}`;
}

export function leftOf(curve: DefenceCurve, level: number, leak: string): LeftOver | undefined {
  return curve.points.find((point) => point.level === level)?.left.find((own) => own.leak === leak);
}

/** Every measured number as a table for spreadsheets (RFC 4180). */
export function defenceAsCsv({ leaks, curves }: DefenceReport): string {
  const header = [
    'defence',
    'level',
    'value',
    'unit',
    'leak',
    'measure',
    'left',
    'limit',
    'standing',
    'draws',
    'detail',
  ];
  const rows = curves.flatMap(({ title, unit, levels, points }) =>
    points.flatMap(({ level, left }) =>
      left.flatMap((own) => {
        const leak = leaks.find(({ id }) => id === own.leak);
        const at = levels[level];
        return leak && at
          ? [
              [
                title,
                at.name,
                String(at.value),
                unit,
                leak.title,
                leak.measure.unit === '' ? leak.measure.title : `${leak.measure.title} (${leak.measure.unit})`,
                own.left === null ? '' : String(own.left),
                String(leak.limit),
                STANDING_OF_LEFT[own.standing],
                String(own.draws),
                own.detail,
              ],
            ]
          : [];
      }),
    ),
  );
  return [header, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** Quoted where it must be; what a spreadsheet would take for a formula is text. */
function cell(text: string): string {
  const safe = /^[=+@\t\r-]/.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}
