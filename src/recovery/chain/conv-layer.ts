import { convolveFilter, convolveInput } from '../../graph/convolution.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT } from '../../network/layer-graph.js';
import { geometryOf } from '../../network/layers/conv.js';
import { toOihw } from '../axes.js';
import type { ConvLayer } from '../../network/layers/recipe.js';
import type { ChainProblem, LayerEvidence, NodeEstimate, Precision } from './chain-state.js';
import { MOST_UNKNOWNS, type SolvedSystem, solveConv } from './conv-system.js';
import type { Inverted, Place, SolvingRule } from './inverse-rule.js';
import { channelSums, relativeDistance, rootMeanSquare } from './sums.js';

/** The input of a convolution. */

/** Inputs of networks are normalised: about mean 0, deviation 1. */
const INPUT_PRIOR = { mean: 0, deviation: 2 };

export const convInverse: SolvingRule<'conv'> = {
  solves: true,
  obstacle({ problem, layer, inputShapes: [shape] }) {
    if (!problem.gradient(layer.weight)) {
      return `the dump holds no gradient of "${layer.weight}"`;
    }
    const unknowns = sizeOf(shape!);
    return unknowns > MOST_UNKNOWNS
      ? `${unknowns} unknowns are more than the ${MOST_UNKNOWNS} that the exact method takes`
      : undefined;
  },
  invert: solveConvLayer,
};

async function solveConvLayer(place: Place<'conv'>): Promise<Inverted> {
  const { problem, layer, index, product } = place;
  const state = place.output!;
  const { precision } = problem;
  const { data: filter, shape: filterShape } = toOihw(problem.parameter(layer.weight)!, layer);
  const { data: gradient } = toOihw(problem.gradient(layer.weight)!, layer);
  const inputShape = [1, ...place.inputShapes[0]!];
  const geometry = geometryOf(layer, [inputShape[2]!, inputShape[3]!], [filterShape[2]!, filterShape[3]!]);
  const channels = filterShape[0]!;
  const plane = state.values.length / channels;
  const outputShape = [1, ...problem.outputShapes[index]!];
  const bias = layer.bias === undefined ? undefined : problem.parameter(layer.bias)?.data;
  const biasGradient = layer.bias === undefined ? undefined : problem.gradient(layer.bias)?.data;
  const misfit = biasGradient ? relativeDistance(channelSums(state.delta, channels), biasGradient) : null;
  const isFirst = place.inputs[0] === NETWORK_INPUT;
  const prior = isFirst ? INPUT_PRIOR : priorBelow(problem, index);
  // A first guess of the input's size turns errors of delta into errors of the gradient rows.
  const typical = Math.hypot(prior.mean, isFirst ? 1 : prior.deviation);
  const rowError = new Float64Array(channels);
  for (let o = 0; o < channels; o++) {
    let sum = 0;
    for (let at = o * plane; at < (o + 1) * plane; at++) {
      sum += state.deltaError[at]! ** 2 + (precision.forward * state.delta[at]!) ** 2;
    }
    rowError[o] = typical * Math.sqrt(sum);
  }
  const perFilter = gradient.length / channels;
  const system = {
    geometry,
    inputShape,
    filter,
    filterShape,
    outputShape,
    forward: state.values.map((z, at) => (state.known[at] === 1 ? z - (bias?.[Math.floor(at / plane)] ?? 0) : 0)),
    forwardWeight: state.error.map((own, at) => (state.known[at] === 1 ? 1 / Math.max(own, 1e-300) : 0)),
    delta: state.delta,
    gradient,
    gradientWeight: gradient.map((own, at) => {
      const error = Math.hypot(
        rowError[Math.floor(at / perFilter)]!,
        (precision.stored * own) / Math.sqrt(3),
        precision.noise,
      );
      return error > 0 ? 1 / error : 0;
    }),
    prior,
  };
  const solved = await solveConv(system, product);
  return {
    evidence: evidenceOf(layer, solved, system, misfit),
    inputs: [below(system, solved, state, precision)],
  };
}

type System = Parameters<typeof solveConv>[0];

function evidenceOf(layer: ConvLayer, solved: SolvedSystem, system: System, biasMisfit: number | null): LayerEvidence {
  const { gradient } = system;
  const simulated = convolveFilterOf(system, solved.x);
  return {
    layer: layer.weight,
    op: 'conv',
    unknowns: solved.unknowns,
    equations: solved.equations,
    rank: solved.rank,
    condition: solved.condition,
    residual: relativeDistance(simulated, gradient),
    biasMisfit,
    inputError: rootMeanSquare(solved.error),
    converged: solved.converged,
  };
}

/** dL/dx = conv^T(delta), with the errors of delta carried along. */
function below(system: System, solved: SolvedSystem, state: NodeEstimate, precision: Precision): NodeEstimate {
  const { geometry, inputShape, filter, filterShape, outputShape, delta } = system;
  const spread = state.deltaError.map((own, at) => own ** 2 + (precision.forward * delta[at]!) ** 2);
  return {
    values: solved.x,
    error: solved.error,
    delta: convolveInput(delta, outputShape, filter, filterShape, geometry, inputShape),
    deltaError: convolveInput(
      spread,
      outputShape,
      filter.map((w) => w * w),
      filterShape,
      geometry,
      inputShape,
    ).map(Math.sqrt),
    known: new Uint8Array(solved.x.length).fill(1),
  };
}

function convolveFilterOf(system: System, x: Float64Array): Float64Array {
  return convolveFilter(x, system.inputShape, system.delta, system.outputShape, system.geometry, system.filterShape);
}

/** Sigmoids lie in (0, 1), hyperbolic tangents in (-1, 1); others are taken to be of size one. */
function priorBelow({ recipe }: ChainProblem, index: number): { mean: number; deviation: number } {
  for (let at = index - 1; at >= 0; at--) {
    const { op } = recipe.layers[at]!;
    if (op === 'sigmoid') {
      return { mean: 0.5, deviation: 0.5 };
    }
    if (op === 'tanh') {
      return { mean: 0, deviation: 1 };
    }
    if (op === 'relu' || op === 'leaky-relu' || op === 'elu') {
      return { mean: 0, deviation: 10 };
    }
  }
  return INPUT_PRIOR;
}
