import { normalisationFor } from '../../facts/capture.js';
import { DIRECTED } from '../../facts/directed-update.js';
import type { Facts } from '../../facts/facts.js';
import { CAPTURE, MATCHING } from '../../facts/update.js';
import { foldConstant } from '../../graph/evaluate.js';
import { RecipeError } from '../../network/layers/layer-rule.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { StoredTensor } from '../../network/network-graph.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import { NORMALISATIONS, type Normalisation } from '../../protocol/normalisations.js';
import type { NetworkReport } from '../../protocol/report.js';
import type { Weights } from '../../recovery/simulated-client/client.js';
import { type StepGraph, stepGraph } from '../../recovery/simulated-client/step-graph.js';
import { findNetwork } from '../input/network-source.js';
import { networkTensors } from '../input/network-tensors.js';

/** From files to what a simulation starts from and has to end at. */
export interface ClientTask {
  readonly classes: number;
  /** Channels, height, width of one input. */
  readonly shape: readonly number[];
  /** Lowest and highest value of each channel, in the network's units. */
  readonly bounds: readonly (readonly [number, number])[];
  /** By which the bounds were made; undefined for inputs between 0 and 1. */
  readonly normalisation: Normalisation | undefined;
  /** Whether somebody said how inputs are normalised, or not at all. */
  readonly isRangeStated: boolean;
  readonly start: Weights;
  /** Weights after minus weights before. */
  readonly update: Weights;
  readonly stepOf: (batch: number) => StepGraph;
  readonly network: NetworkReport;
}

export interface ClientTasks {
  /** One for each network and range of inputs that fit; what explains most is taken. */
  readonly tasks: readonly ClientTask[];
  /** Why there are none. */
  readonly problem: string;
}

const MOST_NETWORKS = 4;

/** @throws UnusableInputError for a network that the user gave and that cannot be used */
export async function clientTasks(
  facts: Facts,
  request: ReconstructionRequest,
  pause: () => Promise<void>,
): Promise<ClientTasks> {
  const { checkpoint } = facts.given;
  const { gradients } = await facts.get(DIRECTED);
  const matching = await facts.get(MATCHING);
  const capture = await facts.get(CAPTURE);
  const inputShape = request.inputShape ?? capture?.inputShape;
  const source = await findNetwork(request.model, checkpoint, gradients, inputShape ? { inputShape } : {}, pause);
  const stated = normalisationFor(request, capture);
  const isRangeStated = stated !== undefined || request.normalisation === null;
  const cache = new Map<string, StoredTensor>();
  const tasks: ClientTask[] = [];
  let problem = 'no network is known for these weights; give it as ONNX, Keras model or recipe';
  for (const { name, recipe } of source.candidates.slice(0, MOST_NETWORKS)) {
    if (recipe.input.length !== 3) {
      problem = 'its inputs are no images';
      continue;
    }
    const { parameter, gradient, captured } = networkTensors(
      recipe,
      checkpoint,
      gradients,
      matching,
      source.own,
      cache,
    );
    const statistics = statisticsOf(recipe);
    // What did not change at all was not trained.
    const trained = captured.filter(
      (own) => !statistics.has(own) && gradient(own)?.data.some((value) => value !== 0) === true,
    );
    const mode = capture?.mode ?? 'train';
    const stepOf = (batch: number): StepGraph => stepGraph(foldConstant, recipe, parameter, trained, batch, mode);
    try {
      // One sample is enough to see whether layers and weights fit.
      const { classes } = stepOf(1);
      const start = trained.map((own) => Float32Array.from(parameter(own)?.data ?? []));
      const update = trained.map((own) => (gradient(own)?.data ?? new Float64Array(0)).map((value) => -value));
      const network: NetworkReport = {
        source: source.source,
        file: source.file,
        name,
        inputShape: [...recipe.input],
        layers: recipe.layers.length,
        normMode: recipe.layers.some(({ op }) => op === 'batch-norm') ? mode : null,
        reasons: [...source.reasons],
      };
      for (const normalisation of isRangeStated ? [stated] : rangesOf(recipe)) {
        const bounds = boundsOf(recipe.input, normalisation);
        tasks.push({
          classes,
          shape: recipe.input,
          bounds,
          normalisation,
          isRangeStated,
          start,
          update,
          stepOf,
          network,
        });
      }
    } catch (error) {
      if (!(error instanceof RecipeError || error instanceof RangeError)) {
        throw error;
      }
      problem = error.message.replace(/\.$/, '');
    }
  }
  return { tasks, problem };
}

/** What training changes without a gradient. */
function statisticsOf({ layers }: Recipe): Set<string> {
  return new Set(
    layers.flatMap((layer) =>
      layer.op === 'batch-norm' ? [layer.mean, layer.variance].filter((name) => name !== undefined) : [],
    ),
  );
}

/** Where nobody says how inputs were normalised: not at all, or as a well-known dataset; greys around their middle. */
function rangesOf({ input: [channels] }: Recipe): (Normalisation | undefined)[] {
  const known = Object.values(NORMALISATIONS).filter(({ mean }) => mean.length === channels);
  return [
    undefined,
    { mean: new Array<number>(channels ?? 1).fill(0.5), std: new Array<number>(channels ?? 1).fill(0.5) },
    ...known.slice(0, 1),
  ];
}

/** Pixels lie between 0 and 1 before they are normalised. */
function boundsOf([channels = 1]: readonly number[], normalisation: Normalisation | undefined): [number, number][] {
  return Array.from({ length: channels }, (_, channel): [number, number] => {
    const mean = normalisation?.mean[channel] ?? normalisation?.mean[0] ?? 0;
    const deviation = normalisation?.std[channel] ?? normalisation?.std[0] ?? 1;
    return [-mean / deviation, (1 - mean) / deviation];
  });
}
