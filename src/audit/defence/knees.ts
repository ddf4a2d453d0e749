import type { DefenceCurve, DefencePoint, FollowedLeak, Knee, LeftOver } from '../../protocol/defence-report.js';

/** Where a defence stops a leak, of the levels that were tried; and which level tells most next. */

interface Ladder extends Pick<DefenceCurve, 'scale'> {
  readonly levels: readonly { readonly name: string }[];
  readonly points: readonly DefencePoint[];
}

const OPEN = ' Not all weaker levels were tried, so one of them may do.';

/** @param points in the order of the levels */
export function kneeOf(leak: Pick<FollowedLeak, 'id'>, { levels, scale, points }: Ladder): Knee {
  const tried = points.flatMap(({ level, left }) => {
    const own = left.find((one) => one.leak === leak.id);
    return own ? [{ level, own }] : [];
  });
  // Choices stand beside each other; of levels that rise, all above have to stop it too.
  const last = scale === 'names' ? -1 : tried.findLastIndex(({ own }) => !isStopped(own));
  const first = scale === 'names' ? tried.find(({ own }) => isStopped(own)) : tried[last + 1];
  const below = last >= 0 ? (tried[last]?.level ?? null) : null;
  if (!first) {
    const isUntold = tried.some(({ own }) => own.standing === 'untold');
    return {
      leak: leak.id,
      level: null,
      below,
      by: null,
      isSettled: !isUntold && (scale === 'names' ? tried.length === levels.length : below === levels.length - 1),
      sentence:
        tried.length === 0
          ? 'No level was tried.'
          : isUntold
            ? 'Not stopped by any level that was tried to its end.'
            : `Not stopped by ${tried.length === 1 ? (levels[tried[0]?.level ?? 0]?.name ?? '') : 'any level that was tried'}.`,
    };
  }
  const isSettled = scale === 'names' ? tried.length === levels.length : first.level === (below ?? -1) + 1;
  const by = first.own.standing === 'not-found' ? 'not-found' : 'stopped';
  const name = levels[first.level]?.name ?? '';
  const from = scale === 'names' ? `with "${name}"` : `from "${name}" on`;
  return {
    leak: leak.id,
    level: first.level,
    below,
    by,
    isSettled,
    sentence: (by === 'not-found'
      ? `This audit no longer finds it ${from}; that does not say that it is hidden.`
      : `Stopped ${from}, for the methods that were tried and this update.`
    ).concat(isSettled ? '' : OPEN),
  };
}

function isStopped({ standing }: LeftOver): boolean {
  return standing === 'stopped' || standing === 'not-found';
}

/**
 * The level to try next, and which leak asks for it: between the levels that a knee lies between, the middle. Undefined once
 * every knee is settled. Choices, and levels that do not follow from each other, are all tried, as is everything by a
 * thorough sweep.
 */
export function nextLevel(
  leaks: readonly Pick<FollowedLeak, 'id'>[],
  curve: Ladder & Pick<DefenceCurve, 'isMonotone'>,
  isThorough: boolean,
): { readonly level: number; readonly leak: string } | undefined {
  const isTried = (level: number, leak: string): boolean =>
    curve.points.some((point) => point.level === level && point.left.some((own) => own.leak === leak));
  if (curve.isMonotone) {
    for (const { id } of leaks) {
      const knee = kneeOf({ id }, curve);
      const [low, high] = [knee.below ?? -1, knee.level ?? curve.levels.length];
      const middle = (low + high) >> 1;
      if (high - low > 1 && !isTried(middle, id)) {
        return { level: middle, leak: id };
      }
    }
    if (!isThorough) {
      return undefined;
    }
  }
  for (const { id } of leaks) {
    const level = curve.levels.findIndex((_, at) => !isTried(at, id));
    if (level >= 0) {
      return { level, leak: id };
    }
  }
  return undefined;
}
