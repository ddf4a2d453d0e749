import type { Engine } from '../../engine/engine.js';
import { type LocalStep, type SimulatedClient, simulatedClient } from '../../recovery/simulated-client/client.js';
import { distanceOf } from '../../recovery/simulated-client/distance.js';
import { asWhole, inBatches, oneHot, spreadLabels } from '../../recovery/simulated-client/plan.js';
import { type SearchResult, type SearchSettings, searchImages } from '../../recovery/simulated-client/search.js';
import type { ClientTask } from './client-task.js';

/** What is measured to serve, and what benchmarks vary. */
export interface AttackSettings extends SearchSettings {
  /** Steps of each epoch with all samples at once; 0 for batches as stated, in one order. */
  readonly wholeSteps: number;
}

export interface AttackResult extends SearchResult {
  /** Class of each sample. */
  readonly labels: readonly number[];
  /** Relative distance of the captured update and that of these images in batches as stated, in one order of many. */
  readonly finalError: number;
}

interface Hooks {
  readonly pause: () => Promise<void>;
  readonly progress: (message: string, share: number, images: Float64Array) => void;
}

/**
 * @param counts K, how many samples each class has
 * @param seconds after which the search settles for fewer iterations
 */
export async function attackClient(
  task: ClientTask,
  counts: readonly number[],
  engine: Engine,
  settings: AttackSettings,
  seconds: number,
  { pause, progress }: Hooks,
): Promise<AttackResult> {
  const { rate, epochs, size, samples } = task.training;
  const labels = spreadLabels(counts);
  const { wholeSteps } = settings;
  const steps =
    wholeSteps > 0 ? asWhole(samples, size, epochs, rate, wholeSteps) : inBatches(samples, size, epochs, rate);
  const client = await made(task, steps, labels, engine);
  try {
    const search = { ...task, samples, settings };
    // A few steps that are thrown away say how many there is time for.
    const trial = 3;
    const began = performance.now();
    await searchImages(client, { ...search, settings: { ...settings, iterations: trial } }, pause);
    const each = (performance.now() - began) / 1000 / (trial + 0.5);
    const iterations = Math.max(1, Math.min(settings.iterations, Math.floor(seconds / each)));
    const found = await searchImages(client, { ...search, settings: { ...settings, iterations } }, async (state) => {
      if (state) {
        progress(
          `Simulating the client: iteration ${state.iteration} of ${iterations}, ${(100 * state.error).toPrecision(2)} % of the update unexplained`,
          state.iteration / iterations,
          state.images,
        );
      }
      await pause();
    });
    return { ...found, labels, finalError: await errorOf(task, labels, found.images, engine) };
  } finally {
    await client.dispose();
  }
}

/**
 * Relative distance of the captured update and that of images in batches as stated, in the order in which they come.
 *
 * @param images N x d
 * @param labels class of each
 */
export async function errorOf(
  task: ClientTask,
  labels: readonly number[],
  images: Float64Array,
  engine: Engine,
): Promise<number> {
  const { rate, epochs, size, samples } = task.training;
  const client = await made(task, inBatches(samples, size, epochs, rate), labels, engine);
  try {
    const states = await client.states(images, () => Promise.resolve());
    const [reached = task.start] = states.slice(-1);
    return distanceOf(task.start, reached, task.update).error;
  } finally {
    await client.dispose();
  }
}

function made(
  task: ClientTask,
  steps: readonly LocalStep[],
  labels: readonly number[],
  engine: Engine,
): Promise<SimulatedClient> {
  return simulatedClient(task.start, steps, oneHot(labels, task.classes), task.classes, task.stepOf, (outputs) =>
    engine.compile(outputs),
  );
}
