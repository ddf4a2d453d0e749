import type { ProductKernel } from '../../graph/product-kernel.js';
import type { Pause } from '../pause.js';
import { most } from '../vectors.js';
import { type Distance, deviations, isClearlyInside, isInside, isOutside } from './input-space.js';
import { Membership } from './membership.js';
import { type PairOutputs, leastClear } from './pair-outputs.js';
import type { Pair } from './token-positions.js';

/**
 * Sequences of models that see both directions, from pairs of token and position: the output of the first attention is a mixture of
 * the values of a whole sequence, and lies in the batch's space only if the sequence is the right one.
 */

export interface FoundSequence {
  /** Indices of pairs, by position. */
  readonly members: readonly number[];
  /** The largest relative distance of its outputs to the space. */
  readonly distance: number;
  /** Outputs of which the gradient holds so little that noise hides whether they fit. */
  readonly hidden: number;
  /** Sequences that differ in one token and fit as well. */
  readonly rivals: readonly (readonly number[])[];
}

export interface SequenceSearch {
  readonly sequences: readonly FoundSequence[];
  /** The smallest distance of a sequence that differs in one token from a found one and does not fit. */
  readonly nextNearest: number;
  /** Whether there was more to do than the outputs' bound on work allows. */
  readonly isEnded: boolean;
}

const STEPS = 12;
/** Other members whose equations take part in the end. */
const HELPERS = 3;
/** A member of this much is one. */
const SURE = 0.6;
const MEMBER = 0.5;
/** Positions whose tokens start the search, one after the other as long as nothing is found. */
const START_POSITIONS = 6;
const MOST_REFINED = 4;
const REFINEMENTS = 8;
/** Less is no reason to prefer another sequence, as its noise differs. */
const CLEARLY_NEARER = 0.5;
/** Supposed sequences farther than this are not refined. */
const HOPELESS = 0.3;

/**
 * @param pairs by position
 * @param isSettled whether a pair is known to be of the batch
 * @param least tokens that the batch has at least
 */
export async function searchSequences(
  pairs: readonly Pair[],
  isSettled: (pair: number) => boolean,
  least: number,
  outputs: PairOutputs,
  product: ProductKernel,
  progress: (found: number, supposed: number) => void,
  pause: Pause,
): Promise<SequenceSearch> {
  const search = new Search(pairs, isSettled, least, outputs, product, progress, pause);
  let isNarrow = true;
  while (!search.isExplained()) {
    if (await search.round(isNarrow)) {
      isNarrow = true;
    } else if (isNarrow && search.found.length > 0) {
      isNarrow = false;
    } else {
      break;
    }
  }
  return { sequences: search.needed(), nextNearest: search.nextNearest, isEnded: search.isEnded };
}

interface Attempt {
  readonly members: number[];
  readonly misfit: number;
}

class Search {
  readonly found: FoundSequence[] = [];
  nextNearest = 1;
  private readonly byPosition = new Map<number, number[]>();
  private readonly covered = new Set<number>();
  isEnded = false;
  private supposed = 0;

  constructor(
    private readonly pairs: readonly Pair[],
    private readonly isSettled: (pair: number) => boolean,
    private readonly least: number,
    private readonly outputs: PairOutputs,
    private readonly product: ProductKernel,
    private readonly progress: (found: number, supposed: number) => void,
    private readonly pause: Pause,
  ) {
    pairs.forEach(({ position }, at) => {
      this.byPosition.set(position, [...(this.byPosition.get(position) ?? []), at]);
    });
  }

  /** Whether the sequences have every pair that is known to be of the batch, and as many tokens as it has directions. */
  isExplained(): boolean {
    const settled = [...this.pairs.keys()].filter((pair) => this.isSettled(pair));
    const tokens = this.found.reduce((sum, { members }) => sum + members.length, 0);
    return settled.length > 0 && settled.every((pair) => this.covered.has(pair)) && tokens >= this.least;
  }

