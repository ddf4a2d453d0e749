import type { FollowedLeak, LeakMeasure } from '../../protocol/defence-report.js';
import type { TextsDetail } from '../../protocol/detail.js';
import type { DefendedRun } from './defended-run.js';

/** One leak of the undefended update, and how what is left of it is measured. */
export interface Follower {
  readonly leak: Omit<FollowedLeak, 'limit' | 'shown'> & {
    readonly limit: LimitOf;
    /** What a guess without the update comes to by chance: no target can ask for less. Absent where that is nothing. */
    readonly byChance?: LimitOf;
  };
  /** How it looks without a defence; null where it cannot be looked at. */
  readonly shown: Shown | null;
  /** Ids of the methods that have to run for it; empty where its guesses are computed without them, for every draw. */
  readonly methods: readonly string[];
  /**
   * Every guess that an attacker could take, each by a rule that looks at nothing but the update: the best rule counts.
   * Empty where no rule gives one.
   */
  guesses(run: DefendedRun): Promise<readonly RuleGuess[]>;
}

/** @param draws of what is random, over which a rule is averaged */
export type LimitOf = (draws: number) => number;

export interface RuleGuess {
  /** "The guess is ..." */
  readonly by: string;
  /** In the leak's measure. */
  readonly value: number;
  readonly shown?: Shown;
}

/** What a person can look at. */
export type Shown = ShownPicture | TextsDetail;

export interface ShownPicture {
  readonly type: 'numbers';
  /** Channels, height, width. */
  readonly shape: readonly number[];
  readonly values: Float64Array;
  readonly normalisation: { readonly mean: number[]; readonly std: number[] } | undefined;
}

export const MEASURES = {
  label: { id: 'label', title: 'Told, share of guesses', unit: '', moreIsWorse: true, from: 0, to: 1 },
  feature: { id: 'feature', title: 'Relative error', unit: '', moreIsWorse: false, from: 1, to: 0 },
  tokens: { id: 'tokens', title: 'Tokens told, share', unit: '', moreIsWorse: true, from: 0, to: 1 },
  texts: { id: 'texts', title: 'Tokens right in their place, share', unit: '', moreIsWorse: true, from: 0, to: 1 },
} as const satisfies Record<string, LeakMeasure>;

/** The range of a picture's own PSNR: from one colour up. */
export function psnrFrom(flat: number): LeakMeasure {
  return {
    id: 'psnr',
    title: 'PSNR, brightness and contrast fitted',
    unit: 'dB',
    moreIsWorse: true,
    from: Math.floor(flat),
    to: 60,
  };
}

/** Two standard deviations above what guessing gives, over as many draws; what is told every time is always a leak. */
export function aboveChance(chance: number): LimitOf {
  return (draws) => Math.min(0.95, chance + 2 * Math.sqrt((chance * (1 - chance)) / Math.max(draws, 1)));
}
