import { normalisationFor } from '../../facts/capture.js';
import type { Facts } from '../../facts/facts.js';
import { CAPTURE, MATCHING, UPDATE } from '../../facts/update.js';
import { foldConstant } from '../../graph/evaluate.js';
import type { TensorData } from '../../graph/tensor-graph.js';
import type { NetworkHints } from '../../network/built-in.js';
import { RecipeError } from '../../network/layers/layer-rule.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { StoredTensor, TensorLookup } from '../../network/network-graph.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import type { Normalisation } from '../../protocol/normalisations.js';
import type { NetworkReport } from '../../protocol/report.js';
import type { Weights } from '../../recovery/simulated-client/client.js';
import { type StepGraph, stepGraph } from '../../recovery/simulated-client/step-graph.js';
import { findNetwork } from '../input/network-source.js';
import { networkTensors } from '../input/network-tensors.js';
import type { LocalTraining } from './local-training.js';

/** From files to what a simulation starts from and has to end at. */

export interface ClientTask {
  readonly training: LocalTraining;
  readonly classes: number;
  /** Of one input. */
  readonly shape: readonly number[];
  readonly bounds: readonly (readonly [number, number])[];
  readonly normalisation: Normalisation | undefined;
  readonly start: Weights;
  /** Weights after minus weights before. */
  readonly update: Weights;
  /** Root mean square of what each number of the update errs by, as the weights are stored. */
  readonly absoluteError: number;
  readonly stepOf: (batch: number) => StepGraph;
  readonly network: NetworkReport;
}

/**
 * @returns a sentence where no network is known, or none fits
 * @throws UnusableInputError for a network that the user gave and that cannot be used
 */
export async function clientTask(
  facts: Facts,
  request: ReconstructionRequest,
  training: LocalTraining,
  pause: () => Promise<void>,
): Promise<ClientTask | string> {
  const { checkpoint, gradients } = facts.given;
  const { sign, absoluteError } = await facts.get(UPDATE);
  const matching = await facts.get(MATCHING);
  const capture = await facts.get(CAPTURE);
  const inputShape = request.inputShape ?? capture?.inputShape;
  const hints: NetworkHints = inputShape ? { inputShape } : {};
  const network = await findNetwork(request.model, checkpoint, gradients, hints, pause);
  const cache = new Map<string, StoredTensor>();
  const problems: string[] = [];
  for (const candidate of network.candidates) {
    const { parameter, gradient, captured } = networkTensors(
      candidate.recipe,
      checkpoint,
      gradients,
      matching,
      network.own,
      cache,
    );
    const mode = capture?.mode ?? 'train';
    const statistics = statisticsOf(candidate.recipe);
    const trained = captured.filter((name) => !statistics.has(name));
    const stepOf = (batch: number): StepGraph =>
      stepGraph(foldConstant, candidate.recipe, parameter, trained, batch, mode);
    try {
      // One sample is enough to see whether layers and weights fit.
      const { classes, slope } = stepOf(1);
      const normalisation = normalisationFor(request, capture);
      return {
        training,
        classes,
        shape: slope.shape.slice(1),
        bounds: boundsOf(slope.shape.slice(1), normalisation),
        normalisation,
        start: dataOf(trained, parameter).map((data) => Float32Array.from(data)),
        // The update of a several-step difference is as it was captured; its sign says which of the weights came first.
        update: dataOf(trained, gradient).map((data) => (sign === -1 ? data : data.map((value) => -value))),
        absoluteError: absoluteError ?? 0,
        stepOf,
        network: {
          source: network.source,
          file: network.file,
          name: candidate.name,
          inputShape: [...candidate.recipe.input],
          layers: candidate.recipe.layers.length,
          normMode: candidate.recipe.layers.some(({ op }) => op === 'batch-norm') ? mode : null,
          reasons: [...network.reasons],
        },
      };
    } catch (error) {
      if (!(error instanceof RecipeError || error instanceof RangeError)) {
        throw error;
      }
      problems.push(error.message);
    }
  }
  return problems.length > 0
    ? `No network fits the checkpoint: ${problems[0]}. Give it as ONNX, Keras model or recipe.`
    : [
        'The network is not known: a checkpoint holds no graph, and this one is not recognised. Give it as ONNX, Keras model or recipe.',
        ...network.reasons.slice(0, -1),
      ].join(' ');
}

/** Each trained weight has both, by what `captured` is. */
function dataOf(names: readonly string[], lookup: TensorLookup): TensorData[] {
  return names.flatMap((name) => lookup(name)?.data ?? []);
}

/** What training changes without a gradient. */
function statisticsOf({ layers }: Recipe): Set<string> {
  return new Set(
    layers.flatMap((layer) =>
      layer.op === 'batch-norm' ? [layer.mean, layer.variance].filter((name) => name !== undefined) : [],
    ),
  );
}

/** Pixels lie between 0 and 1 before they are normalised. */
function boundsOf(shape: readonly number[], normalisation: Normalisation | undefined): [number, number][] {
  const channels = shape.length === 3 ? (shape[0] ?? 1) : 1;
  return Array.from({ length: channels }, (_, channel): [number, number] => {
    const mean = normalisation?.mean[channel] ?? normalisation?.mean[0] ?? 0;
    const deviation = normalisation?.std[channel] ?? normalisation?.std[0] ?? 1;
    return [-mean / deviation, (1 - mean) / deviation];
  });
}
