import { errorOfGradients } from './certificate.js';
import { inputsOfLayers } from '../../network/layer-graph.js';
import { type ConvPlace, convPlaceOf } from '../../recovery/walk/conv-place.js';
import { rowSpaceOf } from '../../recovery/span/row-space.js';
import type { Context } from '../method.js';
import { pausingProduct } from '../pausing-product.js';
import { hasRectifiers } from './maps-attack.js';
import type { NetworkSource } from './network-source.js';
import { type NetworkTask, type Prepared, outputShapesOf, prepareAll } from './prepare.js';

/** The size of images that a network of any input size was given: its last convolution's gradient tells it. */

/**
 * A recognised network whose names and shapes fit every input size, with the size that the gradient tells: the rank of
 * a convolution's weight gradient is the number of samples times that of its positions, where there are more output
 * channels than that.
 *
 * @param batch number of samples
 * @returns the network as it was where its gradient tells no square size, or the same
 */
export async function withInputSize(task: NetworkTask, batch: number, context: Context): Promise<NetworkSource> {
  const { network } = task;
  const prepared = prepareAll(task).find(hasRectifiers);
  const [channels, height, width] = prepared?.candidate.recipe.input ?? [];
  if (network.source !== 'built-in' || !prepared || width === undefined || height !== width) {
    return network;
  }
  const { recipe } = prepared.candidate;
  if (!recipe.layers.some(({ op }) => POOLS_ANY_SIZE.has(op))) {
    // Linear layers behind convolutions fit one size.
    return network;
  }
  const place = lastConvolution(prepared);
  if (!place) {
    return network;
  }
  const { filters, gradient } = place;
  const cols = gradient.length / filters;
  const product = await pausingProduct(context);
  const { basis, rank } = await rowSpaceOf(
    gradient,
    filters,
    cols,
    errorOfGradients(prepared, task.head.roundoff, task.absoluteError),
    filters,
    product,
    async (found) => {
      context.progress(`Input size: ${found} independent rows of ${place.name}'s gradient`, 0);
      await context.pause();
    },
  );
  // Batch normalisation in train mode takes the mean from the rows of delta.
  const isCentred = prepared.mode === 'train' && recipe.layers[place.index + 1]?.op === 'batch-norm';
  const side = Math.sqrt((rank + Number(isCentred)) / batch);
  const scale = height / place.output[0];
  if (!basis || rank >= Math.min(filters, cols) || !Number.isInteger(side) || side === place.output[0]) {
    return network;
  }
  const size = side * scale;
  if (!Number.isInteger(size)) {
    return network;
  }
  return {
    ...network,
    candidates: network.candidates.map((own) => ({
      ...own,
      recipe: { ...own.recipe, input: [channels!, size, size] },
    })),
    reasons: [
      ...network.reasons,
      `inputs of ${size} x ${size}: ${place.name} saw ${side} x ${side} positions, by the rank of its gradient`,
    ],
  };
}

const POOLS_ANY_SIZE: ReadonlySet<string> = new Set(['global-average-pool', 'adaptive-average-pool']);

/** The last convolution of a square kernel larger than one pixel, and of square outputs. */
function lastConvolution(prepared: Prepared): ConvPlace | undefined {
  const { recipe } = prepared.candidate;
  const sources = inputsOfLayers(recipe);
  const shapes = outputShapesOf(prepared);
  for (let at = prepared.head - 1; at >= 0; at--) {
    const source = sources[at]![0];
    const input = source === undefined || source < 0 ? recipe.input : shapes[source]!;
    const place = convPlaceOf(recipe, at, input, shapes[at]!, prepared.tensors.gradient);
    if (place && place.kernel[0] > 1 && place.output[0] > 1) {
      return place.output[0] === place.output[1] ? place : undefined;
    }
  }
  return undefined;
}
