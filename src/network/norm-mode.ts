import type { NormMode } from './layers/layer-rule.js';
import type { TensorLookup } from './network-graph.js';
import type { Recipe } from './layers/recipe.js';

/**
 * Whether batch normalisation ran in train or eval mode, from weights and gradients alone.
 *
 * Normalising by a batch's own statistics undoes any scaling of the filter before it, so in train mode a filter and
 * its gradient are orthogonal, up to epsilon; with running statistics nothing makes them so.
 *
 * @returns null for a network without batch normalisation, or whose gradients do not tell
 */
export function detectNormMode(recipe: Recipe, parameter: TensorLookup, gradient: TensorLookup): NormMode | null {
  const cosines: number[] = [];
  recipe.layers.forEach((layer, index) => {
    const before = recipe.layers[index - 1];
    if (layer.op !== 'batch-norm' || before?.op !== 'conv' || layer.inputs !== undefined) {
      return;
    }
    const weight = parameter(before.weight);
    const slope = gradient(before.weight);
    if (!weight || !slope) {
      return;
    }
    const channels = before.layout === 'hwio' ? weight.shape[3]! : weight.shape[0]!;
    const perChannel = weight.data.length / channels;
    const at = (channel: number, tap: number): number =>
      before.layout === 'hwio' ? tap * channels + channel : channel * perChannel + tap;
    for (let channel = 0; channel < channels; channel++) {
      let product = 0;
      let own = 0;
      let other = 0;
      for (let tap = 0; tap < perChannel; tap++) {
        const w = weight.data[at(channel, tap)]!;
        const g = slope.data[at(channel, tap)]!;
        product += w * g;
        own += w * w;
        other += g * g;
      }
      if (own > 0 && other > 0) {
        cosines.push(Math.abs(product) / Math.sqrt(own * other));
      }
    }
  });
  if (cosines.length < 4) {
    return null;
  }
  cosines.sort((one, other) => one - other);
  return cosines[Math.floor(cosines.length / 2)]! < ORTHOGONAL ? 'train' : 'eval';
}

/**
 * Whether groups of channels were normalised together, from weights and gradients alone: scaling all filters of a group
 * then changes nothing, so they are orthogonal to their gradients together. Finer groups are not, if the true ones are
 * coarser.
 *
 * @returns undefined where nothing tells
 */
export function fitsGroups(recipe: Recipe, parameter: TensorLookup, gradient: TensorLookup): boolean | undefined {
  const cosines: number[] = [];
  recipe.layers.forEach((layer, index) => {
    const before = recipe.layers[index - 1];
    if (layer.op !== 'group-norm' || before?.op !== 'conv' || before.bias !== undefined || layer.inputs !== undefined) {
      return;
    }
    const [weight, slope] = [parameter(before.weight), gradient(before.weight)];
    if (!weight || !slope || before.layout === 'hwio' || weight.data.length % layer.groups !== 0) {
      return;
    }
    const each = weight.data.length / layer.groups;
    for (let group = 0; group < layer.groups; group++) {
      let [product, own, other] = [0, 0, 0];
      for (let at = group * each; at < (group + 1) * each; at++) {
        product += weight.data[at]! * slope.data[at]!;
        own += weight.data[at]! ** 2;
        other += slope.data[at]! ** 2;
      }
      if (own > 0 && other > 0) {
        // As many standard deviations as it would be by chance.
        cosines.push(Math.abs(product) * Math.sqrt(each / (own * other)));
      }
    }
  });
  cosines.sort((one, two) => one - two);
  return cosines.length === 0 ? undefined : cosines[Math.floor(cosines.length / 2)]! < LESS_THAN_CHANCE;
}

/** The median of chance is 0.67; rounding and epsilon leave 1e-3. */
const LESS_THAN_CHANCE = 0.1;

/** Random directions in 27 to 4608 dimensions have cosines of 0.2 to 0.015; rounding and epsilon leave 1e-3. */
const ORTHOGONAL = 3e-3;
