import type { Matching } from '../../facts/matching.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import { foldConstant } from '../../graph/evaluate.js';
import { TensorGraph } from '../../graph/tensor-graph.js';
import type { Candidate } from '../../network/built-in.js';
import { type NormMode, RecipeError } from '../../network/layers/layer-rule.js';
import { type NetworkGraph, type StoredTensor, buildNetwork } from '../../network/network-graph.js';
import { detectNormMode, fitsGroups } from '../../network/norm-mode.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { ReconstructionRequest } from '../../protocol/audit-request.js';
import { UnusableInputError } from '../../protocol/errors.js';
import type { NetworkReport } from '../../protocol/report.js';
import type { HeadGradient } from '../../recovery/head-gradient.js';
import type { NetworkSource } from './network-source.js';
import { type NetworkTensors, networkTensors } from './network-tensors.js';

/** From the networks that a checkpoint may be of to graphs that can be computed. */

/** What it takes to put a network together and compare it with its gradient. */
export interface NetworkTask {
  readonly request: ReconstructionRequest;
  readonly network: NetworkSource;
  readonly checkpoint: TensorFile;
  readonly gradients: TensorFile;
  readonly matching: Matching;
  readonly headWeight: string;
  readonly head: HeadGradient;
  readonly normMode: NormMode | undefined;
  /** Standard deviation of what every number errs by beside its own rounding, as those of a difference of weights do. */
  readonly absoluteError: number;
  /** A best guess is asked for: nothing that the gradient says against the network counts. */
  readonly isGuess?: boolean;
}

/** A candidate network that fits its checkpoint, ready to be computed. */
export interface Prepared {
  readonly candidate: Candidate;
  readonly graph: TensorGraph;
  readonly net: NetworkGraph;
  readonly tensors: NetworkTensors;
  readonly head: number;
  readonly mode: NormMode | null;
  /** Whether filters and gradients show its groups of channels; undefined where nothing tells. */
  readonly isGrouped: boolean | undefined;
}

/** @throws UnusableInputError when no candidate fits; its message is the first one's */
export function prepareAll(task: NetworkTask): Prepared[] {
  const failures: string[] = [];
  const prepared: Prepared[] = [];
  const cache = new Map<string, StoredTensor>();
  for (const candidate of task.network.candidates) {
    try {
      prepared.push(prepare(task, candidate, cache));
    } catch (error) {
      if (!(error instanceof RecipeError)) {
        throw error;
      }
      failures.push(error.message);
    }
  }
  if (prepared.length === 0) {
    throw new UnusableInputError({
      code: 'bad-network',
      file: task.network.file ?? task.checkpoint.path,
      found: failures[0] ?? 'no network',
      expected: `layers that fit the tensors of ${task.checkpoint.path}`,
      advice:
        task.network.file === null
          ? 'Give the network (ONNX, Keras or a recipe), or the shape of one input.'
          : 'Correct the file, or give another.',
      next: ['choose-network', 'choose-input-shape', 'labels-only'],
    });
  }
  return prepared;
}

function prepare(task: NetworkTask, candidate: Candidate, cache: Map<string, StoredTensor>): Prepared {
  const tensors = networkTensors(
    candidate.recipe,
    task.checkpoint,
    task.gradients,
    task.matching,
    task.network.own,
    cache,
  );
  // A network that was given is taken as it is; of those that names and shapes leave open, the numbers choose.
  const isGrouped = fitsGroups(candidate.recipe, tensors.parameter, tensors.gradient);
  if (task.network.source === 'built-in' && isGrouped === false && !task.isGuess) {
    throw new RecipeError(
      'filters and gradients are orthogonal over no grouping of its normalisation, or noise hides it',
    );
  }
  const mode = task.normMode ?? detectNormMode(candidate.recipe, tensors.parameter, tensors.gradient);
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, candidate.recipe, tensors.parameter, 1, mode ?? 'eval');
  const head = linearLayer(candidate.recipe, task.headWeight);
  if (head === undefined) {
    throw new RecipeError(`no layer of the network uses the head "${task.headWeight}"`);
  }
  if (net.logits.shape[1] !== task.head.weight.rows) {
    throw new RecipeError(
      `the network gives out ${net.logits.shape[1] ?? 0} numbers for ${task.head.weight.rows} classes`,
    );
  }
  return { candidate, graph, net, tensors, head, mode, isGrouped };
}

/** Index of the fully connected layer of a weight, whose name may have a prefix on either side. */
export function linearLayer({ layers }: Recipe, weight: string): number | undefined {
  const same = (name: string): boolean => name === weight || weight.endsWith(`.${name}`) || name.endsWith(`.${weight}`);
  const index = layers.findLastIndex(
    (layer) => layer.op === 'linear' && same(layer.weight.replaceAll('/', '.').replace(/:0$/, '')),
  );
  const slashed = layers.findLastIndex(
    (layer) => layer.op === 'linear' && weight.replace(/:0$/, '').endsWith(layer.weight),
  );
  const found = Math.max(index, slashed);
  return found < 0 ? undefined : found;
}

/** Shape of each layer's output, one sample. */
export function outputShapesOf({ net }: Pick<Prepared, 'net'>): number[][] {
  return net.outputs.map(({ shape }) => shape.slice(1));
}

export function describeNetwork(
  { network, request }: NetworkTask,
  { candidate, mode, isGrouped }: Prepared,
): NetworkReport {
  const normed = candidate.recipe.layers.some(({ op }) => op === 'batch-norm');
  const reasons = [...network.reasons];
  const isOfGroups = network.candidates.some(({ recipe }) => recipe.layers.some(({ op }) => op === 'group-norm'));
  if (network.candidates.length > 1 && isGrouped === true) {
    reasons.push(
      'how channels are grouped was told from filters and gradients, which are orthogonal over each group and over no finer one that was tried',
    );
  } else if (network.candidates.length > 1 && !isOfGroups) {
    reasons.push(
      request.attack === 'matching'
        ? `${network.candidates.length} networks fit these names and shapes; "${candidate.name}", the most usual one, was taken`
        : `${network.candidates.length} networks fit these names and shapes; "${candidate.name}" was taken: its simulated gradient comes nearest`,
    );
  }
  if (normed && mode !== null) {
    reasons.push(
      `batch normalisation ran in ${mode} mode: filters and their gradients are ${mode === 'train' ? '' : 'not '}orthogonal`,
    );
  }
  return {
    source: network.source,
    file: network.file,
    name: candidate.name,
    inputShape: [...candidate.recipe.input],
    layers: candidate.recipe.layers.length,
    normMode: normed ? (mode ?? 'eval') : null,
    reasons,
  };
}