  /**
   * @param isNarrow without the pairs of what was found, as far as others are left at their positions
   * @returns whether anything was found
   */
  async round(isNarrow: boolean): Promise<boolean> {
    const available = this.available(isNarrow);
    const before = this.found.length;
    const attempts: Attempt[] = [];
    for (const starts of this.starts(available)) {
      for (const start of starts.filter((own) => !this.covered.has(own))) {
        if (this.mustEnd()) {
          return false;
        }
        this.progress(this.found.length, ++this.supposed);
        const members = await this.suppose(start, available);
        if (members && !(await this.confirm(members))) {
          attempts.push({ members, misfit: this.outputs.misfit(members) });
        }
      }
      if (this.found.length > before) {
        return true;
      }
    }
    attempts.sort((one, other) => one.misfit - other.misfit);
    for (const attempt of attempts.slice(0, MOST_REFINED).filter(({ misfit }) => misfit < HOPELESS)) {
      if (await this.confirm(await this.refine(attempt, available))) {
        return true;
      }
    }
    return false;
  }

  /** Sequences less those of which the noise hides a part, and that have no known pair of their own. */
  needed(): FoundSequence[] {
    const needed = this.found.slice();
    for (const weak of this.found.filter(({ hidden }) => hidden > 0).sort((one, other) => other.hidden - one.hidden)) {
      const others = new Set(needed.filter((own) => own !== weak).flatMap(({ members }) => members));
      const known = weak.members.filter((pair) => this.isSettled(pair));
      if (known.length > 0 && known.every((pair) => others.has(pair))) {
        needed.splice(needed.indexOf(weak), 1);
      }
    }
    return needed;
  }

  private mustEnd(): boolean {
    this.isEnded ||= this.outputs.work.isSpent;
    return this.isEnded;
  }

  private available(isNarrow: boolean): Map<number, readonly number[]> {
    return new Map(
      [...this.byPosition].map(([position, all]) => {
        const left = all.filter((pair) => !(this.covered.has(pair) && this.isSettled(pair)));
        return [position, isNarrow && left.length > 0 ? left : all];
      }),
    );
  }

  /** Position by position: pairs of a few that most sequences have, without the first, where all are alike. */
  private starts(available: ReadonlyMap<number, readonly number[]>): number[][] {
    const uncovered = [...available].map(([position, pairs]) => {
      const left = pairs.filter((pair) => !this.covered.has(pair));
      return { position, left, settled: left.filter((pair) => this.isSettled(pair)) };
    });
    const usable = uncovered.filter(
      ({ position, left }) => left.length > 0 && (position > 0 || uncovered.length === 1),
    );
    const value = ({ settled, left }: (typeof usable)[number]): number =>
      settled.length - 0.1 * (left.length - settled.length);
    return usable
      .sort((one, other) => value(other) - value(one) || one.position - other.position)
      .slice(0, START_POSITIONS)
      .map(({ left, settled }) => (settled.length > 0 ? settled : left));
  }

  /** The likeliest sequence of a pair; confirmed already where it is undefined. */
  private async suppose(
    start: number,
    available: ReadonlyMap<number, readonly number[]>,
  ): Promise<number[] | undefined> {
    const place = this.pairs[start]!.position;
    const all = [...available].flatMap(([position, pairs]) => (position === place ? [start] : pairs));
    const places = all.map((pair) => this.pairs[pair]!.position);
    const shares = Float64Array.from(places, (position) =>
      position === place ? 1 : 1 / available.get(position)!.length,
    );
    const membership = new Membership(this.outputs, all, places, place, shares, this.product, this.pause);
    membership.add(start);
    await membership.improve(STEPS);
    const members = this.likeliest(all, places, membership.shares, place);
    if (members && (await this.confirm(members))) {
      return undefined;
    }
    const helpers = this.helpers(all, membership.shares, place);
    if (helpers.length === 0 || this.outputs.work.isSpent) {
      return members;
    }
    for (const helper of helpers) {
      membership.add(helper);
    }
    await membership.improve(STEPS);
    return this.likeliest(all, places, membership.shares, place);
  }

  private likeliest(
    all: readonly number[],
    places: readonly number[],
    shares: Float64Array,
    place: number,
  ): number[] | undefined {
    const members: number[] = [];
    for (let position = 0; position <= most(places); position++) {
      const own = [...places.keys()].filter((at) => places[at] === position);
      const sum = own.reduce((total, at) => total + shares[at]!, 0);
      if (own.length === 0 || (position > place && sum < MEMBER)) {
        break;
      }
      members.push(all[own.reduce((best, at) => (shares[at]! > shares[best]! ? at : best))]!);
    }
    return members.length > place ? members : undefined;
  }

