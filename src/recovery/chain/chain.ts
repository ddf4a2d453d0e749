import type { ProductKernel } from '../../graph/product-kernel.js';
import { NETWORK_INPUT, inputsOfLayers, layersBelow } from '../../network/layer-graph.js';
import { type LayerOp, layerName } from '../../network/layers/recipe.js';
import { goldenSection } from '../golden-section.js';
import type {
  ChainProblem,
  ChainProgress,
  ChainResult,
  LayerEvidence,
  NodeEstimate,
  Recovered,
} from './chain-state.js';
import { merged } from './estimates.js';
import type { ElementRule, InverseRule, Inverted, Place } from './inverse-rule.js';
import { INVERSES } from './inverses.js';
import { startBelowHead } from './start-below-head.js';
import { channelSums, relativeDistance, rootMeanSquare } from './sums.js';
import type { Pause } from '../pause.js';

/**
 * From the last layer's feature back to the input, layer by layer in closed form, for one sample. The network is a graph
 * whose nodes carry estimates of their values and gradients with standard errors; a layer turns its output's estimate
 * into its inputs', and what several layers take is told by all of them.
 */

/** A layer's gradient left unexplained by more than this share belongs to another network. */
const MOST_UNEXPLAINED = 0.3;

/** A node below a layer that has no inverse: the first such layer's name and reason. */
interface Blocked {
  readonly blocked: string;
}

/**
 * @param pause before each layer that is solved
 * @throws RangeError when a layer's tensors do not fit, RecipeError when the recipe refers to a layer that is not there,
 * CancelledError when stopped
 */
export async function walkChain(
  problem: ChainProblem,
  product: ProductKernel,
  pause: Pause<ChainProgress>,
): Promise<ChainResult> {
  const { recipe, head } = problem;
  const sources = inputsOfLayers(recipe);
  const below = layersBelow(sources, head);
  const found = new Map<number, (NodeEstimate | Blocked)[]>();
  const tell = (node: number, estimate: NodeEstimate | Blocked): void => {
    found.set(node, [...(found.get(node) ?? []), estimate]);
  };
  tell(sources[head]![0]!, startBelowHead(problem, refinedScale(problem, sources, product)));
  const layers: LayerEvidence[] = [];
  let latest: Recovered | undefined;
  const toSolve = recipe.layers.slice(0, head).filter(({ op }) => ruleOf(op)?.solves).length;
  for (let index = head - 1; index >= 0; index--) {
    const told = found.get(index);
    if (!below.has(index) || told === undefined) {
      continue;
    }
    const output = together(told);
    const layer = recipe.layers[index]!;
    const name = layerName(layer, index);
    const place = placeOf(problem, sources, index, isBlocked(output) ? undefined : output, product);
    const rule = ruleOf(layer.op);
    let inverted: Inverted | string;
    if (isBlocked(output) && !(rule?.solves && rule.needsNoOutput?.(place))) {
      inverted = output.blocked;
    } else {
      if (rule?.solves) {
        await pause({ layer: name, done: layers.length, of: toSolve, latest });
        inverted = rule.obstacle?.(place) ?? (await rule.invert(place));
      } else {
        inverted = throughElements(place);
      }
      inverted = typeof inverted === 'string' ? `${name}: ${inverted}` : inverted;
    }
    if (typeof inverted !== 'string' && inverted.evidence) {
      layers.push(inverted.evidence);
      latest = { values: inverted.inputs[0]!.values, shape: place.inputShapes[0]! };
      if (inverted.evidence.residual > (problem.mostUnexplained ?? MOST_UNEXPLAINED)) {
        inverted = `${name}: ${(100 * inverted.evidence.residual).toPrecision(3)} % of its gradient is left unexplained`;
      }
    }
    sources[index]!.forEach((source, at) => {
      tell(source, typeof inverted === 'string' ? { blocked: inverted } : inverted.inputs[at]!);
    });
  }
  const input = together(found.get(NETWORK_INPUT) ?? [{ blocked: 'no layer takes the input' }]);
  if (isBlocked(input)) {
    return { layers, input: undefined, inputError: undefined, stopped: input.blocked };
  }
  const untold = input.known.filter((known) => known === 0).length;
  return untold > 0
    ? { layers, input: undefined, inputError: undefined, stopped: `the input: ${untold} of its values are not told` }
    : { layers, input: input.values, inputError: rootMeanSquare(input.error), stopped: undefined };
}

function isBlocked(estimate: NodeEstimate | Blocked): estimate is Blocked {
  return 'blocked' in estimate;
}

/** Without one consumer's part, a value's gradient is not known. */
function together(told: readonly (NodeEstimate | Blocked)[]): NodeEstimate | Blocked {
  const estimates: NodeEstimate[] = [];
  for (const own of told) {
    if (isBlocked(own)) {
      return own;
    }
    estimates.push(own);
  }
  return merged(estimates);
}

/** A table entry whose layer type is that of its key, which the compiler cannot follow through a variable. */
function ruleOf(op: LayerOp): InverseRule<LayerOp> | undefined {
  const rule = INVERSES[op];
  return typeof rule === 'string' ? undefined : rule;
}

/** @returns a sentence for a layer that has no inverse, or whose input is the unknown of equations */
function throughElements(place: Place<LayerOp>): Inverted | string {
  const rule = INVERSES[place.layer.op];
  if (typeof rule === 'string' || rule.solves) {
    return typeof rule === 'string' ? rule : 'its input is not told by its output alone';
  }
  const own = rule as ElementRule<LayerOp>;
  return own.obstacle?.(place) ?? own.invert(place, place.output!);
}

function placeOf(
  problem: ChainProblem,
  sources: readonly (readonly number[])[],
  index: number,
  output: NodeEstimate | undefined,
  product: ProductKernel,
): Place<LayerOp> {
  const { recipe, outputShapes } = problem;
  const inputs = sources[index]!;
  return {
    problem,
    layer: recipe.layers[index]!,
    index,
    inputs,
    inputShapes: inputs.map((source) => (source === NETWORK_INPUT ? recipe.input : outputShapes[source]!)),
    output,
    product,
  };
}

/**
 * The scalar that the scan found is only as good as the labels' rounding, and shifts every layer below. The first
 * bias gradient below the head measures it: a convolution's is the sum of delta, which scales with it.
 *
 * @returns the factor of the feature, 1 where nothing measures it
 */
function refinedScale(problem: ChainProblem, sources: readonly (readonly number[])[], product: ProductKernel): number {
  const { recipe, head, solution, gradient } = problem;
  if (!(solution.scaleError > 0)) {
    return 1;
  }
  const misfit = (scale: number): number | undefined => {
    let estimate = startBelowHead(problem, scale);
    let index = sources[head]![0]!;
    while (index !== NETWORK_INPUT) {
      const layer = recipe.layers[index]!;
      if (layer.op === 'conv' || layer.op === 'linear') {
        const bias = layer.bias !== undefined ? gradient(layer.bias) : undefined;
        return bias && relativeDistance(channelSums(estimate.delta, bias.data.length), bias.data);
      }
      const next = throughElements(placeOf(problem, sources, index, estimate, product));
      if (typeof next === 'string' || next.inputs.length !== 1) {
        return undefined;
      }
      estimate = next.inputs[0]!;
      index = sources[index]![0]!;
    }
    return undefined;
  };
  if (misfit(1) === undefined) {
    return 1;
  }
  const width = Math.min(20 * solution.scaleError, 0.05);
  return 1 + goldenSection((t) => misfit(1 + t) ?? Infinity, -width, width);
}
