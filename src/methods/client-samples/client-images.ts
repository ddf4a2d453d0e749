import { normalisationFor } from '../../facts/capture.js';
import { DIRECTED } from '../../facts/directed-update.js';
import type { Facts } from '../../facts/facts.js';
import { CAPTURE, MATCHING } from '../../facts/update.js';
import { foldConstant } from '../../graph/evaluate.js';
import { TensorGraph } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT, inputsOfLayers } from '../../network/layer-graph.js';
import { RecipeError } from '../../network/layers/layer-rule.js';
import type { LayerOp, Recipe } from '../../network/layers/recipe.js';
import { type StoredTensor, type TensorLookup, buildNetwork } from '../../network/network-graph.js';
import type { Normalisation } from '../../protocol/normalisations.js';
import type { EngineReport } from '../../protocol/report.js';
import type { InversionProblem } from '../../recovery/inversion/search-state.js';
import { type KnownMap, inversionOf, softenedNetwork } from '../../recovery/inversion/known-maps.js';
import { dataAt } from '../../recovery/hidden/layer-state.js';
import { generator } from '../../recovery/paper-method.js';
import { norm } from '../../recovery/vectors.js';
import { isFirstLayer, pictureShape } from '../hidden-layer/hidden-layer.js';
import type { HiddenSamples } from '../hidden-layer/hidden-samples.js';
import { invertInputs } from '../input/invert-inputs.js';
import { findNetwork } from '../input/network-source.js';
import { networkTensors } from '../input/network-tensors.js';
import { linearLayer } from '../input/prepare.js';
import type { Context } from '../method.js';
import { pausingProduct } from '../pausing-product.js';

/** Images whose features are those that were told apart, with the weights that the network had when it saw them, about. */

export interface ClientImage {
  /** Index among the samples told apart. */
  readonly sample: number;
  /** Flat, in the network's normalised units. */
  readonly values: Float64Array;
  /** ||its features - those told|| / ||those told||. */
  readonly residual: number;
}

export interface ClientImages {
  readonly found: readonly ClientImage[];
  /** Channels, height, width. */
  readonly shape: readonly number[];
  readonly normalisation: Normalisation | undefined;
  /** What they are and through which network they were searched, or why there are none. */
  readonly words: string;
  readonly engine: EngineReport | undefined;
  readonly stopped: boolean;
}

/** Share of an image's numbers that its features show as values, at least. */
const FEWEST_KNOWN = 0.5;
const STARTS = 2;
/** Multiplications for all images together: minutes on two cores. */
const MOST_WORK = 3e12;
/** Images that leave more of their features are not shown. */
const MOST_LEFT = 0.02;
/** Layers that leave values as they are. */
const SHAPING: ReadonlySet<LayerOp | undefined> = new Set<LayerOp>(['flatten', 'reshape', 'dropout', 'identity']);
const SEED = 17;
/** Values below this share of their root mean square are those of a rectifier that cut. */
const NEARLY_ZERO = 1e-3;

