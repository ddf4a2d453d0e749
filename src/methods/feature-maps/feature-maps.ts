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
  assumes:
    'a convolution has more output channels than the batch has positions there, and that noise does not fill the gradient’s rank.',
  cites: null,
  cost: 's',
  needs: 'gradient',
  kinds: READABLE,
  applies: (facts) => Promise.resolve(convolutions(facts).length > 0 ? true : null),
  async run(facts, context) {
    const layers = convolutions(facts);
    const found: LayerMaps[] = [];
    const left: string[] = [];
    const stopped = await collect(layers, facts, context, found, left).then(
      () => false,
      (error: unknown) => {
        if (error instanceof CancelledError && found.length > 0) {
          return true;
        }
        throw error;
      },
    );
    const [first, ...others] = found;
    const omitted = left.length > 0 ? ` Not looked at: ${left.join(', ')}.` : '';
    return {
      outcome: first ? 'found' : 'nothing',
      detail: first
        ? 'The gradient of one convolution alone tells what entered it.'
        : `${layers.length === 1 ? 'The convolution was not' : `None of the ${layers.length} convolutions was`} found to give its input away by itself; looked for at a stride of one, square sizes and up to ${mostUnknowns(facts)} unknowns.${omitted}`,
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
  /** Kernel rows and columns come first, as Keras and Flax store them. */
  readonly kernelFirst: boolean;
}

/** Larger kernels are none: rows and columns that come first are told by their size. */
const MOST_TAPS = 11;

function convolutions(facts: Facts): readonly Convolution[] {
  const { entries } = facts.given.gradients;
  const lengths = new Map(entries.map(({ name, shape }) => [name, shape.length === 1 ? shape[0] : undefined]));
  return entries.flatMap((entry): Convolution[] => {
    const { name, shape, dtype } = entry;
    if (!isFloating(dtype) || shape.length !== 4) {
      return [];
    }
    const [first = 0, second = 0, third = 0, fourth = 0] = shape;
    const kernelFirst = Math.max(first, second) <= MOST_TAPS && Math.max(third, fourth) > MOST_TAPS;
    const own = kernelFirst ? ([fourth, third, first, second] as const) : ([first, second, third, fourth] as const);
    const [filters, channels, rows, columns] = own;
    // The bias of a transposed convolution is as long as the second axis: its rows are patches of no input.
    const bias = lengths.get(name.replace(/weight$/, 'bias'));
    const isTransposed = bias !== undefined && bias !== filters && bias === channels;
    return rows * columns > 1 && channels > 1 && !isTransposed ? [{ entry, shape: own, kernelFirst }] : [];
  });
}

/** Kernel rows x kernel columns x inputs x outputs, as outputs x inputs x kernel rows x kernel columns. */
function kernelLast(data: Float64Array, [filters, channels, rows, columns]: Convolution['shape']): Float64Array {
  const taps = rows * columns;
  return Float64Array.from(data, (_, at) => {
    const [filter, rest] = [Math.floor(at / (channels * taps)), at % (channels * taps)];
    return data[((rest % taps) * channels + Math.floor(rest / taps)) * filters + filter] ?? NaN;
  });
}

function mostUnknowns(facts: Facts): number {
  return facts.given.request.checkpoint === undefined ? MOST_UNKNOWNS.alone : MOST_UNKNOWNS.beside;
}

/** Into `found`, which keeps what is there when it is stopped; into `left` what is not looked at, and why. */
async function collect(
  layers: readonly Convolution[],
  facts: Facts,
  context: Context,
  found: LayerMaps[],
  left: string[],
): Promise<void> {
  const product = await pausingProduct(context);
  const isDifference = (await facts.get(UPDATE)).kind === 'difference';
  for (const [at, layer] of layers.entries()) {
    const { name, dtype } = layer.entry;
    context.progress(`Looking at ${name} alone`, at / layers.length);
    await context.pause();
    if (elementCount(layer.shape) > MOST_ELEMENTS) {
      left.push(`${name} (more than ${MOST_ELEMENTS} numbers)`);
      continue;
    }
    const { data } = facts.given.gradients.read(name);
    if (!data.every(Number.isFinite)) {
      left.push(`${name} (not finite)`);
      continue;
    }
    const stored = roundoffOf(dtype);
    const error = isDifference ? stored : effectiveRoundoff(data, stored);
    const gradient = layer.kernelFirst ? kernelLast(data, layer.shape) : data;
    const maps = await mapsOf(layer, gradient, { error, most: mostUnknowns(facts) }, product, context);
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
    isRectified: unmixed?.sources.every((source) => negativeShare(source) <= MOST_NEGATIVE) === true,
  };
}
