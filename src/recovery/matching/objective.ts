import { gradients } from '../../graph/derivative.js';
import { type TensorData, type TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import { logSoftmax } from '../../network/layers/activations.js';
import { type NetworkGraph, type TensorLookup, crossEntropy } from '../../network/network-graph.js';
import type { MatchingSettings } from './presets.js';

/** The matching step as one graph: forward, parameter gradients, distance to the captured ones, gradient to the input. */

export interface CapturedGradient {
  readonly parameter: string;
  readonly data: TensorData;
}

export interface Known {
  /** batch x classes; the start of the search when labels are free. */
  readonly labels: Float64Array;
  readonly classes: number;
  /** batch x d, of the samples whose feature was recovered; undefined without any. */
  readonly features: Float64Array | undefined;
  /** The captured gradient is this many times what a plain mean cross-entropy gives. */
  readonly scale: number;
  /**
   * dloss/dlogits as captured, of each sample: where a prediction is so sure that p - y was rounded in float32, all layers' gradients are
   * of the rounded one. Undefined for a sample, or for all, where it follows from labels and scale.
   */
  readonly logitGradients?: readonly (Float64Array | undefined)[] | undefined;
}

export interface MatchingGraph {
  readonly loss: TensorNode;
  /** The part of the loss that compares with captured values, without priors. */
  readonly misfit: TensorNode;
  /** dloss/dx, and dloss/dlogits of the labels when they are free. */
  readonly slopes: readonly TensorNode[];
}

const TINY = 1e-20;

/**
 * @param feature node of the head's input, batch x d
 * @param lookup finds the running statistics of batch normalisation
 * @throws RangeError when no captured gradient belongs to a parameter of the network
 */
export function matchingGraph(
  g: TensorGraph,
  network: NetworkGraph,
  feature: TensorNode | undefined,
  captured: readonly CapturedGradient[],
  known: Known,
  settings: MatchingSettings,
  lookup: TensorLookup,
): MatchingGraph {
  const batch = network.input.shape[0]!;
  const free = settings.labels === 'free';
  const labelShape = [batch, known.classes];
  const labelLogits = free ? g.variable('y', labelShape) : undefined;
  const loss = labelLogits
    ? g.scale(crossEntropy(g, network.logits, g.unary('exp', logSoftmax(g, labelLogits, 1))), known.scale)
    : knownLoss(g, network, known);
  const used = captured.flatMap(({ parameter, data }) => {
    const node = network.parameters.get(parameter);
    return node ? [{ node, data }] : [];
  });
  if (used.length === 0) {
    throw new RangeError('No captured gradient belongs to a parameter of the network.');
  }
  const simulated = gradients(
    g,
    loss,
    used.map(({ node }) => node),
  );
  const targets = used.map(({ node, data }) => g.constant(data, node.shape));
  let misfit = g.scalar(0);
  if (settings.terms !== 'f') {
    misfit =
      settings.distance === 'l2' ? squaredDistance(g, simulated, targets) : cosineDistance(g, simulated, targets);
  }
  if (settings.terms !== 'g' && feature && known.features) {
    const target = g.constant(known.features, feature.shape);
    const term =
      settings.distance === 'l2' ? squaredDistance(g, [feature], [target]) : cosineDistance(g, [feature], [target]);
    misfit = g.add(misfit, g.scale(term, settings.featureWeight));
  }
  let total = misfit;
  if (settings.totalVariation > 0 && network.input.shape.length === 4) {
    total = g.add(total, g.scale(totalVariation(g, network.input), settings.totalVariation));
  }
  if (settings.normPrior > 0) {
    total = g.add(total, g.scale(normDistance(g, network, lookup), settings.normPrior));
  }
  const slopes = gradients(g, total, labelLogits ? [network.input, labelLogits] : [network.input]);
  return { loss: total, misfit, slopes };
}

/** Parameter gradients that an input has under the known labels, in the order of `captured`: what certifies it. */
export function simulatedGradients(
  g: TensorGraph,
  network: NetworkGraph,
  captured: readonly CapturedGradient[],
  known: Known,
): TensorNode[] {
  return gradients(
    g,
    knownLoss(g, network, known),
    captured.map(({ parameter }) => network.parameters.get(parameter)!),
  );
}

/** What has the gradients that the samples' losses have together, under their labels or under dloss/dlogits as captured. */
function knownLoss(
  g: TensorGraph,
  { input, logits }: NetworkGraph,
  { labels, classes, scale, logitGradients }: Known,
): TensorNode {
  const shape = [input.shape[0]!, classes];
  const isAsCaptured = (at: number): boolean => logitGradients?.[Math.floor(at / classes)] !== undefined;
  // A row of zeros adds nothing to a cross-entropy.
  const followed = labels.map((own, at) => (isAsCaptured(at) ? 0 : own));
  const byLabels = g.scale(crossEntropy(g, logits, g.constant(followed, shape)), scale);
  if (!logitGradients?.some((own) => own !== undefined)) {
    return byLabels;
  }
  const fixed = Float64Array.from(labels, (_, at) => logitGradients[Math.floor(at / classes)]?.[at % classes] ?? 0);
  const asCaptured = g.total(g.mul(logits, g.constant(fixed, shape)));
  return followed.some((own) => own !== 0) ? g.add(asCaptured, byLabels) : asCaptured;
}

function squaredDistance(g: TensorGraph, found: readonly TensorNode[], wanted: readonly TensorNode[]): TensorNode {
  return found
    .map((node, index) => g.total(g.square(g.sub(node, wanted[index]!))))
    .reduce((sum, one) => g.add(sum, one));
}

function cosineDistance(g: TensorGraph, found: readonly TensorNode[], wanted: readonly TensorNode[]): TensorNode {
  const sum = (nodes: TensorNode[]): TensorNode => nodes.reduce((all, one) => g.add(all, one));
  const product = sum(found.map((node, index) => g.total(g.mul(node, wanted[index]!))));
  const own = sum(found.map((node) => g.total(g.square(node))));
  const other = sum(wanted.map((node) => g.total(g.square(node))));
  const norms = g.unary('sqrt', g.add(g.mul(own, other), g.scalar(TINY)));
  return g.sub(g.scalar(1), g.div(product, norms));
}

/** mean |dx| + mean |dy| (anisotropic). */
function totalVariation(g: TensorGraph, x: TensorNode): TensorNode {
  const difference = (axis: number): TensorNode | undefined => {
    const shape = x.shape.map((size, at) => (at === axis ? size - 1 : size));
    if (sizeOf(shape) === 0) {
      return undefined;
    }
    const later = g.slice(
      x,
      x.shape.map((_, at) => (at === axis ? 1 : 0)),
      shape,
    );
    const earlier = g.slice(
      x,
      x.shape.map(() => 0),
      shape,
    );
    return g.scale(g.total(g.unary('abs', g.sub(later, earlier))), 1 / sizeOf(shape));
  };
  return [difference(2), difference(3)]
    .filter((node) => node !== undefined)
    .reduce((sum, one) => g.add(sum, one), g.scalar(0));
}

/** Sum over layers of the squared distances of batch mean and variance to the running ones (Yin et al., CVPR 2021). */
function normDistance(g: TensorGraph, network: NetworkGraph, lookup: TensorLookup): TensorNode {
  let total = g.scalar(0);
  for (const { input, mean, variance } of network.normalised) {
    const channels = input.shape[1]!;
    const axes = [0, ...input.shape.slice(2).map((_, axis) => axis + 2)];
    const shape = input.shape.map((_, axis) => (axis === 1 ? channels : 1));
    const own = g.mean(input, axes);
    const spread = g.mean(g.square(g.sub(input, own)), axes);
    for (const [found, name] of [
      [own, mean],
      [spread, variance],
    ] as const) {
      const stored = lookup(name);
      if (stored) {
        total = g.add(total, g.total(g.square(g.sub(found, g.constant(stored.data, shape)))));
      }
    }
  }
  return total;
}
