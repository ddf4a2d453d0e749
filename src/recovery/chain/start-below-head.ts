import type { ChainProblem, NodeEstimate } from './chain-state.js';

/** What the chain starts from: the head's input and its dL/dx. */

/**
 * Values are the head's input, delta is W^T (p - y), both as long as the head has inputs; errors are standard errors in
 * the same units.
 *
 * @param scale feature * scale and delta / scale fit the head as well as they are
 * @throws RangeError when the head is not a linear layer whose weight the checkpoint holds
 */
export function startBelowHead(
  { recipe, head, parameter, solution, precision }: ChainProblem,
  scale: number,
): NodeEstimate {
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
