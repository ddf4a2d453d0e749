import { type Matrix, multiply, rowNorms, withColumn } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { truncatedSvd } from '../truncated-svd.js';
import { dot, norm, scaled } from '../vectors.js';
import { FactoredLayer, type Found } from './factored-layer.js';
import { inputsByZeros } from './inputs-by-zeros.js';
import type { Course } from './confirmed-together.js';
import type { LabelFit } from './label-above.js';
import { SampleSearch } from './sample-search.js';
import { settleSamples } from './settle-samples.js';
import type { SilentUnits } from './silent-units.js';

/**
 * The samples of a batch from the gradient of one fully connected layer below a rectifier. That gradient is sum_i d_i x_i^T, of
 * rank B. The inputs x_i are the vectors of its row space that are not negative and zero most often, where a rectifier comes
 * before the layer; the slopes d_i are those of its column space that are zero most often, as the rectifier behind it
 * passes nothing to silent units (which Dimitrov et al., SPEAR, NeurIPS 2024, recover batches from). An input tells
 * which units it leaves silent, so each sample is confirmed by itself, with its slopes; all others' inputs are at right angles to those.
 */

export interface HiddenLayer {
  /** dL/dW, m x n. */
  readonly gradient: Matrix;
  /** dL/db, m. */
  readonly biasGradient: Float64Array;
  /** Its parameters, and those of a classifier whose features its units are; several where steps changed them. */
  readonly course: Course;
  /** What no entry of an input is below, n numbers each: zero above a rectifier, black for pictures. The likeliest first. */
  readonly bounds: readonly Float64Array[];
  /** Singular values below are noise. */
  readonly floor: number;
}

export interface SeparatedSample extends Omit<SilentUnits, 'mixture'> {
  /** x, n numbers. */
  readonly input: Float64Array;
  /** d, m numbers: dL/d(W x + b). */
  readonly slopes: Float64Array;
  /** Expected error of each number of x, in its own unit. */
  readonly error: number;
  /** Its class, where a classifier above tells it. */
  readonly label?: LabelFit;
  /** Which of several states of the layer saw it, about. */
  readonly state?: number;
}

export interface Separation {
  /** Samples that the gradient is of, as far as they are above its noise. */
  readonly rank: number;
  /** Smallest singular value above the noise over the noise. */
  readonly gap: number;
  /** Those told apart, each confirmed by the units that it leaves silent; in no order of meaning. */
  readonly samples: readonly SeparatedSample[];
  /** Whether they are confirmed all together, and not each by itself. */
  readonly isJoint: boolean;
  /** ||gradient - sum_i d_i x_i^T|| / ||gradient||. */
  readonly residual: number;
}

const MOST_SAMPLES = 128;
/** Units for each sample, at least: below, anything could be made zero on half of them. */
const UNITS_EACH = 2;
const MANY_UNITS_EACH = 10;
/** Share of all samples that are found, at least, where some are missing: fewer are not told. */
const FEWEST_FOUND = 0.5;
/** Inputs with a larger expected error, relative to their size, are not told. */
const MOST_ERROR = 0.05;
/** What errors of slopes bring into inputs may be more than their size says, and is where zeros alone tell inputs; measured. */
const SAFETY = { whole: 3, partly: 20 };

/**
 * @param random uniform in [0, 1)
 * @param pause with how many samples were told apart, and of how many
 * @returns undefined where the rank is no batch's that could be told apart: none, or too many for so few units
 */
export async function separateSamples(
  layer: HiddenLayer,
  random: () => number,
  pause: Pause<{ readonly found: number; readonly of: number }>,
): Promise<Separation | undefined> {
  const whole = withColumn(layer.gradient, layer.biasGradient);
  const most = Math.min(MOST_SAMPLES, Math.floor(whole.rows / UNITS_EACH), whole.cols - 1) + 1;
  const svd = await truncatedSvd(whole, { floor: layer.floor, most, unlessSaturated: true }, () =>
    pause({ found: 0, of: 0 }),
  );
  if (svd.saturated || svd.rank === 0) {
    return undefined;
  }
  const quiet = (3 * layer.floor) / Math.sqrt(whole.rows);
  const isLive = Uint8Array.from(rowNorms(whole), (own) => Number(own > quiet));
  const rectified = { ...layer.course.states[0]!.layer, isLive };
  const factored = new FactoredLayer(svd, rectified, layer.floor, random);
  const bounds = factored.boundsWith(layer.bounds);
  const search = new SampleSearch(factored, random, (found) => pause({ found, of: svd.rank }));
  const isOne = layer.course.states.length === 1;
  if (isOne) {
    await search.run(bounds);
  }
  const tell = (found: number): Promise<void> => pause({ found, of: svd.rank });
  const isWhole = search.found.length === svd.rank;
  // With many units for each sample, single ones are confirmed, or none is.
  const isNarrow = !isOne || whole.rows < MANY_UNITS_EACH * svd.rank;
  const together = isWhole || !isNarrow ? undefined : await inputsByZeros(factored, bounds, layer.course, tell);
  const found = together ? [] : await settleSamples(factored, search.found, bounds, () => tell(search.found.length));
  const samples = together ?? toldSamples(factored, found, svd.residual / Math.sqrt(whole.data.length));
  return {
    rank: svd.rank,
    gap: svd.values[svd.rank - 1]! / Math.max(svd.next, Number.MIN_VALUE),
    samples,
    isJoint: together !== undefined,
    residual: residualOf(whole, samples),
  };
}

/** @param noise standard deviation of each number of the gradient */
function toldSamples(layer: FactoredLayer, found: readonly Found[], noise: number): readonly SeparatedSample[] {
  const settled = found.length >= FEWEST_FOUND * layer.rank ? found.filter((own) => own.isSettled) : [];
  const samples = settled.flatMap((own) => {
    const again = layer.toldAgain(own, settled);
    return again ? [{ ...again, slopes: scaled(again.told.mixture, 1 / dot(own.input, again.told.mixture)) }] : [];
  });
  const safety = samples.length === layer.rank ? SAFETY.whole : SAFETY.partly;
  // The error of each one's slopes comes into the inputs of all others.
  const spread = Math.sqrt(samples.reduce((sum, { told, slopes }) => sum + (told.leftOver * norm(slopes)) ** 2, 0));
  return samples.flatMap(({ found: own, told: { silent, active, leftOver, evidence }, slopes, input }) => {
    const size = norm(input) / Math.sqrt(input.length);
    const error = norm(own.input) * Math.hypot(noise, safety * spread * size);
    return error > MOST_ERROR * size
      ? []
      : [{ input, slopes: multiply(layer.left, slopes), error, silent, active, leftOver, evidence }];
  });
}

function residualOf(whole: Matrix, samples: readonly SeparatedSample[]): number {
  const rest = whole.data.slice();
  const { cols } = whole;
  for (const { input, slopes } of samples) {
    slopes.forEach((slope, row) => {
      for (let col = 0; col < cols - 1; col++) {
        rest[row * cols + col]! -= slope * input[col]!;
      }
      rest[row * cols + cols - 1]! -= slope;
    });
  }
  return norm(rest) / norm(whole.data);
}
