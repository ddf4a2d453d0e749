import type { HeadFactors } from './head-factors.js';
import { type HeadGradient } from './head-gradient.js';
import { type LabelFamily } from './label-family.js';
import { type RecoveredSample, type RecoveryMethod, type SampleStatus, finish } from './recovered-sample.js';
import { type ScanMinimum, minimumAt } from './scalar-scan.js';
import { dot, least, norm } from './vectors.js';
import type { Pause } from './pause.js';

/**
 * The search of Wang, Liang, He (ICLR 2024, arXiv 2402.03124) as published, for comparison: row g_r of the
 * largest |row sum|, x = lambda g_r, and the variance of the label's smallest entries as loss. The paper
 * tells it the augmentation and accepts against ground truth; here both kinds of label are tried and only
 * the loss decides.
 */

export type PaperAugmentation = 'label-smoothing' | 'mixup';

/** "No bias, features non-negative": the paper's coefficient on g_r; its experiments use 4, 2 and 1. */
const COEFFICIENT = 1;
const LOSS_FACTOR = 1000;
const ACCEPTED_LOSS = 1e-9;
const LEARNING_RATE = 0.5;
const OUTER_STEPS = 100;
const INNER_STEPS = 20;
const LAMBDA_BOUND = 100;
const SWARM_BOUND = 50;

export interface PaperCurve {
  /** L_label(lambda) = 1000 times the population variance of the K - m smallest entries of y(lambda). */
  loss(lambda: number): number;
  /** The same with its derivative. */
  lossAndSlope(lambda: number): { loss: number; slope: number };
  /** g_r = G[r] / coefficient has this norm; lambda times it is |x|. */
  readonly rowNorm: number;
}

/** L_label of one gradient: the curve that the paper's Figure 1 plots. */
export function paperCurve(head: HeadGradient, row: number, augmentation: PaperAugmentation): PaperCurve {
  const { weight, weightGradient: g } = head;
  const { cols } = g;
  const gr = g.data.slice(row * cols, (row + 1) * cols).map((value) => value / COEFFICIENT);
  const anchor = anchorOf(gr);
  const classes = g.rows;
  const slopes = new Float64Array(classes);
  const ratios = new Float64Array(classes);
  for (let i = 0; i < classes; i++) {
    slopes[i] = dot(weight.data.subarray(i * cols, (i + 1) * cols), gr);
    ratios[i] = g.data[i * cols + anchor]! / gr[anchor]!;
  }
  const bias = head.bias ?? new Float64Array(classes);
  const y = new Float64Array(classes);
  const p = new Float64Array(classes);
  const order = new Float64Array(classes);
  const keep = classes - (augmentation === 'mixup' ? 2 : 1);

  const evaluate = (lambda: number): { loss: number; slope: number } => {
    let top = -Infinity;
    for (let i = 0; i < classes; i++) {
      p[i] = lambda * slopes[i]! + bias[i]!;
      top = Math.max(top, p[i]!);
    }
    let total = 0;
    for (let i = 0; i < classes; i++) {
      p[i] = Math.exp(p[i]! - top);
      total += p[i]!;
    }
    let meanSlope = 0;
    for (let i = 0; i < classes; i++) {
      p[i]! /= total;
      meanSlope += p[i]! * slopes[i]!;
      y[i] = p[i]! - ratios[i]! / lambda;
    }
    order.set(y);
    order.sort();
    const limit = order[keep - 1]!;
    let sum = 0;
    let count = 0;
    for (let i = 0; i < classes && count < keep; i++) {
      if (y[i]! <= limit) {
        sum += y[i]!;
        count++;
      }
    }
    const mean = sum / keep;
    let variance = 0;
    let slope = 0;
    count = 0;
    for (let i = 0; i < classes && count < keep; i++) {
      if (y[i]! <= limit) {
        const deviation = y[i]! - mean;
        variance += deviation * deviation;
        slope += 2 * deviation * (p[i]! * (slopes[i]! - meanSlope) + ratios[i]! / (lambda * lambda));
        count++;
      }
    }
    return { loss: (LOSS_FACTOR * variance) / keep, slope: (LOSS_FACTOR * slope) / keep };
  };
  return { loss: (lambda) => evaluate(lambda).loss, lossAndSlope: evaluate, rowNorm: norm(gr) };
}

