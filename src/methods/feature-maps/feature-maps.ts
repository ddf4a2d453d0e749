import type { Facts } from '../../facts/facts.js';
import { UPDATE } from '../../facts/update.js';
import { type TensorEntry, elementCount, isFloating } from '../../formats/tensor-file.js';
import { roundoffOf } from '../../facts/values.js';
import type { ProductKernel } from '../../graph/product-kernel.js';
import { CancelledError } from '../../protocol/errors.js';
import { effectiveRoundoff } from '../../recovery/head-gradient.js';
import { generator } from '../../recovery/paper-method.js';
import { MOST_COEFFICIENTS } from '../../recovery/span/span.js';
import { MOST_NEGATIVE, negativeShare } from '../../recovery/walk/deviations.js';
import { unmix } from '../../recovery/span/unmix.js';
import { unplacedSpan } from '../../recovery/span/unplaced-span.js';
import { type Context, type Method, READABLE } from '../method.js';
import { pausingProduct } from '../pausing-product.js';
import { type LayerMaps, featureMapsLeak } from './feature-maps-leak.js';

/** Inputs of convolutions, each from the gradient of that layer alone: no checkpoint, no labels, no network. */
export const featureMaps: Method = {
  id: 'feature-maps',
  title: 'Feature maps from the gradients of single convolutions',
  cites: null,
  cost: 's',
  needs: 'gradient',
  kinds: READABLE,
  applies: (facts) => Promise.resolve(convolutions(facts).length > 0 ? true : null),
  async run(facts, context) {
    const found: LayerMaps[] = [];
    const stopped = await collect(facts, context, found).then(
      () => false,
      (error: unknown) => {
        if (error instanceof CancelledError && found.length > 0) {
          return true;
        }
        throw error;
      },
    );
    const [first, ...others] = found;
    const most = mostUnknowns(facts);
    return {
      outcome: first ? 'found' : 'nothing',
      detail: first
        ? 'Rows of a gradient tell the patches that the layer saw.'
        : `No convolution gave its input away by itself: at strides of one, square sizes and up to ${most} unknowns, none has more output channels than samples times positions and a gradient clear of noise.`,
      leaks: first ? [featureMapsLeak([first, ...others], (await facts.get(UPDATE)).kind === 'unknown')] : [],
      ...(stopped ? { stopped } : {}),
    };
  },
};

const SEED = 17;
/** With a checkpoint, the walk through the network comes to larger ones by itself. */
const MOST_UNKNOWNS = { alone: MOST_COEFFICIENTS, beside: 1100 };
/** Larger weights take minutes. */
const MOST_ELEMENTS = 2 ** 23;

interface Convolution {
  readonly entry: TensorEntry;
  /** Output channels x input channels x kernel rows x kernel columns. */
  readonly shape: readonly [number, number, number, number];
}

function convolutions(facts: Facts): readonly Convolution[] {
  return facts.given.gradients.entries.flatMap((entry): Convolution[] => {
    const { shape, dtype } = entry;
    const [filters = 0, channels = 0, rows = 0, columns = 0] = shape;
    return isFloating(dtype) &&
      shape.length === 4 &&
      rows * columns > 1 &&
      channels > 1 &&
      elementCount(shape) <= MOST_ELEMENTS
      ? [{ entry, shape: [filters, channels, rows, columns] }]
      : [];
  });
}

function mostUnknowns(facts: Facts): number {
  return facts.given.request.checkpoint === undefined ? MOST_UNKNOWNS.alone : MOST_UNKNOWNS.beside;
}

/** Into `found`, which keeps what is there when it is stopped. */
async function collect(facts: Facts, context: Context, found: LayerMaps[]): Promise<void> {
  const layers = convolutions(facts);
  const product = await pausingProduct(context);
  const isDifference = (await facts.get(UPDATE)).kind === 'difference';
  for (const [at, layer] of layers.entries()) {
    const { name, dtype } = layer.entry;
    context.progress(`Looking at ${name} alone`, at / layers.length);
    await context.pause();
    const { data } = facts.given.gradients.read(name);
    const stored = roundoffOf(dtype);
    const error = isDifference ? stored : effectiveRoundoff(data, stored);
    const maps = data.every(Number.isFinite)
      ? await mapsOf(layer, data, { error, most: mostUnknowns(facts) }, product, context)
      : undefined;
    if (maps) {
      found.push(maps);
    }
  }
}

async function mapsOf(
  { entry, shape }: Convolution,
  gradient: Float64Array,
  { error, most }: { readonly error: number; readonly most: number },
  product: ProductKernel,
  context: Context,
): Promise<LayerMaps | undefined> {
  const random = generator(SEED);
  const pause = (): Promise<void> => context.pause();
  const own = await unplacedSpan(gradient, shape, error, most, product, random, pause);
  if (!own) {
    return undefined;
  }
  const { span, ...place } = own;
  const unmixed = await unmix(span.maps, random, pause);
  // Zeros tell samples apart above rectifiers only, and what is above them is not negative.
  const isTold = unmixed?.sources.every((source) => span.batch === 1 || negativeShare(source) <= MOST_NEGATIVE);
  const [disagreement, next] = span.eigenvalues;
  return {
    ...place,
    layer: entry.name,
    filters: shape[0],
    batch: span.batch,
    gap: span.rowSpace.gap,
    error: Math.sqrt(disagreement),
    next: Math.sqrt(next),
    maps: isTold === true ? unmixed?.sources : undefined,
  };
}
