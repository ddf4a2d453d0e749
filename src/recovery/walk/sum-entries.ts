import { NETWORK_INPUT } from '../../network/layer-graph.js';
import { type Deviation, cleaned, negativeDeviations } from './deviations.js';
import type { FoundNodes } from './found-nodes.js';
import type { LocalLayers } from './local-layers.js';

/** Entries of a node, for all samples. */
export interface ToldEntries {
  /** batch x the node's shape */
  readonly values: Float64Array;
  /** The same shape, 1 where a value is told. */
  readonly isGiven: Uint8Array;
  readonly deviation: Deviation;
}

/** Layers between a shortcut's sum and the map below its branch, at most. */
const MOST_LAYERS = 6;

/**
 * What an identity shortcut tells of its input, a rectifier's output: where the rectifier above the sum let the sum pass,
 * that is the sum's value less what the branch beside it computes from maps that are known.
 */
export async function entriesBelowSums(
  node: number,
  found: FoundNodes,
  layers: LocalLayers,
): Promise<ToldEntries | undefined> {
  let told: ToldEntries | undefined;
  for (const { layer, at } of layers.consumers(node)) {
    const others = layers.layer(layer).op === 'add' ? layers.sources[layer]!.filter((_, input) => input !== at) : [];
    const path = found.rectifiers.pathUp(layer);
    const rectifier = path.pop();
    const isCut = rectifier !== undefined && layers.layer(rectifier).op === 'relu';
    const isSum = isCut && path.every((own) => isPassing(layers, own));
    const above = isSum ? found.maps.find((map) => map.node === rectifier && !map.upToFactor) : undefined;
    const branches = above ? await Promise.all(others.map((own) => valuesAt(own, found, layers, MOST_LAYERS))) : [];
    if (!above || branches.length === 0 || branches.includes(undefined)) {
      continue;
    }
    const isGiven = Uint8Array.from(above.values, (own, entry) => Number(own > 0 && above.unknown?.[entry] !== 1));
    const values = above.values.map((own, entry) =>
      isGiven[entry] === 1 ? branches.reduce((rest, branch) => rest - branch![entry]!, own) : 0,
    );
    const deviation = negativeDeviations(values, found.adjoints.batch);
    told = { values: cleaned(values, deviation), isGiven, deviation };
  }
  return told;
}

function isPassing(layers: LocalLayers, layer: number): boolean {
  const { op } = layers.layer(layer);
  return op === 'identity' || op === 'dropout';
}

async function valuesAt(
  node: number,
  found: FoundNodes,
  layers: LocalLayers,
  most: number,
): Promise<Float64Array | undefined> {
  const known = found.sizeless.has(node) ? undefined : found.values.get(node);
  if (known || node === NETWORK_INPUT || most === 0) {
    return known;
  }
  const inputs: Float64Array[] = [];
  for (const source of layers.sources[node]!) {
    const own = await valuesAt(source, found, layers, most - 1);
    if (!own) {
      return undefined;
    }
    inputs.push(own);
  }
  return inputs.length === 0 ? undefined : layers.forward(node, inputs, found.adjoints.batch);
}