/** The entry by which the paper divides: argmax, or argmin when no entry is positive. */
function anchorOf(gr: Float64Array): number {
  let high = 0;
  let low = 0;
  gr.forEach((value, index) => {
    high = value > gr[high]! ? index : high;
    low = value < gr[low]! ? index : low;
  });
  return gr[high]! > 0 ? high : low;
}

export interface PaperResult {
  readonly lambda: number;
  readonly loss: number;
  readonly accepted: boolean;
  readonly augmentation: PaperAugmentation;
  readonly stage: 'lbfgs' | 'pso' | 'pso-noise';
}

/**
 * Runs the published search: L-BFGS from +1 and -1, then particle swarms on growing ranges; for a noisy
 * gradient the swarm variant alone.
 *
 * @param pause called between swarm ranges so that a caller can cancel
 */
export async function searchLikePaper(
  head: HeadGradient,
  row: number,
  noisy: boolean,
  pause: Pause,
): Promise<PaperResult> {
  const augmentations: PaperAugmentation[] = head.weight.rows > 3 ? ['label-smoothing', 'mixup'] : ['label-smoothing'];
  const results: PaperResult[] = [];
  for (const augmentation of augmentations) {
    const curve = paperCurve(head, row, augmentation);
    const result = noisy
      ? { ...(await swarms(curve, 200, 30, 10, pause)), stage: 'pso-noise' as const }
      : await searchClean(curve, pause);
    const full = { ...result, augmentation, accepted: result.loss < ACCEPTED_LOSS };
    if (full.accepted && !noisy) {
      return full;
    }
    results.push(full);
  }
  // Leaving one more class out always lowers the loss, so mixup must win clearly.
  const [smoothing, mixup] = results;
  return mixup && smoothing && mixup.loss < 0.1 * smoothing.loss ? mixup : smoothing!;
}

async function searchClean(curve: PaperCurve, pause: Pause): Promise<Pick<PaperResult, 'lambda' | 'loss' | 'stage'>> {
  const fromRight = lbfgs(curve, 1);
  if (fromRight.loss < ACCEPTED_LOSS) {
    return { ...fromRight, stage: 'lbfgs' };
  }
  const fromLeft = lbfgs(curve, -1);
  if (fromLeft.loss < ACCEPTED_LOSS) {
    return { ...fromLeft, stage: 'lbfgs' };
  }
  return { ...(await swarms(curve, 500, 40, SWARM_BOUND, pause)), stage: 'pso' };
}

interface Point {
  readonly lambda: number;
  readonly loss: number;
}

/** torch.optim.LBFGS without line search on one number: each step is the secant quasi-Newton step times the rate. */
function lbfgs(curve: PaperCurve, start: number): Point {
  let lambda = start;
  let best: Point = { lambda, loss: curve.loss(lambda) };
  let jump = 0.5;
  let last = Infinity;
  for (let outer = 0; outer < OUTER_STEPS && Math.abs(lambda) <= LAMBDA_BOUND; outer++) {
    lambda = innerSteps(curve, lambda);
    const loss = curve.loss(lambda);
    if (loss < best.loss) {
      best = { lambda, loss };
    }
    if (loss < ACCEPTED_LOSS) {
      break;
    }
    if (!(Math.abs(last - loss) > 1e-9 * Math.max(last, 1)) || !Number.isFinite(loss)) {
      // On a plateau the paper leaves by ever larger jumps away from zero.
      lambda = start + Math.sign(start) * jump;
      jump *= 2;
    }
    last = loss;
  }
  return best;
}

function innerSteps(curve: PaperCurve, from: number): number {
  let lambda = from;
  let { slope } = curve.lossAndSlope(lambda);
  let inverseCurvature = 1;
  for (let step = 0; step < INNER_STEPS && Math.abs(slope) > 1e-12; step++) {
    const rate = step === 0 ? Math.min(1, 1 / Math.abs(slope)) * LEARNING_RATE : LEARNING_RATE;
    const next = lambda - rate * inverseCurvature * slope;
    if (next === lambda || !Number.isFinite(next) || next === 0 || Math.abs(next) > LAMBDA_BOUND) {
      break;
    }
    const nextSlope = curve.lossAndSlope(next).slope;
    const curvature = (nextSlope - slope) * (next - lambda);
    if (curvature > 1e-14) {
      inverseCurvature = (next - lambda) ** 2 / curvature;
    }
    lambda = next;
    slope = nextSlope;
  }
  return lambda;
}

