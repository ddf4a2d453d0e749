import { performance } from 'node:perf_hooks';
import type { Engine } from '../../engine/engine.js';
import { CancelledError } from '../../protocol/errors.js';
import { oneHot } from '../../recovery/one-hot.js';
import { generator } from '../../recovery/paper-method.js';
import { isStop } from '../../recovery/pause.js';
import { agreedImages } from '../../recovery/simulated-client/agreement.js';
import { type SimulatedClient, type Weights, simulatedClient } from '../../recovery/simulated-client/client.js';
import { distanceOf, relativeDifference } from '../../recovery/simulated-client/distance.js';
import { type StatedSteps, batchSizes, labelsOf, shuffledSteps } from '../../recovery/simulated-client/plan.js';
import { type SearchResult, type SearchState, searchImages } from '../../recovery/simulated-client/search.js';
import type { ClientTask } from './client-task.js';

/** Several searches for a client's images, each with an order of samples and a beginning of its own, and what they find alike. */

export interface FoundClient {
  readonly task: ClientTask;
  /** Class of each sample. */
  readonly labels: readonly number[];
  /** N x d, in the network's units. */
  readonly images: Float64Array;
  /** How many searches the images are the mean of. */
  readonly used: number;
  /** Of each image, the lowest correlation between two searches; undefined where one alone was used. */
  readonly agreement: readonly number[] | undefined;
  /** Share of the update that the images leave: in an order drawn anew, or of one search in its own. */
  readonly error: number;
  /** By what share of the update orders of these images, drawn at random, differ; undefined where that was not simulated. */
  readonly orderError: number | undefined;
  /** Of every search. */
  readonly curves: readonly SearchResult['curve'][];
  readonly stopped: boolean;
}

export interface Reached {
  readonly task: ClientTask;
  readonly search: number;
  readonly of: number;
  readonly iteration: number;
  readonly iterations: number;
  readonly error: number;
  readonly images: Float64Array;
  readonly secondsLeft: number;
}

const SEARCHES = 3;
const MOST_ITERATIONS = 400;
/** Fewer find nothing. */
const FEWEST_ITERATIONS = 60;
/** By which networks and ranges of inputs are compared. */
const TRIED_ITERATIONS = 12;
const TIMED_ITERATIONS = 2;
/**
 * Weight of total variation. Where it keeps more of the update from being explained than an order of samples does, it is too
 * much (the discrepancy principle, Morozov 1966), and lowered.
 */
const PRIOR_WEIGHT = 1e-2;
const LOWERED = 0.2;
const MOST_LOWERED = 3;
/** Share of a search's iterations that trying a weight takes. */
const TRIAL = 0.25;
const LEFT_BY_ORDER = 1.5;
/** Where orders change little, this share of the update may stay unexplained before the weight is lowered. */
const EXPLAINED = 0.03;
/** Of the time, for comparing networks and ranges. */
const COMPARING = 0.2;
const ORDERS = 3;
/** All of them in whole searches: the searches, trying weights, and simulating orders. */
const WHOLE = SEARCHES + TRIAL * MOST_LOWERED + 0.1;

/** Called between steps, and after iterations with where the search stands. */
type Tell = (reached: Reached | undefined) => Promise<void>;

interface Plan {
  readonly stated: StatedSteps;
  /** Class of each sample. */
  readonly labels: readonly number[];
  readonly priorWeight: number;
}

/**
 * @param tasks what explains most after a few iterations is taken
 * @param counts K, how many samples each class has
 * @param seconds for all together; fewer iterations are made where they are too few
 * @param tell stopping keeps what there is
 * @returns undefined where the time does not suffice, or there is no task
 * @throws CancelledError when stopped before there is anything
 */
export async function searchClient(
  tasks: readonly ClientTask[],
  counts: readonly number[],
  stated: StatedSteps,
  engine: Engine,
  seconds: number,
  tell: Tell,
): Promise<FoundClient | undefined> {
  const until = performance.now() + 1000 * seconds;
  const plan: Plan = { stated, labels: labelsOf(counts), priorWeight: PRIOR_WEIGHT };
  const quietly = (): Promise<void> => tell(undefined);
  const [first] = tasks;
  if (!first) {
    return undefined;
  }
  const each = await withClient(plan, first, engine, quietly, async (client) => {
    const began = performance.now();
    await tried(plan, first, client, TIMED_ITERATIONS, quietly);
    return (performance.now() - began) / 1000 / (TIMED_ITERATIONS + 0.5);
  });
  if (each * FEWEST_ITERATIONS * WHOLE > seconds) {
    return undefined;
  }
  const compared = Math.max(1, Math.floor((COMPARING * seconds) / each / TRIED_ITERATIONS));
  const task = await bestOf(tasks.slice(0, compared), first, (own) =>
    withClient(
      plan,
      own,
      engine,
      quietly,
      async (client) => (await tried(plan, own, client, TRIED_ITERATIONS, quietly)).error,
    ),
  );
  return withClient(plan, task, engine, quietly, async (client) => {
    const affordable = (until - performance.now()) / 1000 / each / WHOLE;
    const iterations = Math.min(MOST_ITERATIONS, Math.max(FEWEST_ITERATIONS, Math.floor(affordable)));
    const weighed = await withFittingPrior(plan, task, client, iterations, quietly);
    return together(weighed, task, client, await severalSearches(weighed, task, client, iterations, tell), quietly);
  });
}

