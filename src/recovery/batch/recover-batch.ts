import { oneHot } from '../one-hot.js';
import { fitLabel } from '../label-family.js';
import { norm } from '../vectors.js';
import { type BatchOptions, type BatchRecovery, describe } from './batch-result.js';
import { BatchSearch, QUICK_EFFORT } from './batch-search.js';
import { type Groups, recoverGroups } from './groups.js';
import type { WhitenedHead } from './whiten.js';
import { isStop } from '../pause.js';

/** Every sample of a batch from the head alone: label and feature one by one. */

/** K classes determine a sample when B + 1 unknowns and the B dimensions of the span leave an equation over. */
export function mostSamples(classes: number): number {
  return Math.floor((classes - 2) / 2);
}

const MOST_EFFORT = 4;

/** A drop of the singular values by this factor may be where indistinguishable samples end and distinct ones begin. */
const GAP = 100;

const MOST_GAPS = 3;

/**
 * Finds the samples of a batch. Where the full rank leaves some unexplained, lower ranks are tried, and the classes that
 * the bias gradient counts: samples of one class with nearly equal features are then one group. When stopped, it gives
 * what was found until then: the groups, or else the samples of the full rank.
 *
 */
export async function recoverBatch(head: WhitenedHead, options: BatchOptions): Promise<BatchRecovery> {
  const result = await searched(head, options);
  const found = result.samples.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
  // Each sample adds at most one direction: nearly equal samples may look like one, and are not all there is.
  return result.complete && found < head.svd.rank ? { ...result, complete: false } : result;
}

async function searched(head: WhitenedHead, options: BatchOptions): Promise<BatchRecovery> {
  const alone = await groupsAlone(head, options);
  if (alone === 'stopped') {
    return { ...NOTHING_FOUND, ended: 'stopped' };
  }
  if (alone?.found.length === head.svd.rank && (alone.isNoise || alone.misfit <= WHOLE_MISFIT)) {
    return groupResult(head, alone);
  }
  const deadline = performance.now() + options.timeLimitMs;
  const searches = ranksToTry(head, options.size).map((rank) => new BatchSearch(head, rank, options, deadline));
  const [full] = searches;
  // The full rank is left early for groups: where samples are indistinguishable, searching longer does not part them.
  for (const most of [QUICK_EFFORT, MOST_EFFORT]) {
    for (const search of searches) {
      await search.run(most);
      if (search.isTrusted() || (await search.closeWithGroups())) {
        const result = search.result();
        return mayBeBlend(result, head, options.size) ? foundUntilNow(head, alone, undefined) : result;
      }
      if (search.ended === 'stopped') {
        return { ...foundUntilNow(head, alone, full), ended: 'stopped' };
      }
      if (search.ended === 'time') {
        return full!.isBelievable() ? full!.result() : { ...NOTHING_FOUND, ended: 'time' };
      }
    }
    if (alone) {
      return groupResult(head, alone);
    }
  }
  return foundUntilNow(head, alone, full);
}

/**
 * One sample alone fixes the weight of a sample by itself, so that the mean of several nearly equal ones passes for it; a
 * second direction says that they are several, and their features may be further apart than that one's error.
 */
function mayBeBlend({ samples }: BatchRecovery, { svd }: WhitenedHead, size: number | undefined): boolean {
  return samples.length === 1 && samples[0]!.multiplicity === 1 && svd.rank > 1 && size !== 1;
}

/** Groups come first, as they do where a search ends by itself without all samples. */
function foundUntilNow(head: WhitenedHead, alone: Groups | undefined, full: BatchSearch | undefined): BatchRecovery {
  if (alone) {
    return groupResult(head, alone);
  }
  return full?.isBelievable() ? full.result() : NOTHING_FOUND;
}

const PAUSE_EVERY_MS = 30;

async function groupsAlone(head: WhitenedHead, options: BatchOptions): Promise<Groups | 'stopped' | undefined> {
  let last = performance.now();
  try {
    return await recoverGroups(head, options.counts, async () => {
      if (performance.now() - last > PAUSE_EVERY_MS) {
        await options.pause({ found: 0, rank: head.svd.rank });
        last = performance.now();
      }
    });
  } catch (error) {
    if (isStop(error)) {
      return 'stopped';
    }
    throw error;
  }
}

/** Groups explain the gradient but for what tells their samples apart. */
function groupResult(head: WhitenedHead, groups: Groups): BatchRecovery {
  const parts = groups.found.map(({ row, count, feature, errorVector }) => ({
    feature,
    errorVector,
    size: groups.coefficient * count * norm(errorVector) * norm(feature),
    about: {
      label: fitLabel(oneHot([row], head.classes), { m: 1, smoothed: false }),
      multiplicity: count,
      coefficient: groups.coefficient * count,
      residual: groups.misfit,
      residualFloor: groups.misfit,
      featureError: groups.featureError,
      confidence: 0.99,
    },
  }));
  return {
    ...describe(head, parts),
    rank: groups.found.length,
    coefficient: groups.coefficient,
    complete: true,
    ended: 'complete',
  };
}

/** Groups, one per direction above the noise, that leave less than this of the gradient, squared, are all there is. */
const WHOLE_MISFIT = 1e-8;

const NOTHING_FOUND: BatchRecovery = {
  samples: [],
  rank: 0,
  coefficient: 0,
  unexplained: 1,
  complete: false,
  ended: 'exhausted',
};

function ranksToTry(head: WhitenedHead, size: number | undefined): number[] {
  const { values, rank } = head.svd;
  const most = mostSamples(head.classes);
  const full = Math.min(rank, size ?? rank);
  const gaps: number[] = [];
  for (let at = Math.min(full, most + 1) - 1; at >= 1 && gaps.length < MOST_GAPS; at--) {
    if (values[at - 1]! > GAP * values[at]!) {
      gaps.push(at);
    }
  }
  return [...(full <= most ? [full] : []), ...gaps];
}
