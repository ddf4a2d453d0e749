import { chooseEngine } from '../../engine/choose.js';
import type { Facts } from '../../facts/facts.js';
import { MATCHING } from '../../facts/update.js';
import { elementCount } from '../../formats/tensor-file.js';
import { sizeOf, workOf } from '../../graph/tensor-graph.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import { CLIENT_COUNTS, type ClientCounts } from '../client-labels/client-counts.js';
import { classNamer } from '../head/head-methods.js';
import { noEngine } from '../input/no-engine.js';
import { preview } from '../input/preview.js';
import type { Context, Leak, Method, MethodResult } from '../method.js';
import { clientTasks } from './client-task.js';
import { inRows } from './image-rows.js';
import { explainsAnything, percent, searchedLeak } from './searched-leak.js';
import { type Reached, searchClient } from './search-client.js';

/** Images whose simulated training ends where the client's did, for clients of several steps and epochs. */
export const simulatedClient: Method = {
  id: 'simulated-client',
  title: 'Images of a client, by simulating its training',
  assumes:
    'the client trained as it is stated, by plain SGD from these weights on the mean cross-entropy of each batch, every sample once in each epoch; classes occur as often as was estimated; and images are mostly smooth.',
  cites:
    'Dimitrov, Balunović, Konstantinov and Vechev, TMLR 2022, for simulating the client; searching in several orders is ours',
  cost: 'min',
  kinds: ['several-steps'],
  async applies(facts) {
    const wanted = facts.given.request.reconstruction;
    if (!wanted || wanted.attack === 'none' || wanted.attack === 'chain') {
      return null;
    }
    const found = await facts.get(CLIENT_COUNTS);
    return 'why' in found
      ? 'It needs a training by plain SGD that is stated in full, and a head that tells how often classes occur; what is missing is said of the classes.'
      : (whyNot(facts, found) ?? true);
  },
  async run(facts, context) {
    const known = picturesIn(context.leaks);
    const wanted = facts.given.request.reconstruction;
    const found = await facts.get(CLIENT_COUNTS);
    if (!('why' in found) && known >= found.training.samples) {
      return none('Images of all samples were computed one by one, which says more than a search.');
    }
    return 'why' in found || !wanted
      ? none('why' in found ? found.why : 'No reconstruction was asked for.')
      : searched(facts, context, wanted, found);
  },
};

/** Numbers of all weights in all states: 1 GiB in single precision. */
const MOST_NUMBERS = 2 ** 28;
const MOST_STEPS = 1000;
const MOST_SAMPLES = 1024;
/** Of all images together. */
const MOST_PIXELS = 2 ** 24;
const PREVIEW_EVERY_MS = 350;

function picturesIn(leaks: readonly Leak[]): number {
  return leaks.flatMap(({ details }) => details).filter(({ type }) => type === 'picture').length;
}

function none(detail: string): MethodResult {
  return { outcome: 'not-applicable', detail, leaks: [] };
}

function whyNot(facts: Facts, { training, steps, counts }: ClientCounts): string | undefined {
  if (training.momentum > 0 || facts.given.origin?.decay) {
    return 'The client is simulated by plain SGD, without momentum and weight decay.';
  }
  if (steps > MOST_STEPS) {
    return `A client of ${steps} steps is not simulated, of at most ${MOST_STEPS}.`;
  }
  if (training.samples > MOST_SAMPLES) {
    return `A client of ${training.samples} samples is not simulated, of at most ${MOST_SAMPLES}.`;
  }
  return counts.reduce((sum, own) => sum + own, 0) === training.samples
    ? undefined
    : 'The classes that were estimated do not sum to the samples.';
}

async function searched(
  facts: Facts,
  context: Context,
  wanted: ReconstructionRequest,
  { training, steps, counts }: ClientCounts,
): Promise<MethodResult> {
  // Before any of it is read.
  const { pairs } = await facts.get(MATCHING);
  const numbers = pairs.reduce((sum, { parameter }) => sum + elementCount(parameter.shape), 0);
  if (numbers * (steps + 1) > MOST_NUMBERS) {
    return none(
      `The weights at each of ${steps} steps are ${(numbers * (steps + 1)).toExponential(1)} numbers, more than are kept at a time.`,
    );
  }
  context.progress('Building the client’s training', 0);
  const { tasks, problem } = await clientTasks(facts, wanted, () => context.pause());
  const [first] = tasks;
  if (!first) {
    return none(`No client was simulated: ${problem}.`);
  }
  const pixels = training.samples * Math.max(...tasks.map(({ shape }) => sizeOf(shape)));
  if (pixels > MOST_PIXELS) {
    return none(
      `The client's images have ${pixels.toExponential(1)} numbers together, more than are searched at a time.`,
    );
  }
  context.progress('Comparing networks and weights of the prior', 0);
  const { next, adjoints, slope } = first.stepOf(Math.min(training.batchSize, training.samples));
  const { engine, reasons } = await chooseEngine(wanted.engine, workOf([...next, ...adjoints, slope]), {
    tfjsFolder: wanted.tfjsFolder,
  }).catch(noEngine);
  let lastPreview = 0;
  const tell = async (reached: Reached | undefined): Promise<void> => {
    const now = performance.now();
    if (reached && now - lastPreview > PREVIEW_EVERY_MS) {
      lastPreview = now;
      tellProgress(reached);
    }
    await context.pause();
  };
  try {
    const { learningRate: rate, samples, batchSize, epochs } = training;
    const stated = { samples, batchSize, epochs, steps, rate };
    const found = await searchClient(tasks, counts, stated, engine, wanted.timeLimitSeconds, tell);
    if (!found) {
      return none(
        `Searches of this client would take longer than the ${wanted.timeLimitSeconds} s that a reconstruction may take.`,
      );
    }
    if (!explainsAnything(found)) {
      return {
        outcome: 'nothing',
        detail: found.stopped
          ? `It was stopped early, when ${percent(found.error)} of the update was still unexplained.`
          : `No images were found whose training ends near the client's: ${percent(found.error)} of the update stays unexplained.`,
        leaks: [],
        ...(found.stopped ? { stopped: true } : {}),
      };
    }
    return {
      outcome: 'estimated',
      detail: `Images were searched that leave ${percent(found.error)} of the update unexplained; nothing confirms them.`,
      leaks: [searchedLeak(found, stated, await classNamer(facts))],
      network: found.task.network,
      engine: { id: engine.id, description: engine.description, reasons: [...reasons] },
      ...(found.stopped ? { stopped: true } : {}),
    };
  } finally {
    await engine.dispose();
  }

  function tellProgress({ task, search, of, iteration, iterations, error, images, secondsLeft }: Reached): void {
    const rows = inRows(images, task.shape);
    context.progress(
      `Simulating the client, search ${search + 1} of ${of}: iteration ${iteration} of ${iterations}, ${percent(error)} of the update unexplained`,
      (search + iteration / iterations) / of,
      {
        sample: 0,
        method: 'matching',
        restart: search,
        iteration,
        of: iterations,
        loss: error * error,
        secondsLeft,
        caption: 'So far',
        preview: preview(rows.data, rows.shape, {
          ...wanted,
          ...(task.normalisation ? { normalisation: task.normalisation } : {}),
        }),
      },
    );
  }
}
