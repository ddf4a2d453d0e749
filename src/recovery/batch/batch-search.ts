import { type FittedLabel, fitLabel } from '../label-family.js';
import { generator } from '../paper-method.js';
import { dot, norm } from '../vectors.js';
import { type BatchOptions, type BatchRecovery, describe } from './batch-result.js';
import { type Evidence, Judge } from './evidence.js';
import { Refiner } from './refine.js';
import {
  type Evaluated,
  type FoundShare,
  type SampleProblem,
  alongSpan,
  baseProblem,
  deflate,
  toBase,
  truncate,
} from './sample-problem.js';
import { MOST_COEFFICIENT_ERROR, mayBeSample, isSame, toleranceOf, multiple, isNaturalShare } from './sample-tests.js';
import { startsOf } from './search-starts.js';
import type { LabelFamily } from './starts.js';
import type { WhitenedHead } from './whiten.js';
import { isStop } from '../pause.js';

/** A search for the samples of a batch, one after the other. */

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

/** A feature known worse than this is not called recovered. */
const MOST_FEATURE_ERROR = 0.15;

/** A label known worse than this neither. */
const MOST_WEIGHT_ERROR = 0.03;

/** More noise than this in a sample's own equations and anything fits them. */
const MOST_WEAKNESS = 0.1;

/** Rounding leaves 1 to 4 times its own model; more is samples too alike to part. */
const MOST_STRUCTURE = 6;

/** A few starts of every labelling scheme, to see which one it is. */
const PROBE = -1;

/** Added noise is what hides the rest; random starts do not help against it. */
const MOST_EFFORT_IN_NOISE = 2;

const CHUNK = 48;

const PROBE_STARTS = 8;

const MOST_CLASSES = 2;

export const QUICK_EFFORT = 1;

export class BatchSearch {
  ended: BatchRecovery['ended'] = 'exhausted';
  private readonly base: SampleProblem;
  private readonly judge: Judge;
  private readonly polisher: Refiner;
  readonly random = generator(402);
  readonly found: Found[] = [];
  coefficient = 0;
  /** Directions that only tell the samples of a group apart. */
  private merged = 0;
  private families: LabelFamily[];
  private lastPause = performance.now();
  /** Starts that nothing random is in and that led to nothing: they would again. */
  private readonly vain = new Set<string>();

  constructor(
    private readonly head: WhitenedHead,
    private readonly rank: number,
    private readonly options: BatchOptions,
    private readonly deadline: number,
  ) {
    this.base = baseProblem(head, rank);
    this.judge = new Judge(head, this.base, MOST_CLASSES);
    this.polisher = new Refiner(this.base, MOST_CLASSES, () => this.pause());
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
  async closeWithGroups(): Promise<boolean> {
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
    const refiner = new Refiner(problem, MOST_CLASSES, () => this.pause());
    const judge = new Judge(this.head, problem, MOST_CLASSES);
    const groups: Found[] = [];
    const rejected: Evaluated[] = [];
    for (const start of [...startsOf(problem, family, 0, this), ...startsOf(problem, family, 1, this)]) {
      const candidate = await refiner.refine(start, false, 40);
      if (
        !mayBeSample(problem, candidate) ||
        groups.some((other) => isSame(other.candidate, { ...candidate, q: toBase(problem, candidate.q) })) ||
        rejected.some((other) => isSame(other, candidate))
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
      } else {
        rejected.push(candidate);
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
  async run(most: number): Promise<void> {
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
    for (const family of this.families) {
      const attempt = JSON.stringify([this.found.length, this.coefficient, effort, family]);
      const isVain =
        this.vain.has(attempt) || (effort > QUICK_EFFORT && family.classes === 2 && this.found.length === 0);
      if (isVain) {
        continue;
      }
      const refiner = new Refiner(problem, MOST_CLASSES, () => this.pause());
      const starts = startsOf(problem, family, Math.max(effort, 0), this).slice(
        0,
        effort === PROBE ? PROBE_STARTS : undefined,
      );
      for (let from = 0; from < starts.length; from += CHUNK) {
        const hits: Evaluated[] = [];
        for (const start of starts.slice(from, from + CHUNK)) {
          const end = await refiner.refine(start, family.freeFlat, 40);
          if (!mayBeSample(problem, end)) {
            refiner.giveUp();
          } else if (!hits.some((hit) => isSame(hit, end))) {
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
      if (effort <= QUICK_EFFORT) {
        this.vain.add(attempt);
      }
    }
    return false;
  }

  private async pause(): Promise<void> {
    if (performance.now() - this.lastPause > 30) {
      await this.options.pause({ found: this.count(), rank: this.rank });
      this.lastPause = performance.now();
    }
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
