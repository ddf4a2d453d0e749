import type { DefenceCurve, DefenceTarget, FollowedLeak, TargetMet } from '../../protocol/defence-report.js';
import { settingsFor } from './settings.js';
import type { Undefended } from './undefended.js';

/** The smallest level of each defence that meets what a user asked for; the leaks' limits are what was asked. */
export function targetOf(
  asked: DefenceTarget['asked'],
  leaks: readonly FollowedLeak[],
  curves: readonly DefenceCurve[],
  undefended: Undefended,
): DefenceTarget {
  const spoken = leaks.flatMap(({ measure }, at) => (asked[measure.id] === undefined ? [] : [at]));
  return { asked, met: curves.map((curve) => metBy(curve, spoken, leaks, undefended)) };
}

function metBy(
  curve: DefenceCurve,
  spoken: readonly number[],
  leaks: readonly FollowedLeak[],
  undefended: Undefended,
): TargetMet {
  const none = { curve: curve.id, level: null, settings: [] };
  if (spoken.length === 0) {
    return { ...none, sentence: 'The target speaks of nothing that was followed here.' };
  }
  const knees = spoken.flatMap((at) => curve.knees[at] ?? []);
  const level = curve.scale === 'names' ? commonChoice(curve, spoken, leaks) : highest(knees.map((own) => own.level));
  const chosen = level === null ? undefined : curve.levels[level];
  if (level === null || !chosen) {
    const tried = curve.points.length === 0 ? 'No level was tried.' : 'No level that was tried meets it.';
    return { ...none, sentence: tried };
  }
  const isLost = knees.some((own) => own.by === 'not-found');
  const isSettled = knees.every((own) => own.isSettled);
  return {
    curve: curve.id,
    level,
    sentence: [
      `Met from "${chosen.name}" on, for the methods here and this update.`,
      ...(isLost ? ['This audit no longer finds some of it there, which does not say that it is hidden.'] : []),
      ...(isSettled ? [] : ['Levels below were not all tried, so a smaller one may do.']),
    ].join(' '),
    settings: settingsFor(curve.id, chosen, undefended),
  };
}

/** Null where one of them is not stopped. */
function highest(levels: readonly (number | null)[]): number | null {
  return levels.reduce((most, own) => (most === null || own === null ? null : Math.max(most, own)), levels[0] ?? null);
}

/** The first choice that stops all of them by itself. */
function commonChoice(
  { points }: DefenceCurve,
  spoken: readonly number[],
  leaks: readonly FollowedLeak[],
): number | null {
  const ids = new Set(spoken.flatMap((at) => leaks[at]?.id ?? []));
  const point = points.find(({ left }) =>
    left.every(({ leak, standing }) => !ids.has(leak) || standing === 'stopped' || standing === 'not-found'),
  );
  return point?.level ?? null;
}
