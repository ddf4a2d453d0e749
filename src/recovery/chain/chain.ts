import type { ProductKernel } from '../../engine/engine.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { type Layer, followsPrevious, layerName } from '../../network/recipe.js';
import type { ChainHooks, ChainProblem, ChainResult, LayerEvidence, Recovered, State } from './chain-state.js';
import { solveConvLayer } from './conv-layer.js';
import { MOST_UNKNOWNS } from './conv-system.js';
import { solveLinear } from './linear-layer.js';
import { passThrough } from './pass-through.js';
import { startOf } from './start-below-head.js';
import { rootMeanSquare } from './sums.js';

/**
 * From the last layer's feature back to the input, layer by layer in closed form, for one sample. Every value carries
 * its standard error, which weights the next layer's equations.
 */

/** A layer's gradient left unexplained by more than this share belongs to another network. */
const MOST_UNEXPLAINED = 0.3;

/**
 * @throws RangeError when a layer's tensors do not fit, Error of `hooks.layer` when cancelled
 */
export async function walkChain(problem: ChainProblem, hooks: ChainHooks): Promise<ChainResult> {
  const { recipe, head } = problem;
  let state = startOf(problem);
  const layers: LayerEvidence[] = [];
  let latest: Recovered | undefined;
  const toSolve = recipe.layers.slice(0, head).filter(({ op }) => op === 'conv' || op === 'linear').length;
  for (let index = head - 1; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    const name = layerName(layer, index);
    let reason = followsPrevious(recipe, index) ? undefined : 'several paths meet here';
    if (reason === undefined && (layer.op === 'conv' || layer.op === 'linear')) {
      await hooks.layer(name, layers.length, toSolve, latest);
      reason = obstacle(problem, layer, index);
      if (reason === undefined) {
        const solved = await solveLayer(problem, layer, index, state, hooks.product);
        layers.push(solved.evidence);
        state = solved.state;
        latest = { values: state.values, shape: problem.inputShapes[index]! };
        if (solved.evidence.residual > MOST_UNEXPLAINED) {
          reason = `${(100 * solved.evidence.residual).toPrecision(3)} % of its gradient is left unexplained`;
        }
      }
    } else if (reason === undefined) {
      const next = passThrough(problem, layer, index, state);
      if (typeof next === 'string') {
        reason = next;
      } else {
        state = next;
      }
    }
    if (reason !== undefined) {
      const below = selfSufficient(problem, index);
      if (below === undefined) {
        return { layers, input: undefined, inputError: undefined, stopped: `${name}: ${reason}` };
      }
      await hooks.layer(layerName(recipe.layers[below.index]!, below.index), layers.length, toSolve, latest);
      const solved = solveLinear(problem, below.layer, below.index, below.state);
      layers.push(solved.evidence);
      state = solved.state;
      index = below.index;
    }
  }
  return { layers, input: state.values, inputError: rootMeanSquare(state.error), stopped: undefined };
}

/**
 * A linear layer's bias gradient is its delta, so its input follows from its own gradients, whatever lies above it.
 * The next such layer below an obstacle, if its way to the input is a plain one.
 */
function selfSufficient(
  problem: ChainProblem,
  obstacleIndex: number,
): { index: number; layer: Extract<Layer, { op: 'linear' }>; state: State } | undefined {
  const { recipe } = problem;
  for (let index = obstacleIndex - 1; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    if (layer.op !== 'linear' || layer.bias === undefined || problem.inputShapes[index]!.length !== 1) {
      continue;
    }
    const bias = problem.gradient(layer.bias);
    if (bias && problem.gradient(layer.weight)) {
      const delta = Float64Array.from(bias.data);
      const zeros = new Float64Array(delta.length);
      const known = new Uint8Array(delta.length);
      return { index, layer, state: { values: zeros, error: zeros, delta, deltaError: zeros, known } };
    }
  }
  return undefined;
}

/** Why a layer cannot be solved, or undefined. */
function obstacle(problem: ChainProblem, layer: Layer, index: number): string | undefined {
  if (layer.op !== 'conv' && layer.op !== 'linear') {
    return undefined;
  }
  const unknowns = sizeOf(problem.inputShapes[index]!);
  if (!problem.gradient(layer.weight)) {
    return `the dump holds no gradient of "${layer.weight}"`;
  }
  if (layer.op === 'conv' && unknowns > MOST_UNKNOWNS) {
    return `${unknowns} unknowns are more than the ${MOST_UNKNOWNS} that the exact method takes`;
  }
  return layer.op === 'linear' && problem.inputShapes[index]!.length !== 1
    ? 'a linear layer over several positions is not solved in closed form'
    : undefined;
}

async function solveLayer(
  problem: ChainProblem,
  layer: Extract<Layer, { op: 'conv' | 'linear' }>,
  index: number,
  state: State,
  product: ProductKernel,
): Promise<{ evidence: LayerEvidence; state: State }> {
  return layer.op === 'linear'
    ? solveLinear(problem, layer, index, state)
    : solveConvLayer(problem, layer, index, state, product);
}
