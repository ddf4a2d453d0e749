import { goldenSection } from '../golden-section.js';
import type { ChainProblem, State } from './chain-state.js';
import { passThrough } from './pass-through.js';
import { channelSums, relativeDistance } from './sums.js';

/** What the chain starts from: the head's input and its dL/dx, on the scale that the layers below agree with. */

/**
 * Values are the head's input, delta is W^T (p - y), both as long as the head has inputs; errors are standard errors in
 * the same units.
 *
 * @throws RangeError when the head is not a linear layer whose weight the checkpoint holds
 */
export function startOf(problem: ChainProblem): State {
  return startAt(problem, refineScale(problem));
}

/** The state below the head if feature * scale and delta / scale were the true ones, which fit the head as well. */
function startAt({ recipe, head, parameter, solution, precision }: ChainProblem, scale: number): State {
  const layer = recipe.layers[head];
  const weight = layer?.op === 'linear' ? parameter(layer.weight) : undefined;
  if (layer?.op !== 'linear' || !weight) {
    throw new RangeError('The head is not a linear layer with a known weight.');
  }
  const features = solution.feature.length;
  const delta = new Float64Array(features);
  const variance = new Float64Array(features);
  solution.delta.forEach((own, k) => {
    for (let j = 0; j < features; j++) {
      const w = layer.layout === 'dxk' ? weight.data[j * solution.delta.length + k]! : weight.data[k * features + j]!;
      delta[j]! += (w * own) / scale;
      variance[j]! += w * w * (solution.deltaError[k]! ** 2 + (precision.forward * own) ** 2);
    }
  });
  return {
    values: solution.feature.map((value) => value * scale),
    error: solution.featureError,
    delta,
    deltaError: variance.map((own, j) => Math.sqrt(own + (precision.forward * delta[j]!) ** 2)),
    known: new Uint8Array(features).fill(1),
  };
}

/**
 * The scalar that the scan found is only as good as the labels' rounding, and shifts every layer below. The first
 * bias gradient below the head measures it: a convolution's is the sum of delta, which scales with it.
 */
function refineScale(problem: ChainProblem): number {
  const { recipe, head, solution, gradient } = problem;
  if (!(solution.scaleError > 0)) {
    return 1;
  }
  const misfit = (scale: number): number | undefined => {
    let state = startAt(problem, scale);
    for (let index = head - 1; index >= 0; index--) {
      const layer = recipe.layers[index]!;
      if (layer.op === 'conv' || layer.op === 'linear') {
        const bias = layer.bias === undefined ? undefined : gradient(layer.bias);
        return bias && relativeDistance(channelSums(state.delta, bias.data.length), bias.data);
      }
      const next = passThrough(problem, layer, index, state);
      if (typeof next === 'string') {
        return undefined;
      }
      state = next;
    }
    return undefined;
  };
  if (misfit(1) === undefined) {
    return 1;
  }
  const width = Math.min(20 * solution.scaleError, 0.05);
  const found = goldenSection((t) => misfit(1 + t) ?? Infinity, -width, width);
  return 1 + found;
}
