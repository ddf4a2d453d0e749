import type {
  DefenceCurve,
  DefenceReport,
  DefenceTarget,
  FollowedLeak,
  LeftOver,
  TargetMet,
  TargetOutcome,
} from '../../protocol/defence-report.js';
import type { Undefended } from './undefended.js';

/** The smallest level of each defence that meets what a user asked for; the leaks' limits are what was asked. */

type Measure = FollowedLeak['measure']['id'];

export function targetOf(
  asked: DefenceTarget['asked'],
  leaks: readonly FollowedLeak[],
  curves: readonly DefenceCurve[],
  left: DefenceReport['notFollowed'],
  undefended: Undefended,
  isMatchingLeftOut: boolean,
): DefenceTarget {
  const measures = Object.keys(asked) as Measure[];
  const unjudged = measures.filter(
    (own) =>
      (!leaks.some(({ measure }) => measure.id === own) && canLeak(own, undefended)) ||
      left.some(({ measure }) => measure === own),
  );
  const spoken = leaks.filter(({ measure }) => asked[measure.id] !== undefined);
  const isUntried = isMatchingLeftOut && spoken.some(({ measure }) => measure.id === 'psnr');
  const met = curves.map((curve): TargetMet => {
    const own = metBy(curve, spoken);
    const isOpen = unjudged.length > 0 || isUntried;
    const outcome = own.outcome === 'met' && isOpen ? 'unknown' : own.outcome;
    return {
      ...own,
      curve: curve.id,
      outcome,
    };
  });
  return {
    asked,
    outcome: bestOf(met.map(({ outcome }) => outcome)),
    remarks: [
      ...unjudged.map(unjudgedRemark),
      ...(isUntried ? [UNTRIED] : []),
      ...measures.flatMap((own) => limitRemark(own, asked[own], leaks)),
    ],
    met,
  };
}

function bestOf(outcomes: readonly TargetOutcome[]): TargetOutcome {
  return (['met', 'unknown', 'not-met'] as const).find((own) => outcomes.includes(own)) ?? 'unknown';
}

const UNTRIED =
  'Gradient matching, which may see more of an input, was not tried: whether psnr is met is not known. A thorough sweep tries it.';

/** Whether an update of such a network could leak it at all: pictures have no tokens, and texts no pixels. */
function canLeak(measure: Measure, { takes }: Undefended): boolean {
  switch (measure) {
    case 'tokens':
    case 'texts':
      return takes !== 'numbers';
    case 'psnr':
      return takes !== 'tokens';
    default:
      return true;
  }
}

function unjudgedRemark(measure: Measure): string {
  return `Not all that ${measure} measures was found for certain without a defence, so nobody knows what of it is left: that part of the target is not judged.`;
}

/** Chance alone reaches more than some limits that are asked for. */
function limitRemark(measure: Measure, asked: number | undefined, leaks: readonly FollowedLeak[]): string[] {
  const raised = leaks.find((own) => own.measure.id === measure && own.measure.moreIsWorse && own.limit > (asked ?? 0));
  return raised && asked !== undefined
    ? [
        `${measure}=${asked} is judged by ${Number(raised.limit.toPrecision(2))}: up to there a guess without the update comes as well, by chance.`,
      ]
    : [];
}

type Outcome = Pick<TargetMet, 'outcome' | 'level' | 'sentence'>;

function metBy(curve: DefenceCurve, spoken: readonly FollowedLeak[]): Outcome {
  if (spoken.length === 0) {
    return { outcome: 'unknown', level: null, sentence: 'The target speaks of nothing that was followed here.' };
  }
  if (curve.levels.length === 0) {
    return { outcome: 'not-met', level: null, sentence: curve.why ?? 'It has no levels.' };
  }
  if (curve.points.length === 0) {
    return { outcome: 'unknown', level: null, sentence: 'No level was tried.' };
  }
  const ids = spoken.map(({ id }) => id);
  return curve.scale === 'names' ? choiceOf(curve, ids) : levelOf(curve, ids);
}

/** The first choice that stops all of them by itself. */
function choiceOf({ points, levels }: DefenceCurve, ids: readonly string[]): Outcome {
  const standings = points.map(({ level, left }) => ({
    level,
    own: ids.map((id) => left.find(({ leak }) => leak === id)?.standing ?? 'untold'),
  }));
  const first = standings.find(({ own }) => own.every((standing) => standing === 'stopped'));
  if (first) {
    const name = levels[first.level]?.name ?? '';
    return {
      outcome: 'met',
      level: first.level,
      sentence: `Met with "${name}", for the methods that were tried and this update.`,
    };
  }
  const open = standings.find(({ own }) => !own.includes('leaks'));
  const isAllTried = standings.length === levels.length;
  return open || !isAllTried ? openAt(levels[open?.level ?? -1]?.name) : notMet();
}

function levelOf(curve: DefenceCurve, ids: readonly string[]): Outcome {
  const { levels, points } = curve;
  const lows = ids.map((id) => stoppedFrom(points, id));
  if (lows.every((own) => typeof own === 'number')) {
    const level = Math.max(...lows);
    const isSettled = level === 0 || points.some((point) => point.level === level - 1);
    return {
      outcome: 'met',
      level,
      sentence: [
        `Met from "${levels[level]?.name ?? ''}" on, for the methods that were tried and this update.`,
        ...(isSettled ? [] : ['Levels below were not all tried, so a smaller one may do.']),
      ].join(' '),
    };
  }
  const strongest = points.find(({ level }) => level === levels.length - 1);
  const isRefuted = strongest?.left.some(({ leak, standing }) => ids.includes(leak) && standing === 'leaks');
  return isRefuted === true ? notMet() : openAt(levels[points.at(-1)?.level ?? -1]?.name);
}

/**
 * The lowest level from which on the best guess is no longer a leak, as one guess at least showed; or what stands against it
 * at the highest level that was tried for it.
 */
function stoppedFrom(points: DefenceCurve['points'], id: string): number | LeftOver['standing'] {
  const tried = points.flatMap(({ level, left }) => {
    const own = left.find(({ leak }) => leak === id);
    return own ? [{ level, standing: own.standing }] : [];
  });
  const last = tried.findLastIndex(({ standing }) => standing === 'leaks' || standing === 'untold');
  const first = tried.slice(last + 1).find(({ standing }) => standing === 'stopped');
  return first?.level ?? tried.at(-1)?.standing ?? 'untold';
}

function notMet(): Outcome {
  return { outcome: 'not-met', level: null, sentence: 'No level meets it.' };
}

function openAt(name: string | undefined): Outcome {
  return {
    outcome: 'unknown',
    level: null,
    sentence:
      name === undefined
        ? 'No level that was tried meets it, and not all were tried.'
        : `Not known: at "${name}" this audit gets no guess of some of it, or had no time for one, which does not say that it is hidden.`,
  };
}
