import { RecipeError } from './layers/layer-rule.js';
import { type Recipe, layerName } from './layers/recipe.js';

/** A recipe's layers as a graph: what takes whose output. */

/** The network's input, where a layer's index is asked for. */
export const NETWORK_INPUT = -1;

/**
 * Which layers each layer takes the outputs of, as indices in the recipe, NETWORK_INPUT for the network's input; none
 * for parameters and constants. Indices are below the layer's own, so the recipe's order is a topological one.
 *
 * @throws RecipeError naming the layer that refers to none before it
 */
export function inputsOfLayers({ layers }: Recipe): number[][] {
  const named = new Map([['input', NETWORK_INPUT]]);
  return layers.map((layer, index) => {
    const inputs =
      layer.inputs?.map((id) => {
        const found = named.get(id);
        if (found === undefined) {
          throw new RecipeError(`${layerName(layer, index)}: there is no earlier layer with the id "${id}"`);
        }
        return found;
      }) ?? (layer.op === 'parameter' || layer.op === 'constant' ? [] : [index - 1]);
    if (layer.id !== undefined) {
      named.set(layer.id, index);
    }
    return inputs;
  });
}

/** What a node is called in messages. */
export function nodeName({ layers }: Recipe, node: number): string {
  return node === NETWORK_INPUT ? 'the input' : layerName(layers[node]!, node);
}

/** Layers whose outputs a layer's own output depends on, that layer among them. */
export function layersBelow(inputs: readonly (readonly number[])[], top: number): Set<number> {
  const found = new Set([top]);
  for (let index = top; index >= 0; index--) {
    if (found.has(index)) {
      for (const input of inputs[index]!) {
        found.add(input);
      }
    }
  }
  found.delete(NETWORK_INPUT);
  return found;
}
