import type { FollowedLeak, LeftOver, LeftPicture } from '../../protocol/defence-report.js';
import { CancelledError, messageOf } from '../../protocol/errors.js';
import type { DefendedRun } from './defended-run.js';
import type { Follower, RuleGuess, Shown } from './follower.js';

/** What is left of one leak under one defence at one level. */

export interface LeftOverTask {
  readonly leak: FollowedLeak;
  /** The time for one level is up. */
  readonly isLate: () => boolean;
  readonly show: (shown: Shown) => LeftPicture | null;
}

/**
 * @param runs one for each draw of what is random
 * @returns the best of the rules, each averaged over the draws: an attacker has to choose one before
 */
export async function leftOver(
  follower: Follower,
  runs: readonly DefendedRun[],
  { leak, isLate, show }: LeftOverTask,
): Promise<LeftOver> {
  const drawn: (readonly RuleGuess[])[] = [];
  const untold = { leak: leak.id, draws: 1, left: null, standing: 'untold', shown: null } as const;
  let isCut = false;
  for (const run of runs) {
    try {
      drawn.push(await follower.guesses(run));
    } catch (error) {
      if (!(error instanceof CancelledError)) {
        // What a defence leaves may be nothing that can be computed with, which says nothing of the leak.
        return { ...untold, detail: `It could not be tried: ${messageOf(error)}` };
      }
      isCut = true;
      break;
    }
    if (isLate()) {
      break;
    }
  }
  // The limit is of all draws: of fewer, one that is lucky or not would decide.
  const isShort = drawn.length < runs.length;
  const [run] = runs;
  const guesses = follower.methods.length > 0 && !isCut ? await run?.methodGuesses() : undefined;
  const isOpen = isShort || isCut || guesses?.isCut === true;
  const best = bestRule(drawn, leak);
  const common = { leak: leak.id, draws: Math.max(drawn.length, 1) };
  if (!best) {
    const why = guesses?.reasons.get(leak.method) ?? 'What they read is not in the update, or is zero.';
    return {
      ...common,
      left: null,
      standing: isOpen ? 'untold' : 'not-found',
      detail: isOpen ? 'The time for one level was up before there was a guess.' : `No method gives a guess: ${why}`,
      shown: null,
    };
  }
  const { value, by, shown } = best;
  const isLeak = leak.measure.moreIsWorse ? value > leak.limit : value < leak.limit;
  return {
    ...common,
    left: value,
    standing: isLeak && !isShort ? 'leaks' : isOpen ? 'untold' : 'stopped',
    detail: `The best guess is ${by}${isOpen ? ', as far as there was time for it' : ''}.`,
    shown: shown ? show(shown) : null,
  };
}

function bestRule(drawn: readonly (readonly RuleGuess[])[], { measure }: FollowedLeak): RuleGuess | undefined {
  const rules = [...new Set(drawn.flatMap((guesses) => guesses.map(({ by }) => by)))];
  let best: RuleGuess | undefined;
  for (const by of rules) {
    const own = drawn.flatMap((guesses) => guesses.filter((guess) => guess.by === by));
    const value = own.reduce((sum, guess) => sum + guess.value, 0) / own.length;
    if (best === undefined || (measure.moreIsWorse ? value > best.value : value < best.value)) {
      const shown = own[0]?.shown;
      best = { by, value, ...(shown ? { shown } : {}) };
    }
  }
  return best;
}