  private helpers(all: readonly number[], shares: Float64Array, place: number): number[] {
    return all
      .map((pair, at) => ({ pair, share: shares[at]! }))
      .filter(({ pair, share }) => {
        const { position } = this.pairs[pair]!;
        return share > SURE && position > 0 && position !== place && this.isSettled(pair);
      })
      .sort((one, other) => other.share - one.share)
      .slice(0, HELPERS)
      .map(({ pair }) => pair);
  }

  /** Exchanges single tokens, or the end, as long as the outputs come closer. */
  private async refine(
    { members, misfit }: Attempt,
    available: ReadonlyMap<number, readonly number[]>,
    misfitOf = (own: readonly number[]): number => this.outputs.misfit(own),
  ): Promise<number[]> {
    let best = { members, misfit };
    for (let round = 0; round < REFINEMENTS; round++) {
      let next = best;
      for (const own of neighbours(best.members, available)) {
        await this.pause();
        if (this.mustEnd()) {
          return next.members;
        }
        const distance = misfitOf(own);
        next = distance < next.misfit ? { members: own, misfit: distance } : next;
      }
      if (next === best) {
        break;
      }
      best = next;
    }
    return best.members;
  }

  /** The sequence itself, or one that it becomes by exchanges and that fits better. */
  private async nearest(
    members: readonly number[],
    distances: readonly Distance[],
  ): Promise<{ readonly members: readonly number[]; readonly distances: readonly Distance[] }> {
    const attempt = { members: [...members], misfit: this.outputs.typicalMisfit(members) };
    const refined = await this.refine(attempt, this.byPosition, (own) => this.outputs.typicalMisfit(own));
    const isBetter = this.outputs.typicalMisfit(refined) < CLEARLY_NEARER * attempt.misfit;
    const others = isBetter ? await this.outputs.distances(refined, this.product) : distances;
    return isBetter && fit(others) ? { members: refined, distances: others } : { members, distances };
  }

  private async confirm(supposed: readonly number[]): Promise<boolean> {
    const first = await this.outputs.distances(supposed, this.product);
    if (!fit(first)) {
      return false;
    }
    const { members, distances } = first.every(isInside)
      ? { members: supposed, distances: first }
      : await this.nearest(supposed, first);
    if (this.found.some((known) => known.members.join() === members.join())) {
      return false;
    }
    const distance = most(distances.flatMap((own) => (isInside(own) ? [own.value] : [])));
    const hidden = distances.filter((own) => !isInside(own)).length;
    const limit = LESS_LIKELY * Math.max(1, most(distances.map(deviations)));
    const rivals: number[][] = [];
    for (const own of neighbours(members, this.byPosition)) {
      await this.pause();
      if (this.mustEnd()) {
        break;
      }
      // Roughly at first: probes see any difference that is far above the noise.
      const rough = this.outputs.misfit(own);
      const exact = rough > RIVAL * distance ? undefined : await this.outputs.distances(own, this.product);
      if (exact && fit(exact) && most(exact.map(deviations)) < limit) {
        rivals.push(own);
      } else {
        this.nextNearest = Math.min(this.nextNearest, exact ? most(exact.map(({ value }) => value)) : rough);
      }
    }
    this.found.push({ members, distance, hidden, rivals });
    for (const member of members) {
      this.covered.add(member);
    }
    return true;
  }
}

/** Whether the outputs are those of a sequence of the batch: enough of them clearly, and none clearly not. */
function fit(distances: readonly Distance[]): boolean {
  return (
    distances.every(isInside) ||
    (distances.filter(isClearlyInside).length >= leastClear(distances.length) && !distances.some(isOutside))
  );
}

/** Sequences so many times as far from the space as a found one, in units of noise that both know alike, are no rivals. */
const LESS_LIKELY = 3;
/** Distances above this many times that of a found sequence are no rivals. */
const RIVAL = 30;

/** Sequences that differ in one token, or end one earlier or later. */
function neighbours(members: readonly number[], available: ReadonlyMap<number, readonly number[]>): number[][] {
  const exchanged = members.flatMap((member, position) =>
    (available.get(position) ?? [])
      .filter((other) => other !== member)
      .map((other) => members.map((own, at) => (at === position ? other : own))),
  );
  const longer = (available.get(members.length) ?? []).map((other) => [...members, other]);
  return [...exchanged, ...longer, ...(members.length > 2 ? [members.slice(0, -1)] : [])];
}
