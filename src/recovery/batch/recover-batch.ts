import { type FittedLabel, fitLabel } from '../label-family.js';
import { dot, norm } from '../linear-algebra.js';
import { generator } from '../paper-method.js';
import { type Evidence, Judge } from './evidence.js';
import { type Groups, recoverGroups } from './groups.js';
import { Refiner } from './refine.js';
import {
  type Candidate,
  type Evaluated,
  type FoundShare,
  type SampleProblem,
  alongSpan,
  baseProblem,
  deflate,
  toBase,
  truncate,
} from './sample-problem.js';
import {
  type LabelFamily,
  LinearisedStarts,
  classesByLeverage,
  labelled,
  predictedStarts,
  randomStarts,
  rowStart,
} from './starts.js';
import type { WhitenedHead } from './whiten.js';

/** Every sample of a batch from the head alone: label and feature one by one (science/batch.md and beyond). */

export interface BatchSample {
  readonly label: FittedLabel;
  /** d, the head's input. */
  readonly feature: Float64Array;
  /** p - y, K. */
  readonly errorVector: Float64Array;
  /** Samples of one class that this gradient cannot tell apart are one entry: the class, how many, their mean feature. */
  readonly multiplicity: number;
  /** c in G = sum c (p - y) x^T. */
  readonly coefficient: number;
  /** Size of c (p - y) x^T against the sum of all samples' and what is unexplained, 0 to 1. */
  readonly share: number;
  /** Squared relative misfit of the sample's equations, and what noise would leave. */
  readonly residual: number;
  readonly residualFloor: number;
  /** Expected relative error of the feature. */
  readonly featureError: number;
  readonly confidence: number;
}

export interface BatchRecovery {
  readonly samples: readonly BatchSample[];
  /** Directions of the gradient above its noise, all or those that were worked with. */
  readonly rank: number;
  /** The weight of one sample in the gradient: 1 / B for a mean over the batch. 0 when nothing was found. */
  readonly coefficient: number;
  /** ||G - what the samples explain|| / ||G||. */
  readonly unexplained: number;
  /** True when nothing above the noise is left. */
  readonly complete: boolean;
  /** Why the search ended. */
  readonly ended: 'complete' | 'exhausted' | 'time' | 'stopped';
}

export interface BatchOptions {
  /** Number of samples, when the user knows it. */
  readonly size?: number | undefined;
  /** How often each class occurs, K, when the bias gradient tells; for groups. */
  readonly counts?: readonly number[] | undefined;
  readonly timeLimitMs: number;
  /** Called several times a second; may throw to stop the search, which then keeps what it has. */
  pause(progress: { found: number; rank: number }): Promise<void>;
}

/** K classes determine a sample when B + 1 unknowns and the B dimensions of the span leave an equation over. */
export function mostSamples(classes: number): number {
  return Math.floor((classes - 2) / 2);
}

/** A drop of the singular values by this factor may be where indistinguishable samples end and distinct ones begin. */
const GAP = 100;
const MOST_GAPS = 3;

/**
 * Finds the samples of a batch. Where the full rank leaves some unexplained, lower ranks are tried, and the classes that
 * the bias gradient counts: samples of one class with nearly equal features are then one group.
 *
 * @param isStop tells the error that `pause` throws to stop
 */
export async function recoverBatch(
  head: WhitenedHead,
  options: BatchOptions,
  isStop: (error: unknown) => boolean,
): Promise<BatchRecovery> {
  const alone = recoverGroups(head, options.counts);
  if (alone?.found.length === head.svd.rank && (alone.isNoise || alone.misfit <= WHOLE_MISFIT)) {
    return groupResult(head, alone);
  }
  const deadline = performance.now() + options.timeLimitMs;
  const searches = ranksToTry(head, options.size).map((rank) => new BatchSearch(head, rank, options, deadline));
  const [full] = searches;
  // The full rank is left early for groups: where samples are indistinguishable, searching longer does not part them.
  for (const most of [QUICK_EFFORT, MOST_EFFORT]) {
    for (const search of searches) {
      await search.run(most, isStop);
      if (search.isTrusted() || (await search.closeWithGroups(isStop))) {
        return search.result();
      }
      if (search.ended === 'stopped' || search.ended === 'time') {
        return full!.isBelievable() ? full!.result() : { ...NOTHING_FOUND, ended: search.ended };
      }
    }
    if (alone) {
      return groupResult(head, alone);
    }
  }
  return full?.isBelievable() ? full.result() : NOTHING_FOUND;
}

