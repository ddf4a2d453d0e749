import type { TensorGraph, TensorNode } from '../../graph/tensor-graph.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import type { NetworkGraph } from '../../network/network-graph.js';
import type { Recipe } from '../../network/layers/recipe.js';
import { inputsOfLayers } from '../../network/layer-graph.js';
import type { InversionProblem } from './invert-map.js';

/** Which of the values found inside a network its input is computed from. */

export interface KnownMap {
  /** Layer whose output it is. */
  readonly node: number;
  /** One sample's values. */
  readonly values: Float64Array;
  /** Whether zeros stand for values that a rectifier has cut. */
  readonly rectified: boolean;
}

/** Equations for each number of the input: below that, more maps are taken. */
const EQUATIONS_EACH = 3;
const MOST_MAPS = 3;

/**
 * The deepest maps, and as many above them as it takes to have more equations than unknowns.
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
  const sources = inputsOfLayers(recipe);
  const wanted = EQUATIONS_EACH * sizeOf(net.input.shape);
  const taken: KnownMap[] = [];
  let equations = 0;
  for (const map of [...maps].sort((one, other) => one.node - other.node)) {
    if (equations >= wanted || taken.length === MOST_MAPS) {
      break;
    }
    taken.push(map);
    equations += map.values.reduce((sum, own) => sum + Number(own !== 0), 0);
  }
  const outputs: TensorNode[] = [];
  const targets: Float64Array[] = [];
  for (const { node, values } of taken) {
    const isRectifier = recipe.layers[node]!.op === 'relu';
    const output = isRectifier ? net.outputs[sources[node]![0]!]! : net.outputs[node]!;
    outputs.push(graph.reshape(output, [1, values.length]));
    targets.push(values);
  }
  const size = targets.reduce((sum, own) => sum + own.length, 0);
  const target = new Float64Array(size);
  const active = new Uint8Array(size);
  let at = 0;
  taken.forEach(({ values, rectified }) => {
    target.set(values, at);
    active.set(
      Uint8Array.from(values, (own) => Number(!rectified || own > 0)),
      at,
    );
    at += values.length;
  });
  return {
    graph,
    input: net.input,
    output: outputs.length === 1 ? outputs[0]! : graph.concat(outputs, 1),
    target,
    active,
    random,
  };
}
