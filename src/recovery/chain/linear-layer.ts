import { NETWORK_INPUT } from '../../network/layer-graph.js';
import { norm } from '../vectors.js';
import type { Inverted, Place, SolvingRule } from './inverse-rule.js';
import { relativeDistance } from './sums.js';

/** The input of a fully connected layer. */

export const linearInverse: SolvingRule<'linear'> = {
  solves: true,
  obstacle({ problem, layer, inputShapes: [shape] }) {
    if (!problem.gradient(layer.weight)) {
      return `the dump holds no gradient of "${layer.weight}"`;
    }
    return shape!.length === 1 ? undefined : 'a linear layer over several positions is not solved in closed form';
  },
  /** Its bias gradient is its delta, so its input follows from its own gradients, whatever lies above it. */
  needsNoOutput: ({ problem, layer, inputShapes: [shape] }) =>
    shape!.length === 1 &&
    layer.bias !== undefined &&
    problem.gradient(layer.bias) !== undefined &&
    problem.gradient(layer.weight) !== undefined,
  invert: solveLinear,
};

/** G = D x^T: every row gives x, weighted by what it is worth (the paper's demo averages ratios instead). */
function solveLinear(place: Place<'linear'>): Inverted {
  const { problem, layer, inputs } = place;
  const { precision } = problem;
  const weight = problem.parameter(layer.weight)!;
  const gradient = problem.gradient(layer.weight)!.data;
  const biasGradient = layer.bias === undefined ? undefined : problem.gradient(layer.bias)?.data;
  const rows = (place.output?.delta ?? biasGradient!).length;
  const cols = gradient.length / rows;
  const at = layer.layout === 'dxk' ? (i: number, j: number) => j * rows + i : (i: number, j: number) => i * cols + j;
  const misfit =
    biasGradient && place.output ? relativeDistance(place.output.delta, biasGradient) : biasGradient ? 0 : null;
  // The bias gradient is delta itself, free of what the layers above have added.
  const useBias = biasGradient?.length === rows;
  const delta = useBias ? Float64Array.from(biasGradient) : place.output!.delta;
  const deltaError = useBias
    ? delta.map((own) => Math.hypot(precision.stored * own, precision.noise))
    : place.output!.deltaError;
  const size = norm(delta);
  const strongest = delta.reduce((best, own, i) => (Math.abs(own) > Math.abs(delta[best]!) ? i : best), 0);
  // How large the input's entries are, from the row that tells it best.
  let square = 0;
  for (let j = 0; j < cols; j++) {
    square += gradient[at(strongest, j)]! ** 2;
  }
  const scale = Math.sqrt(square / cols) / Math.max(Math.abs(delta[strongest]!), 1e-300);
  const importance = delta.map((own, i) =>
    own === 0
      ? 0
      : 1 / (precision.noise ** 2 + (precision.stored * own * scale) ** 2 + (deltaError[i]! * scale) ** 2 + 1e-300),
  );
  let information = 0;
  delta.forEach((own, i) => {
    information += importance[i]! * own * own;
  });
  const x = new Float64Array(cols);
  for (let i = 0; i < rows; i++) {
    const share = (importance[i]! * delta[i]!) / information;
    if (share !== 0) {
      for (let j = 0; j < cols; j++) {
        x[j]! += share * gradient[at(i, j)]!;
      }
    }
  }
  let left = 0;
  let total = 0;
  for (let i = 0; i < rows; i++) {
    const own = delta[i]!;
    for (let j = 0; j < cols; j++) {
      const value = gradient[at(i, j)]!;
      const off = value - own * x[j]!;
      left += off * off;
      total += value * value;
    }
  }
  const below = new Float64Array(cols);
  const variance = new Float64Array(cols);
  if (inputs[0] !== NETWORK_INPUT) {
    for (let i = 0; i < rows; i++) {
      const own = delta[i]!;
      const spread = deltaError[i]! ** 2 + (precision.forward * own) ** 2;
      if (own !== 0) {
        for (let j = 0; j < cols; j++) {
          const w = weight.data[at(i, j)]!;
          below[j]! += w * own;
          variance[j]! += w * w * spread;
        }
      }
    }
  }
  const inputError = 1 / Math.sqrt(information);
  return {
    evidence: {
      layer: layer.weight,
      op: 'linear',
      unknowns: cols,
      equations: rows * cols,
      rank: size > 0 ? cols : 0,
      condition: 1,
      residual: total > 0 ? Math.sqrt(left / total) : 1,
      biasMisfit: misfit,
      inputError,
      converged: true,
    },
    inputs: [
      {
        values: x,
        error: new Float64Array(cols).fill(inputError),
        delta: below,
        deltaError: variance.map(Math.sqrt),
        known: new Uint8Array(cols).fill(1),
      },
    ],
  };
}