/** A short search that is only looked at. @throws CancelledError when stopped */
async function tried(
  plan: Plan,
  task: ClientTask,
  client: SimulatedClient,
  iterations: number,
  pause: () => Promise<void>,
): Promise<SearchResult> {
  const found = await searched(plan, task, client, 0, iterations, pause);
  if (found.stopped) {
    throw new CancelledError();
  }
  return found;
}

async function withFittingPrior(
  plan: Plan,
  task: ClientTask,
  client: SimulatedClient,
  iterations: number,
  pause: () => Promise<void>,
): Promise<Plan> {
  let own = plan;
  for (let lowered = 0; lowered < MOST_LOWERED; lowered++) {
    const found = await tried(own, task, client, Math.ceil(TRIAL * iterations), pause);
    const byOrder = LEFT_BY_ORDER * (await orderErrorOf(own, task, client, found.images, pause));
    if (found.error <= Math.max(byOrder, EXPLAINED)) {
      return own;
    }
    own = { ...own, priorWeight: LOWERED * own.priorWeight };
  }
  return own;
}

/** How far the ends of one training in several orders are apart. */
async function orderErrorOf(
  { stated }: Plan,
  { start }: ClientTask,
  client: SimulatedClient,
  images: Float64Array,
  pause: () => Promise<void>,
): Promise<number> {
  const random = generator(SEARCHES + 1);
  const ends: Weights[] = [];
  for (let at = 0; at < ORDERS; at++) {
    ends.push((await client.states(images, shuffledSteps(stated, random), pause)).at(-1) ?? start);
  }
  const [first = start, ...others] = ends;
  return others.reduce((sum, own) => sum + relativeDifference(start, own, first), 0) / others.length;
}

async function withClient<Result>(
  { stated, labels }: Plan,
  { start, classes, stepOf }: ClientTask,
  engine: Engine,
  pause: () => Promise<void>,
  use: (client: SimulatedClient) => Promise<Result>,
): Promise<Result> {
  const client = await simulatedClient(
    start,
    oneHot(labels, classes),
    classes,
    batchSizes(stated),
    stepOf,
    async (outputs) => {
      await pause();
      return engine.compile(outputs);
    },
  );
  try {
    return await use(client);
  } finally {
    await client.dispose();
  }
}

function searched(
  { stated, labels, priorWeight }: Plan,
  task: ClientTask,
  client: SimulatedClient,
  seed: number,
  iterations: number,
  tell: (state: SearchState | undefined) => Promise<void>,
): Promise<SearchResult> {
  const random = generator(seed);
  const steps = shuffledSteps(stated, random);
  return searchImages(client, { ...task, samples: labels.length, steps, iterations, priorWeight, random }, tell);
}

/** One after the other, until the user stops; at least one. */
async function severalSearches(
  plan: Plan,
  task: ClientTask,
  client: SimulatedClient,
  iterations: number,
  tell: Tell,
): Promise<SearchResult[]> {
  const results: SearchResult[] = [];
  const began = performance.now();
  for (let seed = 0; seed < SEARCHES && !results.some(({ stopped }) => stopped); seed++) {
    try {
      results.push(
        await searched(plan, task, client, seed, iterations, async (state) => {
          const done = seed + (state?.iteration ?? 0) / iterations;
          const secondsLeft = ((performance.now() - began) / 1000 / Math.max(done, 1e-3)) * (SEARCHES - done);
          await tell(state && { ...state, task, search: seed, of: SEARCHES, iterations, secondsLeft });
        }),
      );
    } catch (error) {
      const last = results.pop();
      if (!isStop(error) || !last) {
        throw error;
      }
      results.push({ ...last, stopped: true });
    }
  }
  return results;
}

/** @param results one that was stopped is the last, and then the best is taken as it is */
async function together(
  plan: Plan,
  task: ClientTask,
  client: SimulatedClient,
  results: readonly SearchResult[],
  pause: () => Promise<void>,
): Promise<FoundClient> {
  const { stated, labels } = plan;
  const curves = results.map(({ curve }) => curve);
  const [best, ...others] = [...results].sort((one, other) => one.error - other.error);
  const common = { task, labels, curves };
  const alone: FoundClient = {
    ...common,
    images: best?.images ?? new Float64Array(0),
    used: 1,
    agreement: undefined,
    error: best?.error ?? Infinity,
    orderError: undefined,
    stopped: true,
  };
  if (!best || results.some(({ stopped }) => stopped)) {
    return alone;
  }
  try {
    const all = [best, ...others].map((own) => own.images);
    const range = task.bounds.map(([low, high]) => high - low);
    const { images, agreement } = await agreedImages(all, labels, range, pause);
    const steps = shuffledSteps(stated, generator(SEARCHES));
    const reached = (await client.states(images, steps, pause)).at(-1) ?? task.start;
    const { error } = distanceOf(task.start, reached, task.update);
    const orderError = await orderErrorOf(plan, task, client, images, pause);
    return { ...common, images, used: all.length, agreement, error, orderError, stopped: false };
  } catch (error) {
    if (!isStop(error)) {
      throw error;
    }
    return alone;
  }
}

async function bestOf(
  tasks: readonly ClientTask[],
  first: ClientTask,
  errorOf: (task: ClientTask) => Promise<number>,
): Promise<ClientTask> {
  let best = { task: first, error: Infinity };
  for (const task of tasks.length > 1 ? tasks : []) {
    const error = await errorOf(task);
    best = error < best.error ? { task, error } : best;
  }
  return best.task;
}