/** @param steps shares of the way from the first weights to the last, by a sample's state */
export async function clientImages(
  facts: Facts,
  context: Context,
  found: HiddenSamples,
  steps: readonly number[],
): Promise<ClientImages> {
  const wanted = facts.given.request.reconstruction;
  const none: ClientImages = {
    found: [],
    shape: [],
    normalisation: undefined,
    words: 'Images were not asked for.',
    engine: undefined,
    stopped: false,
  };
  if (!wanted || wanted.attack === 'none') {
    return none;
  }
  const own = await asInput(facts, found);
  if (own) {
    return { ...none, ...own };
  }
  const { checkpoint } = facts.given;
  const { gradients } = await facts.get(DIRECTED);
  const capture = await facts.get(CAPTURE);
  const inputShape = wanted.inputShape ?? capture?.inputShape;
  const source = await findNetwork(wanted.model, checkpoint, gradients, inputShape ? { inputShape } : {}, () =>
    context.pause(),
  );
  const matching = await facts.get(MATCHING);
  const cache = new Map<string, StoredTensor>();
  for (const { name, recipe } of source.candidates) {
    const layer = linearLayer(recipe, found.weight);
    if (layer === undefined || recipe.layers.some(({ op }) => op === 'batch-norm')) {
      continue;
    }
    const { parameter, gradient } = networkTensors(recipe, checkpoint, gradients, matching, source.own, cache);
    try {
      buildNetwork(new TensorGraph(foldConstant), recipe, parameter, 1, 'eval');
    } catch (error) {
      if (error instanceof RecipeError) {
        continue;
      }
      throw error;
    }
    const size = recipe.input.reduce((product, own) => product * own, 1);
    const known = Math.min(...found.separation.samples.map(({ input }) => valuesThatShow(input)));
    if (known < FEWEST_KNOWN * size) {
      return {
        ...none,
        words: `Images have ${size} numbers, and some features only ${known} that are not zero, which do not settle them: none were computed.`,
      };
    }
    const inversions = await invertInputs(
      wanted,
      found.separation.samples.map((sample, at) => () => {
        const weights = weightsAt(parameter, gradient, steps[sample.state ?? 0] ?? 0);
        return problemOf(recipe, layer, sample.input, sample.error, weights, SEED + at);
      }),
      {
        from: 0,
        starts: STARTS,
        work: MOST_WORK,
        endsWhenLate: true,
        message: (sample, residual) =>
          `Computing image ${sample + 1} of ${found.separation.samples.length}: ${(100 * residual).toPrecision(2)} % of its features off`,
      },
      await pausingProduct(context),
      context,
    );
    const { engine, stopped, isLate } = inversions;
    const images = inversions.found.flatMap(({ input, residual }, sample): ClientImage[] =>
      residual < MOST_LEFT ? [{ sample, values: input, residual }] : [],
    );
    const late = isLate ? ' Time was up before all were searched.' : '';
    return {
      found: images,
      engine,
      stopped,
      words: `${
        images.length > 0
          ? `Images were searched whose features are these, through "${name}". How near they are to the true ones is not known: what is left of the features says how well they explain them.`
          : `Images were searched through "${name}", and none was found whose features are those told.`
      }${late}`,
      shape: recipe.input,
      normalisation: normalisationFor(wanted, capture),
    };
  }
  return {
    ...none,
    words: 'The network below the layer is not known, or has batch normalisation, so that no images were computed.',
  };
}

/** Where the layer is the first one, its inputs are the images. */
async function asInput(
  facts: Facts,
  { weight, inputs, separation }: HiddenSamples,
): Promise<Pick<ClientImages, 'found' | 'shape' | 'normalisation' | 'words'> | undefined> {
  const { pairs } = await facts.get(MATCHING);
  if (!isFirstLayer(pairs, weight)) {
    return undefined;
  }
  const { request } = facts.given;
  const capture = await facts.get(CAPTURE);
  const shape = pictureShape(inputs, request.reconstruction?.inputShape ?? capture?.inputShape);
  return {
    found: shape ? separation.samples.map(({ input }, sample) => ({ sample, values: input, residual: 0 })) : [],
    shape: shape ?? [],
    normalisation: normalisationFor(request.reconstruction, capture),
    words: shape
      ? 'These are the inputs of the network themselves.'
      : 'These are the inputs of the network themselves, which are no pictures as far as is known.',
  };
}

/** Weights at a share of the way that the update went. */
function weightsAt(parameter: TensorLookup, gradient: TensorLookup, share: number): TensorLookup {
  return (name) => {
    const own = parameter(name);
    const update = gradient(name);
    return own && update && share > 0 ? { shape: own.shape, data: dataAt(own.data, update.data, share) } : own;
  };
}

function problemOf(
  recipe: Recipe,
  layer: number,
  values: Float64Array,
  error: number,
  weights: TensorLookup,
  seed: number,
): InversionProblem {
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, recipe, weights, 1, 'eval');
  const sources = inputsOfLayers(recipe);
  const below = (own: number): number => sources[own]?.[0] ?? NETWORK_INPUT;
  let node = below(layer);
  while (SHAPING.has(recipe.layers[node]?.op)) {
    node = below(node);
  }
  const size = norm(values) / Math.sqrt(values.length);
  const cut = error + NEARLY_ZERO * size;
  const map: KnownMap = {
    node,
    values: values.map((own) => (own > cut ? own : 0)),
    rectified: true,
    error: Math.max(error / size, NEARLY_ZERO),
    upToFactor: false,
    unknown: undefined,
  };
  const soft = softenedNetwork(graph, recipe, weights, 'eval', 1);
  return inversionOf({ graph, recipe, net, soft, gradient: () => undefined }, [map], generator(seed));
}

/** How many values of a feature say what they were before the rectifier. */
function valuesThatShow(values: Float64Array): number {
  const size = norm(values) / Math.sqrt(values.length);
  return values.reduce((sum, own) => sum + Number(own > NEARLY_ZERO * size), 0);
}