/** Groups explain the gradient but for what tells their samples apart. */
function groupResult(head: WhitenedHead, groups: Groups): BatchRecovery {
  const parts = groups.found.map(({ row, count, feature, errorVector }) => ({
    feature,
    errorVector,
    size: groups.coefficient * count * norm(errorVector) * norm(feature),
    about: {
      label: fitLabel(oneHot(row, head.classes), { m: 1, smoothed: false }),
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

function oneHot(row: number, classes: number): Float64Array {
  const y = new Float64Array(classes);
  y[row] = 1;
  return y;
}

interface Part {
  /** In the model's units, with the bias column's 1 where there is one. */
  readonly feature: Float64Array;
  readonly errorVector: Float64Array;
  /** Norm of the part of the gradient. */
  readonly size: number;
  readonly about: Omit<BatchSample, 'feature' | 'errorVector' | 'share'>;
}

/** Samples in the order of their size, and what they leave of the gradient. */
function describe(head: WhitenedHead, parts: readonly Part[]): Pick<BatchRecovery, 'samples' | 'unexplained'> {
  const { classes, columns, gradient, hasBiasColumn } = head;
  const rest = gradient.data.slice();
  for (const { feature, errorVector, about } of parts) {
    for (let row = 0; row < classes; row++) {
      const weight = about.coefficient * errorVector[row]!;
      for (let col = 0; col < columns; col++) {
        rest[row * columns + col]! -= weight * feature[col]!;
      }
    }
  }
  const left = norm(rest);
  const whole = parts.reduce((sum, { size }) => sum + size, left);
  const samples = parts.map(({ feature, errorVector, size, about }) => ({
    ...about,
    feature: hasBiasColumn ? feature.slice(0, columns - 1) : feature,
    errorVector,
    share: size / whole,
  }));
  return {
    samples: samples.sort((one, other) => other.share - one.share),
    unexplained: left / norm(gradient.data),
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

interface Found extends FoundShare {
  readonly candidate: Evaluated;
  readonly evidence: Evidence;
  readonly multiplicity: number;
  readonly confidence: number;
}

const HARD: LabelFamily = { classes: 1, flats: [0], freeFlat: false };
const MIXUP: LabelFamily = { classes: 2, flats: [0], freeFlat: false };

/** Misfits up to this, squared per degree of freedom, are the model of the noise being rough. */
const MOST_CHI = 40;
/** Without added noise, a relative misfit this small (squared) is rounding wherever the model of rounding is wrong. */
const TINY_COST = 1e-11;
const ROUGH_CHI = 1e4;
/** A candidate worth polishing. */
const PROMISING_COST = 1e-8;
/** A feature known worse than this is not called recovered. */
const MOST_FEATURE_ERROR = 0.15;
/** Nor one whose weight in the gradient is known worse: others of its class may be in it. Noise is more patient. */
const MOST_COEFFICIENT_ERROR = 0.02;
/** A label known worse than this neither. */
const MOST_WEIGHT_ERROR = 0.03;
/** More noise than this in a sample's own equations and anything fits them. */
const MOST_WEAKNESS = 0.1;
/** Rounding leaves 1 to 4 times its own model; more is samples too alike to part. */
const MOST_STRUCTURE = 6;
/** A few starts of every labelling scheme, to see which one it is. */
const PROBE = -1;
const QUICK_EFFORT = 1;
const MOST_EFFORT = 4;
/** Added noise is what hides the rest; random starts do not help against it. */
const MOST_EFFORT_IN_NOISE = 2;
const CHUNK = 48;
const PROBE_STARTS = 8;
/** More samples than this that one gradient cannot tell apart are not believed. */
const MOST_MULTIPLICITY = 32;
const MOST_CLASSES = 2;

class BatchSearch {
  ended: BatchRecovery['ended'] = 'exhausted';
  private readonly base: SampleProblem;
  private readonly judge: Judge;
  private readonly polisher: Refiner;
  private readonly random = generator(402);
  private readonly found: Found[] = [];
  private coefficient = 0;
  /** Directions that only tell the samples of a group apart. */
  private merged = 0;
  private families: LabelFamily[];
  private lastPause = performance.now();

  constructor(
    private readonly head: WhitenedHead,
    private readonly rank: number,
    private readonly options: BatchOptions,
    private readonly deadline: number,
  ) {
    this.base = baseProblem(head, rank);
    this.judge = new Judge(head, this.base, MOST_CLASSES);
    this.polisher = new Refiner(this.base, MOST_CLASSES, () => this.breathe());
    this.families = this.everyFamily();
  }

  private everyFamily(): LabelFamily[] {
    const flats = [0.05 / this.head.classes, 0.25 / this.head.classes];
    if (this.rank < this.head.svd.rank) {
      // Several classes with one feature look like one sample with a mixed label: a group is of one class.
      return [HARD, { classes: 1, flats, freeFlat: true }];
    }
    return [HARD, { classes: 1, flats, freeFlat: true }, MIXUP, { classes: 2, flats, freeFlat: true }];
  }

  /** Samples found, groups counted by their size. */
  count(): number {
    return this.found.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
  }

  isComplete(): boolean {
    return this.found.length + this.merged === this.rank;
  }

  /**
   * What is left once single samples are found may be a few of one class that the gradient hardly tells apart: without the
   * weakest of the directions left, each such group is one solution, and its weight says how many it is. True when groups
   * explain all that was left.
   */
  async closeWithGroups(isStop: (error: unknown) => boolean): Promise<boolean> {
    try {
      return await this.groupRest();
    } catch (error) {
      if (!isStop(error)) {
        throw error;
      }
      this.ended = 'stopped';
      return false;
    }
  }

  private async groupRest(): Promise<boolean> {
    if (this.coefficient === 0 || this.isComplete() || this.ended === 'stopped') {
      return false;
    }
    const rest = deflate(this.base, this.found);
    const [first] = this.families;
    const family = first && !first.freeFlat ? { ...first, classes: 1 as const } : HARD;
    if (rest.rank > Math.max(4, this.rank / 4)) {
      return false;
    }
    for (let keep = rest.rank - 1; keep >= 1 && performance.now() < this.deadline; keep--) {
      const groups = await this.groupsAt(truncate(rest, keep), family);
      const count = groups.reduce((sum, { multiplicity }) => sum + multiplicity, 0);
      if (groups.length === keep && count === rest.rank) {
        this.found.push(...groups);
        this.merged = rest.rank - keep;
        this.ended = 'complete';
        return this.isTrusted();
      }
    }
    return false;
  }

  private async groupsAt(problem: SampleProblem, family: LabelFamily): Promise<Found[]> {
    const refiner = new Refiner(problem, MOST_CLASSES, () => this.breathe());
    const judge = new Judge(this.head, problem, MOST_CLASSES);
    const groups: Found[] = [];
    for (const start of [...this.starts(problem, family, 0), ...this.starts(problem, family, 1)]) {
      const candidate = await refiner.refine(start, false, 40);
      if (
        !mayBeSample(problem, candidate) ||
        groups.some((other) => isSame(other.candidate, { ...candidate, q: toBase(problem, candidate.q) }))
      ) {
        continue;
      }
      const evidence = judge.judge(candidate, false);
      const multiplicity = this.multiplicityOf(evidence);
      if (this.stands(candidate, evidence) && multiplicity > 0) {
        groups.push({
          candidate: { ...candidate, q: toBase(problem, candidate.q) },
          evidence,
          multiplicity,
          q: toBase(problem, candidate.q),
          r: alongSpan(this.base, candidate.e),
          coefficient: multiplicity * this.coefficient,
          confidence: judge.confidence(candidate, evidence),
        });
      }
    }
    return groups;
  }

  /** Everything is found, and together it is what one mean or sum over a batch gives. */
  isTrusted(): boolean {
    const whole = this.count() * this.coefficient;
    const isMean = Math.abs(whole - 1) < 0.01;
    const isSum = Math.abs(this.coefficient - 1) < 0.01;
    return this.isComplete() && (this.rank === this.head.svd.rank || isMean || isSum);
  }

  /** Directions just above the noise leave nothing to tell single samples by; only a whole picture counts then. */
  isBelievable(): boolean {
    return this.isTrusted() || this.head.noise > 0 || this.head.sigma < MOST_STRUCTURE;
  }

  /** @param most effort to go to: 0 the best starts alone, 4 many random ones */
  async run(most: number, isStop: (error: unknown) => boolean): Promise<void> {
    try {
      await this.search(this.head.noise > 0 ? Math.min(most, MOST_EFFORT_IN_NOISE) : most);
    } catch (error) {
      if (!isStop(error)) {
        throw error;
      }
      this.ended = 'stopped';
    }
  }

  private async search(most: number): Promise<void> {
    let effort = this.found.length === 0 ? PROBE : 0;
    let isWide = this.found.length === 0;
    while (!this.isComplete()) {
      const problem = this.found.length > 0 ? deflate(this.base, this.found) : this.base;
      if (problem.rank === 0) {
        return;
      }
      if (await this.searchOnce(problem, effort)) {
        effort = 0;
        isWide = false;
      } else if (effort < most) {
        effort++;
      } else if (isWide) {
        break;
      } else {
        // The scheme that fits most may not be everyone's.
        this.families = this.everyFamily();
        isWide = true;
        effort = PROBE;
      }
      if (performance.now() > this.deadline) {
        this.ended = 'time';
        return;
      }
    }
    this.ended = this.isComplete() ? 'complete' : 'exhausted';
  }

  /** Tries starts of one effort until a chunk of them finds something. */
  private async searchOnce(problem: SampleProblem, effort: number): Promise<boolean> {
    const refiner = new Refiner(problem, MOST_CLASSES, () => this.breathe());
    for (const family of this.families) {
      if (effort > QUICK_EFFORT && family.classes === 2 && this.found.length === 0) {
        continue;
      }
      const starts = this.starts(problem, family, Math.max(effort, 0)).slice(
        0,
        effort === PROBE ? PROBE_STARTS : undefined,
      );
      for (let from = 0; from < starts.length; from += CHUNK) {
        const hits: Evaluated[] = [];
        for (const start of starts.slice(from, from + CHUNK)) {
          const end = await refiner.refine(start, family.freeFlat, 40);
          if (mayBeSample(problem, end) && !hits.some((hit) => isSame(hit, end))) {
            hits.push(end);
          }
          if (performance.now() > this.deadline) {
            break;
          }
        }
        if (await this.accept(problem, hits, family)) {
          this.settleFamily(family);
          return true;
        }
      }
    }
    return false;
  }

  private async breathe(): Promise<void> {
    if (performance.now() - this.lastPause > 30) {
      await this.options.pause({ found: this.count(), rank: this.rank });
      this.lastPause = performance.now();
    }
  }

  /** Candidates to start from, the most promising first. */
  private starts(problem: SampleProblem, family: LabelFamily, effort: number): Candidate[] {
    const { rank } = problem;
    const labels = effort === 0 ? 1 : 3;
    const withLabels = (features: readonly Float64Array[]): Candidate[] =>
      features
        .flatMap((q) => labelled(problem, q, family, labels))
        .sort((one, other) => one.cost - other.cost)
        .map(({ candidate }) => candidate);
    const wide = Math.min(2 * rank + 5, problem.classes);
    const scale = this.coefficient || 1 / rank;
    if (effort === 0) {
      const factors = this.coefficient ? [-1] : [-1, -rank * 0.1];
      const rows = classesByLeverage(problem, rank + 2).flatMap((row) =>
        factors.map((factor) => rowStart(problem, row, factor / scale)),
      );
      return [...withLabels(rows), ...this.linearised(problem, family, wide)];
    }
    if (effort === 1) {
      const classes = classesByLeverage(problem, wide);
      const rows = classes.flatMap((row) => ROW_FACTORS.map((factor) => rowStart(problem, row, factor / scale)));
      return withLabels([...rows, ...predictedStarts(problem, classes)]);
    }
    const known = this.found.map(({ candidate }) => this.project(problem, candidate.q));
    const sizes = this.found.map(({ candidate }) => norm(candidate.q)).sort((one, other) => one - other);
    const [strongest] = classesByLeverage(problem, 1);
    const size = sizes[Math.floor(sizes.length / 2)] ?? norm(rowStart(problem, strongest ?? 0, 1 / scale));
    return withLabels(randomStarts(rank, known, size, 40 * (effort - 1) + 4 * rank, this.random));
  }

  private linearised(problem: SampleProblem, family: LabelFamily, wide: number): Candidate[] {
    const linear = new LinearisedStarts(problem);
    const classes = classesByLeverage(problem, wide);
    return family.flats.flatMap((flat) => {
      const sum = 1 - flat * problem.classes;
      if (family.classes === 1) {
        return classes.map((row) => ({
          q: linear.start([row], [sum], flat),
          classes: [row],
          weights: Float64Array.of(sum),
          flat,
        }));
      }
      return linear.pairs(classes, flat, 4 * problem.rank + 8).map(({ classes: pair, weights }) => ({
        q: linear.start(pair, weights, flat),
        classes: pair,
        weights: Float64Array.from(weights),
        flat,
      }));
    });
  }

  /** Base coordinates to a deflated problem's. */
  private project(problem: SampleProblem, q: Float64Array): Float64Array {
    const { basis, rank } = problem;
    if (!basis) {
      return q;
    }
    const out = new Float64Array(rank);
    for (let row = 0; row < q.length; row++) {
      for (let col = 0; col < rank; col++) {
        out[col]! += basis[row * rank + col]! * q[row]!;
      }
    }
    return out;
  }

  /** Polishes hits in the whole problem and keeps those that every test lets through; true when there is one. */
  private async accept(problem: SampleProblem, hits: readonly Evaluated[], family: LabelFamily): Promise<boolean> {
    const polished: Evaluated[] = [];
    for (const hit of hits) {
      polished.push(await this.polisher.refine({ ...hit, q: toBase(problem, hit.q) }, family.freeFlat, 30));
    }
    const judged = polished
      .map((candidate) => ({ candidate, evidence: this.judge.judge(candidate, family.freeFlat) }))
      .filter(({ candidate, evidence }) => this.stands(candidate, evidence))
      .sort((one, other) => one.evidence.featureError - other.evidence.featureError);
    if (this.coefficient === 0) {
      this.coefficient = this.commonCoefficient(judged.map(({ evidence }) => evidence));
    }
    const before = this.found.length;
    for (const { candidate, evidence } of judged) {
      const multiplicity = this.coefficient > 0 ? this.multiplicityOf(evidence) : 0;
      if (multiplicity > 0 && this.found.length < this.rank && this.isNew(candidate, evidence)) {
        this.found.push({
          candidate,
          evidence,
          multiplicity,
          q: candidate.q,
          r: evidence.r,
          coefficient: multiplicity * this.coefficient,
          confidence: this.judge.confidence(candidate, evidence),
        });
      }
    }
    return this.found.length > before;
  }

  /** Whether a candidate, by itself, fits to the noise and says something that noise does not. */
  private stands(candidate: Evaluated, evidence: Evidence): boolean {
    const { chi, weightError } = evidence;
    const fits = chi <= MOST_CHI || (this.head.noise === 0 && candidate.cost < TINY_COST && chi < ROUGH_CHI);
    const sum = candidate.weights.reduce((all, value) => all + value, 0) + candidate.flat * this.head.classes;
    const isLabel =
      Math.abs(sum - 1) <= Math.max(10 * weightError, 1e-4) &&
      candidate.flat >= -Math.max(10 * weightError, 1e-5) &&
      candidate.weights.every((value) => value > 0.02);
    const isTold =
      evidence.surplus > 0 &&
      weightError <= MOST_WEIGHT_ERROR &&
      evidence.weakness <= MOST_WEAKNESS &&
      evidence.featureError <= MOST_FEATURE_ERROR &&
      evidence.coefficientError <= (this.head.noise > 0 ? MOST_FEATURE_ERROR : MOST_COEFFICIENT_ERROR);
    return fits && isLabel && isTold && evidence.coefficient > 0;
  }

  /** The coefficient that most candidates' are whole multiples of; 0 when there is none to be sure of. */
  private commonCoefficient(all: readonly Evidence[]): number {
    let best = 0;
    let bestVotes = 0;
    for (const { coefficient, featureError } of all) {
      const votes = all.filter((other) => multiple(other.coefficient / coefficient, toleranceOf(other)) > 0).length;
      const alone = votes === 1 && this.head.noise > 0 && !isNaturalShare(coefficient);
      const clear = featureError < 0.02 || votes > 1 || isNaturalShare(coefficient);
      if (clear && !alone && (votes > bestVotes || (votes === bestVotes && coefficient > best))) {
        best = coefficient;
        bestVotes = votes;
      }
    }
    const agreeing = all
      .map(({ coefficient }) => coefficient)
      .filter((coefficient) => Math.abs(coefficient / best - 1) < 0.01)
      .sort((one, other) => one - other);
    return agreeing[Math.floor(agreeing.length / 2)] ?? 0;
  }

  private multiplicityOf(evidence: Evidence): number {
    return multiple(evidence.coefficient / this.coefficient, toleranceOf(evidence));
  }

  /**
   * With G = c E^T X, U^T e_i and V^T x_j are dual to each other: q_j S^-1 r_i = delta_ij / c. So every pair of samples has
   * two more equations to fulfil, which a false one does not.
   */
  private isNew(candidate: Evaluated, evidence: Evidence): boolean {
    const { values } = this.base;
    const tolerance = toleranceOf(evidence);
    return this.found.every((other) => {
      const scaled = other.q.map((value, at) => value / values[at]!);
      const mine = candidate.q.map((value, at) => value / values[at]!);
      const most = Math.max(tolerance, toleranceOf(other.evidence));
      return (
        Math.abs(dot(scaled, evidence.r) * other.coefficient) <= most &&
        Math.abs(dot(mine, other.r) * other.coefficient) <= most
      );
    });
  }

  /** All samples of a batch are labelled by one scheme; once some are found, only theirs is looked for. */
  private settleFamily(family: LabelFamily): void {
    let settled = family;
    if (family.freeFlat && this.found.length >= 3) {
      const flats = this.found.map(({ candidate }) => candidate.flat).sort((one, other) => one - other);
      const middle = flats[Math.floor(flats.length / 2)]!;
      const agreeing = flats.filter((flat) => Math.abs(flat - middle) * this.head.classes < 1e-3).length;
      if (agreeing >= 3) {
        settled = { ...family, flats: [middle], freeFlat: false };
      }
    }
    this.families = settled.classes === 1 ? [settled] : [settled, { ...settled, classes: 1 }];
  }

  result(): BatchRecovery {
    const parts = this.found.map((one) => {
      const feature = this.judge.feature(one.candidate.q);
      const errorVector = one.candidate.e.map((value, row) => value * this.head.rowError[row]!);
      return {
        feature,
        errorVector,
        size: one.coefficient * norm(errorVector) * norm(feature),
        about: {
          label: this.labelOf(one),
          multiplicity: one.multiplicity,
          coefficient: one.coefficient,
          residual: one.candidate.cost,
          residualFloor: one.evidence.weakness ** 2,
          featureError: one.evidence.featureError,
          confidence: one.confidence,
        },
      };
    });
    return {
      ...describe(this.head, parts),
      rank: this.rank,
      coefficient: this.coefficient,
      complete: this.isComplete() && this.rank > 0,
      ended: this.ended,
    };
  }

  private labelOf({ candidate, evidence }: Found): FittedLabel {
    const y = new Float64Array(this.head.classes).fill(candidate.flat);
    candidate.classes.forEach((row, at) => (y[row]! += candidate.weights[at]!));
    const epsilon = candidate.flat * this.head.classes;
    const smoothed = epsilon > Math.max(1e-3, 5 * evidence.weightError);
    return fitLabel(y, { m: candidate.classes.length, smoothed });
  }
}

const ROW_FACTORS = [-0.3, -0.5, -1.5, -3, 0.5, 1, 3];

/** A first sieve, generous: what remains is polished and judged. */
function mayBeSample(problem: SampleProblem, { q, e, size, cost }: Evaluated): boolean {
  if (!Number.isFinite(cost) || !q.every(Number.isFinite)) {
    return false;
  }
  const { classes, rank, left, values, sigma } = problem;
  let dual = 0;
  for (let col = 0; col < rank; col++) {
    let along = 0;
    for (let row = 0; row < classes; row++) {
      along += left[row * rank + col]! * e[row]!;
    }
    dual += (along / values[col]!) ** 2;
  }
  return cost < Math.max(PROMISING_COST, 100 * ((sigma * sigma * dual) / (size * size)) * classes);
}

function isSame(one: Evaluated, other: Evaluated): boolean {
  if (!other.classes.every((row) => one.classes.includes(row))) {
    return false;
  }
  const difference = one.q.map((value, at) => value - other.q[at]!);
  return norm(difference) < 1e-2 * norm(one.q);
}

/** Tolerance of a coefficient ratio, relative. */
function toleranceOf({ coefficientError }: Evidence): number {
  return Math.min(Math.max(5 * coefficientError, 2e-3), coefficientError > MOST_COEFFICIENT_ERROR ? 0.1 : 0.05);
}

/** The whole number that a ratio is within tolerance of, 0 when there is none. */
function multiple(ratio: number, tolerance: number): number {
  const whole = Math.round(ratio);
  return whole >= 1 && whole <= MOST_MULTIPLICITY && Math.abs(ratio - whole) <= tolerance * Math.min(whole, 3)
    ? whole
    : 0;
}

/** 1 / B for a whole number B, as a mean over the batch gives. */
function isNaturalShare(coefficient: number): boolean {
  const size = 1 / coefficient;
  return size < 40 && Math.abs(size - Math.round(size)) < 0.1 && size > 0.9;
}
