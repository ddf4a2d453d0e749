import { chooseEngine } from '../../engine/choose.js';
import type { Facts } from '../../facts/facts.js';
import { sizeOf, workOf } from '../../graph/tensor-graph.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import { counted } from '../../words/count-words.js';
import { CLIENT_COUNTS, type ClientCounts } from '../client-labels/client-counts.js';
import { classNamer } from '../head/head-methods.js';
import { noEngine } from '../input/no-engine.js';
import { preview } from '../input/preview.js';
import type { Context, Method, MethodResult } from '../method.js';
import { type ClientTask, clientTasks } from './client-task.js';
import { inRows } from './image-rows.js';
import { agreedOn, explainsAnything, percent, searchedLeak } from './searched-leak.js';
import { type FoundClient, type Reached, searchClient } from './search-client.js';

/** Images whose simulated training ends where the client's did, for clients of several steps and epochs. */
export const simulatedClient: Method = {
  id: 'simulated-client',
  title: 'Images of a client, by simulating its training',
  assumes:
    'the client trained as it is stated, by plain SGD from these weights on the mean cross-entropy of each batch, every sample once in each epoch; classes occur as often as was estimated; and images are mostly smooth.',
  cites:
    'Dimitrov, Balunović, Konstantinov and Vechev, TMLR 2022, for simulating the client; that searches in different orders must agree is ours',
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
    if (context.leaks.some(({ details }) => details.some(({ type }) => type === 'picture'))) {
      return none('Images were computed sample by sample, which says more than a search.');
    }
    const wanted = facts.given.request.reconstruction;
    const found = await facts.get(CLIENT_COUNTS);
    return 'why' in found || !wanted
      ? none('why' in found ? found.why : 'No reconstruction was asked for.')
      : searched(facts, context, wanted, found);
  },
};

/** Numbers of all weights in all states: 1 GiB in single precision. */
const MOST_NUMBERS = 2 ** 28;
const MOST_STEPS = 1000;
const PREVIEW_EVERY_MS = 350;

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
  context.progress('Building the client’s training', 0);
  const { tasks, problem } = await clientTasks(facts, wanted, () => context.pause());
  const [first] = tasks;
  if (!first) {
    return none(`No client was simulated: ${problem}.`);
  }
  const numbers = first.start.reduce((sum, { length }) => sum + length, 0);
  if (numbers * (steps + 1) > MOST_NUMBERS) {
    return none(
      `The weights at each of ${steps} steps are ${(numbers * (steps + 1)).toExponential(1)} numbers, more than are kept at a time.`,
    );
  }
  const size = sizeOf(first.shape);
  const { next, adjoints, slope } = first.stepOf(Math.min(training.batchSize, training.samples));
  const { engine, reasons } = await chooseEngine(wanted.engine, workOf([...next, ...adjoints, slope]), {
    tfjsFolder: wanted.tfjsFolder,
  }).catch(noEngine);
  let lastPreview = 0;
  const tell = async (reached: Reached | undefined): Promise<void> => {
    const now = performance.now();
    if (reached && now - lastPreview > PREVIEW_EVERY_MS) {
      lastPreview = now;
      tellProgress(context, first, reached, training.samples, size);
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
        detail: `No images were found whose training ends near the client's: ${percent(found.error)} of the update stays unexplained.`,
        leaks: [],
        ...(found.stopped ? { stopped: true } : {}),
      };
    }
    return {
      ...resultOf(found, samples),
      leaks: [searchedLeak(found, stated, await classNamer(facts))],
      network: found.task.network,
      engine: { id: engine.id, description: engine.description, reasons: [...reasons] },
      ...(found.stopped ? { stopped: true } : {}),
    };
  } finally {
    await engine.dispose();
  }

  function tellProgress(to: Context, task: ClientTask, reached: Reached, samples: number, each: number): void {
    const { search, of, iteration, iterations, error, images, secondsLeft } = reached;
    const rows = inRows(images.subarray(0, samples * each), task.shape);
    to.progress(
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
        preview: preview(rows.data, rows.shape, wanted),
      },
    );
  }
}

function resultOf(found: FoundClient, samples: number): Pick<MethodResult, 'outcome' | 'detail'> {
  const agreed = agreedOn(found).filter(Boolean).length;
  const left = `${percent(found.error)} of the update unexplained`;
  return agreed > 0
    ? {
        outcome: 'found',
        detail: `Searches in different orders of samples agree on ${agreed} of ${counted(samples, 'image')}, and leave ${left}.`,
      }
    : {
        outcome: 'estimated',
        detail: `Images were searched that leave ${left}; nothing confirms them.`,
      };
}
