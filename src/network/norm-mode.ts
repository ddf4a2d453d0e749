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
      cosines.push(...cosineOf(weight.data, slope.data, perChannel, (tap) => at(channel, tap)));
    }
  });
  if (cosines.length < 4) {
    return null;
  }
  return median(cosines) < ORTHOGONAL ? 'train' : 'eval';
}

/**
 * Whether groups of channels were normalised together, from weights and gradients alone: scaling all filters of a group
 * then changes nothing, so they are orthogonal to their gradients together. Finer groups are not, if the true ones are
 * coarser.
 *
 * @returns undefined where nothing tells
 */
export function fitsGroups(recipe: Recipe, parameter: TensorLookup, gradient: TensorLookup): boolean | undefined {
  const scores: number[] = [];
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
      const cosine = cosineOf(weight.data, slope.data, each, (entry) => group * each + entry);
      // In standard deviations of chance.
      scores.push(...cosine.map((own) => own * Math.sqrt(each)));
    }
  });
  return scores.length === 0 ? undefined : median(scores) < LESS_THAN_CHANCE;
}

/**
 * |cos| of a part of a filter and of its gradient.
 *
 * @param at where the part's entries are
 * @returns none where either is zero
 */
function cosineOf(
  weight: ArrayLike<number>,
  slope: ArrayLike<number>,
  count: number,
  at: (entry: number) => number,
): number[] {
  let [product, own, other] = [0, 0, 0];
  for (let entry = 0; entry < count; entry++) {
    const [w, g] = [weight[at(entry)]!, slope[at(entry)]!];
    product += w * g;
    own += w * w;
    other += g * g;
  }
  return own > 0 && other > 0 ? [Math.abs(product) / Math.sqrt(own * other)] : [];
}

function median(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}

/** The median of chance is 0.67; rounding and epsilon leave 1e-3. */
const LESS_THAN_CHANCE = 0.1;

/** Random directions in 27 to 4608 dimensions have cosines of 0.2 to 0.015; rounding and epsilon leave 1e-3. */
const ORTHOGONAL = 3e-3;
