import type { TensorLookup, StoredTensor } from '../../network/network-graph.js';
import { type Recipe, tensorsOf } from '../../network/layers/recipe.js';
import type { TensorEntry, TensorFile } from '../../formats/tensor-file.js';
import type { Matching } from '../../facts/matching.js';

/** The tensors that a recipe names, in checkpoint and gradient file. */
export interface NetworkTensors {
  readonly parameter: TensorLookup;
  readonly gradient: TensorLookup;
  /** Names of the recipe that have a gradient. */
  readonly captured: readonly string[];
}

/**
 * Names match up to a prefix such as `module.`; each tensor is read once.
 *
 * @param cache of what has been read, shared by all recipes of one audit
 * @param own tensors that the network's file brings along, such as constants of an ONNX model
 */
export function networkTensors(
  recipe: Recipe,
  checkpoint: TensorFile,
  gradients: TensorFile,
  matching: Matching,
  own: ReadonlyMap<string, StoredTensor>,
  cache: Map<string, StoredTensor>,
): NetworkTensors {
  const byName = suffixIndex(checkpoint.entries);
  const gradientOf = new Map(
    matching.pairs.filter(({ certain }) => certain).map(({ parameter, gradient }) => [parameter, gradient]),
  );
  const read = (file: TensorFile, entry: TensorEntry): StoredTensor => {
    const key = `${file.path}\n${entry.name}`;
    const known = cache.get(key) ?? { shape: entry.shape, data: file.read(entry.name).data };
    cache.set(key, known);
    return known;
  };
  const parameter: TensorLookup = (name) => {
    const entry = byName(name);
    return entry ? read(checkpoint, entry) : own.get(name);
  };
  const gradient: TensorLookup = (name) => {
    const entry = byName(name);
    const slope = entry && gradientOf.get(entry);
    return slope && read(gradients, slope);
  };
  const names = [...new Set(recipe.layers.flatMap(tensorsOf))];
  return {
    parameter,
    gradient,
    captured: names.filter((name) => {
      const entry = byName(name);
      return entry !== undefined && gradientOf.has(entry);
    }),
  };
}

/** Finds an entry by its exact name, else by the only one that ends in it. */
function suffixIndex(entries: readonly TensorEntry[]): (name: string) => TensorEntry | undefined {
  const exact = new Map(entries.map((entry) => [entry.name, entry]));
  const dotted = (name: string): string => name.replace(/:0$/, '').replaceAll('/', '.');
  return (name) => {
    const found = exact.get(name);
    if (found) {
      return found;
    }
    const wanted = dotted(name);
    const ending = entries.filter(
      (entry) => dotted(entry.name) === wanted || dotted(entry.name).endsWith(`.${wanted}`),
    );
    return ending.length === 1 ? ending[0] : undefined;
  };
}
