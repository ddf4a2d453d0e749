import { type TensorGraph, type TensorNode, sizeOf } from '../../graph/tensor-graph.js';
import { inputsOfLayers } from '../../network/layer-graph.js';
import type { Recipe } from '../../network/layers/recipe.js';
import type { NetworkGraph } from '../../network/network-graph.js';
import { norm } from '../vectors.js';
import { CUT, type InversionProblem, type InversionStage, KNOWN, UNKNOWN } from './invert-map.js';

/** Which of the values found inside a network its input is computed from. */

export interface KnownMap {
  /** Layer whose output it is. */
  readonly node: number;
  /** One sample's values. */
  readonly values: Float64Array;
  /** Whether zeros stand for values that a rectifier has cut. */
  readonly rectified: boolean;
  /** Expected error, relative to the values' size. */
  readonly error: number;
  /** Whether only ratios of values are known, as below batch normalisation in train mode. */
  readonly upToFactor: boolean;
  /** 1 where nothing is known; undefined when all is. */
  readonly unknown: Uint8Array | undefined;
}

/** Equations for each number of the input: below that, more maps are taken. */
const EQUATIONS_EACH = 3;
const MOST_MAPS = 3;
/** Maps with a larger error only say where to begin. */
const EXACT = 1e-5;
/** Maps with a larger error say nothing. */
const ROUGH = 0.1;

/**
 * The deepest maps that are exact, and as many above them as it takes to have more equations than unknowns; a deeper
 * one that is only roughly known leads there.
 *
 * @param net of one sample
 * @param maps at least one
 */
export function inversionOf(
  graph: TensorGraph,
  net: NetworkGraph,
  recipe: Recipe,
  maps: readonly KnownMap[],
  random: () => number,
): InversionProblem {
  const deepestFirst = [...maps].sort((one, other) => one.node - other.node);
  const least = Math.min(...maps.map(({ error }) => error));
  const exact = deepestFirst.filter(({ error }) => error <= Math.max(EXACT, 10 * least));
  const wanted = EQUATIONS_EACH * sizeOf(net.input.shape);
  const taken: KnownMap[] = [];
  let equations = 0;
  for (const map of exact) {
    if (equations >= wanted || taken.length === MOST_MAPS) {
      break;
    }
    taken.push(map);
    equations += map.values.reduce((sum, own) => sum + Number(own !== 0), 0);
  }
  const [deepest] = deepestFirst;
  const stages = [stageOf(graph, net, recipe, taken)];
  if (deepest && deepest !== taken[0] && deepest.error <= ROUGH) {
    stages.unshift(stageOf(graph, net, recipe, [deepest]));
  }
  return { graph, input: net.input, stages, random };
}

function stageOf(graph: TensorGraph, net: NetworkGraph, recipe: Recipe, taken: readonly KnownMap[]): InversionStage {
  const sources = inputsOfLayers(recipe);
  const size = taken.reduce((sum, { values }) => sum + values.length, 0);
  const outputs: TensorNode[] = [];
  const target = new Float64Array(size);
  const active = new Uint8Array(size);
  let at = 0;
  for (const { node, values, rectified, upToFactor, unknown } of taken) {
    const isRectifier = recipe.layers[node]!.op === 'relu';
    const output = graph.reshape(isRectifier ? net.outputs[sources[node]![0]!]! : net.outputs[node]!, [
      1,
      values.length,
    ]);
    const own = Uint8Array.from(values, (value, entry) =>
      unknown?.[entry] === 1 ? UNKNOWN : !rectified || value > 0 ? KNOWN : CUT,
    );
    outputs.push(upToFactor ? scaledTo(graph, output, values, own, rectified) : output);
    target.set(values, at);
    active.set(own, at);
    at += values.length;
  }
  return {
    output: outputs.length === 1 ? outputs[0]! : graph.concat(outputs, 1),
    target,
    active,
    error: Math.max(...taken.map(({ error }) => error)),
  };
}

/** The output times the factor that gives it the values' length, negative ones being cut where a rectifier cuts them. */
function scaledTo(
  graph: TensorGraph,
  output: TensorNode,
  values: Float64Array,
  active: Uint8Array,
  rectified: boolean,
): TensorNode {
  const isSeen = Float64Array.from(active, (own) => Number(own !== UNKNOWN));
  const passed = rectified ? graph.unary('relu', output) : output;
  const squares = graph.total(graph.square(graph.mul(passed, graph.constant(isSeen, output.shape))));
  const length = norm(values.map((own, at) => own * isSeen[at]!));
  return graph.mul(output, graph.div(graph.scalar(length), graph.unary('sqrt', squares)));
}