async function swarms(
  curve: PaperCurve,
  particles: number,
  iterations: number,
  bound: number,
  pause: Pause,
): Promise<Point> {
  const random = generator(20240507);
  let best: Point = { lambda: 1, loss: Infinity };
  for (const [low, high] of swarmRanges(bound)) {
    const found = swarm(curve, low, high, particles, iterations, random);
    best = found.loss < best.loss ? found : best;
    if (best.loss < ACCEPTED_LOSS) {
      break;
    }
    await pause();
  }
  return best;
}

/** [0.7, 6], [-6.3, -1], [5.7, 10], [-10.3, -5.7], ... outwards to the bound. */
function* swarmRanges(bound: number): Generator<[number, number]> {
  yield [0.7, 6];
  yield [-6.3, -1];
  for (let low = 5.7; low < bound; low += 4.3) {
    yield [low, Math.min(low + 4.3, bound)];
    yield [-Math.min(low + 4.6, bound), -low];
  }
}

/** Plain particle swarm: inertia 0.8, pulls of 0.5 towards the particle's own best and the swarm's. */
function swarm(
  curve: PaperCurve,
  low: number,
  high: number,
  particles: number,
  iterations: number,
  random: () => number,
): Point {
  const position = Float64Array.from({ length: particles }, () => low + (high - low) * random());
  const velocity = new Float64Array(particles);
  const bestPosition = position.slice();
  const bestLoss = position.map((lambda) => curve.loss(lambda));
  let leader = bestLoss.indexOf(least(bestLoss));
  for (let iteration = 0; iteration < iterations; iteration++) {
    const goal = bestPosition[leader]!;
    for (let i = 0; i < particles; i++) {
      velocity[i] =
        0.8 * velocity[i]! +
        0.5 * random() * (bestPosition[i]! - position[i]!) +
        0.5 * random() * (goal - position[i]!);
      position[i] = Math.min(Math.max(position[i]! + velocity[i]!, low), high);
      const loss = curve.loss(position[i]!);
      if (loss < bestLoss[i]!) {
        bestLoss[i] = loss;
        bestPosition[i] = position[i]!;
        leader = loss < bestLoss[leader]! ? i : leader;
      }
    }
  }
  return { lambda: bestPosition[leader]!, loss: bestLoss[leader]! };
}

/** A small seeded generator (mulberry32), so that two runs of an audit agree. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The sample that the paper's search finds, in the same form as ours. */
export async function recoverLikePaper(
  head: HeadGradient,
  factors: HeadFactors,
  noisy: boolean,
  pause: Pause,
): Promise<RecoveredSample> {
  const result = await searchLikePaper(head, factors.row, noisy, pause);
  const { problem, row } = factors;
  const scalar = result.lambda * problem.u[row]!;
  const byLoss: ScanMinimum = bestFamilyAt(factors, scalar, result.augmentation);
  const status: SampleStatus = result.accepted ? 'recovered' : noisy ? 'ambiguous' : 'not-identifiable';
  const method: RecoveryMethod = `paper-${result.stage}`;
  return finish(factors, byLoss, {
    method,
    status,
    confidence: result.accepted ? 1 : 0,
    reason: result.accepted
      ? `The published search ended at lambda = ${result.lambda.toPrecision(6)} with L_label = ${result.loss.toExponential(1)}, below its threshold of 1e-9.`
      : `The published search ended at lambda = ${result.lambda.toPrecision(6)} with L_label = ${result.loss.toExponential(1)}, above its threshold of 1e-9; the automatic method searches further.`,
  });
}

function bestFamilyAt(factors: HeadFactors, scalar: number, augmentation: PaperAugmentation): ScanMinimum {
  const m = augmentation === 'mixup' ? 2 : 1;
  const families: LabelFamily[] = [
    { m, smoothed: false },
    { m, smoothed: true },
  ];
  const [first, second] = families.map((family) => minimumAt(factors.problem, family, scalar));
  return first!.score <= second!.score ? first! : second!;
}
