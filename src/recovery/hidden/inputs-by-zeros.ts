import { solveUpper } from '../cholesky.js';
import { multiply } from '../linear-algebra.js';
import type { Pause } from '../pause.js';
import { FROM_ANYWHERE, sparseDirection } from '../sparse-direction.js';
import { dot, norm, withoutShares } from '../vectors.js';
import { ChosenInputs } from './chosen-inputs.js';
import type { BoundedRows, FactoredLayer } from './factored-layer.js';
import type { Course } from './confirmed-together.js';
import { independent, mixed } from './mixtures.js';
import { MORE_ROWS, isSettledBy } from './sample-search.js';
import type { SeparatedSample } from './separate-samples.js';

/**
 * The inputs of all samples by their zeros alone, where a layer has too few units for single ones to be confirmed by those that
 * they leave silent. All inputs together leave no choice of the slopes: that these vanish where each input leaves units silent,
 * chance would not do.
 */

/** More samples were not told apart in this way in any measurement. */
const MOST_TOGETHER = 48;
/** Multiplications of all searches: about half a minute. */
const MOST_WORK = 3e10;
const SEARCH_STEPS = 43;
/** Multiplications that it takes to look at one set of inputs, about: beyond, it could not be stopped in time. */
const MOST_WORK_OF_ONE = 1e9;
/** Comparing and sorting one number, in multiplications. */
const SORTED = 30;

/** Forward through the layer in each state, and all classes' slopes. */
function workOfOne({ rank, rectified }: FactoredLayer, { states }: Course): number {
  const { rows, cols } = rectified.weight;
  const classes = states[0]?.classifier?.weight.rows ?? 0;
  return rank * states.length * (rows * cols + SORTED * rows * classes);
}

/** Searches for each sample, and at least. */
const TRIES_EACH = 24;
const FEWEST_TRIES = 64;
/** Searches without a new direction after which there are no more. */
const MOST_FAILED = 160;
/** The same before the first. */
const FIRST_FAILED = 24;
/** Searches begin at random directions, moved towards the mean by these in turn. */
const TOWARDS_MEAN = [0.5, 0, 0.2];
/** Directions whose cosine is nearer to one are the same. */
const SAME = 1e-4;

/**
 * @param bounds what no entry of an input is below, n numbers each
 * @param pause with how many inputs were found
 * @returns all samples, each confirmed by the units that it leaves silent; undefined where one is not
 */
export async function inputsByZeros(
  layer: FactoredLayer,
  bounds: readonly Float64Array[],
  course: Course,
  pause: Pause<number>,
): Promise<readonly SeparatedSample[] | undefined> {
  if (layer.rank > MOST_TOGETHER || workOfOne(layer, course) > MOST_WORK_OF_ONE) {
    return undefined;
  }
  const basis = layer.complement([]);
  const budget = { left: MOST_WORK };
  for (const bound of bounds) {
    const bounded = layer.rowsAbove(bound, basis, MORE_ROWS);
    const samples = bounded && (await fromExtremes(layer, bounded, basis, course, budget, pause));
    if (samples) {
      return samples;
    }
  }
  return undefined;
}

/** Mixtures whose entries are not negative, and zero more often than those of any other, until as many as samples go together. */
async function fromExtremes(
  layer: FactoredLayer,
  { rows, mean, factor }: BoundedRows,
  basis: readonly Float64Array[],
  course: Course,
  budget: { left: number },
  pause: Pause<number>,
): Promise<readonly SeparatedSample[] | undefined> {
  const { rank } = layer;
  const directions: Float64Array[] = [];
  const choice = new ChosenInputs(layer, course, () => pause(Math.min(directions.length, rank)));
  const tries = Math.max(FEWEST_TRIES, TRIES_EACH * rank);
  for (
    let tried = 0, failed = 0;
    tried < tries && failed < (directions.length > 0 ? MOST_FAILED : FIRST_FAILED);
    tried++
  ) {
    budget.left -= SEARCH_STEPS * rows.rows * rank * rank;
    if (budget.left < 0) {
      return undefined;
    }
    const random = layer.randomDirection(rank);
    const taken = independent(directions).map(({ unit }) => unit);
    const share = TOWARDS_MEAN[tried % TOWARDS_MEAN.length]!;
    // Inputs are far from each other once entries are weighed: what is left over by those found is nearer to others.
    const free = share === 0 && taken.length < rank ? withoutShares(random, taken) : random;
    const start = free.map((own, at) => own + share * mean[at]!);
    const direction = await sparseDirection(rows.data, rank, start, FROM_ANYWHERE, () =>
      pause(Math.min(directions.length, rank)),
    );
    const mixture = solveUpper(factor, direction.slice());
    const noise = NOISES * layer.noise * norm(mixture);
    const isNew =
      directions.every((own) => Math.abs(dot(own, direction)) < 1 - SAME) &&
      isSettledBy(rows, direction, noise) &&
      isNotNegative(multiply(rows, direction), noise);
    failed = isNew ? 0 : failed + 1;
    if (isNew) {
      directions.push(direction);
      const samples = await choice.with(mixed(basis, mixture));
      if (samples) {
        return samples;
      }
    }
  }
  return choice.completed();
}

/** Entries below zero by more than this share of the root mean square are no rounding. */
const NEGATIVE = 1e-2;
/** Of noise's standard deviations. */
const NOISES = 5;

function isNotNegative(values: Float64Array, noise: number): boolean {
  const most = Math.max((NEGATIVE * norm(values)) / Math.sqrt(values.length), noise);
  return values.every((own) => own > -most);
}
