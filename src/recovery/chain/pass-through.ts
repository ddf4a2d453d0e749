import type { Layer } from '../../network/recipe.js';
import type { StoredTensor } from '../../network/network-graph.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { invertActivation, isInvertible } from './activation-inverse.js';
import type { ChainProblem, State } from './chain-state.js';
import { rootMeanSquare } from './sums.js';

/** Layers without unknowns of their own: their input follows from their output. */

const WHY_NOT: Partial<Record<Layer['op'], string>> = {
  'max-pool': 'a maximum tells one entry of each window',
  'average-pool': 'an average does not tell what it was made of',
  'global-average-pool': 'an average does not tell what it was made of',
  'adaptive-average-pool': 'an average does not tell what it was made of',
  'layer-norm': 'normalisation over the features loses their mean and scale',
  add: 'a sum does not tell its parts',
  gelu: 'this activation is not invertible',
  silu: 'this activation is not invertible',
};

/** Layers without unknowns of their own; a sentence when their input does not follow from their output. */
export function passThrough(problem: ChainProblem, layer: Layer, index: number, state: State): State | string {
  switch (layer.op) {
    case 'flatten':
    case 'reshape':
      return state;
    case 'transpose':
      return permute(state, layer.order, problem.inputShapes[index]!);
    case 'batch-norm':
      return throughNorm(problem, layer, index, state);
    default:
      if (!isInvertible(layer)) {
        return WHY_NOT[layer.op] ?? 'its input does not follow from its output';
      }
  }
  const { forward } = problem.precision;
  const tolerance = 6 * rootMeanSquare(state.error);
  const { z, slope, slopeChange } = invertActivation(layer, state.values, tolerance);
  const error = new Float64Array(z.length);
  const delta = new Float64Array(z.length);
  const deltaError = new Float64Array(z.length);
  const known = new Uint8Array(z.length);
  for (let at = 0; at < z.length; at++) {
    const own = Math.hypot(state.error[at]!, forward * Math.abs(state.values[at]!));
    delta[at] = state.delta[at]! * slope[at]!;
    deltaError[at] = Math.hypot(state.deltaError[at]! * slope[at]!, state.delta[at]! * slopeChange[at]! * own);
    if (Number.isFinite(z[at]!) && slope[at]! > 0 && state.known[at] === 1) {
      known[at] = 1;
      error[at] = Math.hypot(own / slope[at]!, forward * Math.max(Math.abs(z[at]!), 1));
    }
  }
  return { values: z, error, delta, deltaError, known };
}

function permute(state: State, order: readonly number[], shape: readonly number[]): State {
  // The layer maps input axis order[i] to output axis i; the batch is axis 0 and stays.
  const axes = order.slice(1).map((axis) => axis - 1);
  const outShape = axes.map((axis) => shape[axis]!);
  const source = (data: Float64Array | Uint8Array, into: Float64Array | Uint8Array): void => {
    const inStrides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
    const steps = axes.map((axis) => inStrides[axis]!);
    data.forEach((value, at) => {
      let rest = at;
      let to = 0;
      for (let axis = outShape.length - 1; axis >= 0; axis--) {
        to += (rest % outShape[axis]!) * steps[axis]!;
        rest = Math.floor(rest / outShape[axis]!);
      }
      into[to] = value;
    });
  };
  const moved = (data: Float64Array): Float64Array => {
    const out = new Float64Array(data.length);
    source(data, out);
    return out;
  };
  const known = new Uint8Array(state.known.length);
  source(state.known, known);
  return {
    values: moved(state.values),
    error: moved(state.error),
    delta: moved(state.delta),
    deltaError: moved(state.deltaError),
    known,
  };
}

/** With running statistics, batch normalisation is one multiplication and one addition per channel. */
function throughNorm(
  problem: ChainProblem,
  layer: Extract<Layer, { op: 'batch-norm' }>,
  index: number,
  state: State,
): State | string {
  const tensor = (name: string | undefined): StoredTensor | undefined =>
    name === undefined ? undefined : problem.parameter(name);
  const mean = tensor(layer.mean);
  const variance = tensor(layer.variance);
  const channels = problem.inputShapes[index]![0]!;
  if (!mean || !variance) {
    return 'its running statistics are not in the checkpoint';
  }
  const gamma = tensor(layer.weight)?.data ?? new Float64Array(channels).fill(1);
  const beta = tensor(layer.bias)?.data ?? new Float64Array(channels);
  const factor = Float64Array.from(
    { length: channels },
    (_, c) => gamma[c]! / Math.sqrt(variance.data[c]! + (layer.epsilon ?? 1e-5)),
  );
  const plane = state.values.length / channels;
  const channelOf = (at: number): number => Math.floor(at / plane);
  return {
    values: state.values.map((value, at) => {
      const c = channelOf(at);
      return (value - beta[c]!) / factor[c]! + mean.data[c]!;
    }),
    error: state.error.map((own, at) => own / Math.abs(factor[channelOf(at)]!)),
    delta: state.delta.map((own, at) => own * factor[channelOf(at)]!),
    deltaError: state.deltaError.map((own, at) => own * Math.abs(factor[channelOf(at)]!)),
    known: state.known,
  };
}
