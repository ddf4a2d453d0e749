import { gradients } from '../../graph/derivative.js';
import { type TensorGraph, type TensorNode, needed, sizeOf } from '../../graph/tensor-graph.js';
import { NETWORK_INPUT, inputsOfLayers } from '../../network/layer-graph.js';
import type { Layer, LayerOp, Recipe } from '../../network/layers/recipe.js';
import { windowEntries } from '../../network/layers/pooling.js';
import type { NormMode } from '../../network/layers/layer-rule.js';
import { type NetworkGraph, type TensorLookup, buildNetwork } from '../../network/network-graph.js';
import { joined, norm } from '../vectors.js';
import { isRectifier } from '../walk/rectifiers.js';
import { CUT, type InversionProblem, type InversionStage, KNOWN, TEMPERATURE, UNKNOWN } from './search-state.js';

/** Which of the values found inside a network its input is computed from. */

export interface KnownMap {
  /** Layer whose output it is. */
  readonly node: number;
  /** Of one sample, or of all where the network is one of a batch. */
  readonly values: Float64Array;
  /** Whether zeros stand for values that a rectifier has cut. */
  readonly rectified: boolean;
  /** Expected error, relative to the values' size. */
  readonly error: number;
  /** Whether only ratios of values are known, as below batch normalisation in train mode. */
  readonly upToFactor: boolean;
  /** 1 where nothing is known; undefined when all is. */
  readonly unknown: Uint8Array | undefined;
  /** dL/dvalues of a batch of one, of the same shape; undefined where it is not known. */
  readonly delta?: Float64Array | undefined;
}

/** The network with smooth maxima; undefined where it has none. */
export function softenedNetwork(
  graph: TensorGraph,
  recipe: Recipe,
  lookup: TensorLookup,
  mode: NormMode,
  batch: number,
): NetworkGraph | undefined {
  return recipe.layers.some(({ op }) => op === 'max-pool')
    ? buildNetwork(graph, maximaFirst(recipe), lookup, batch, mode, graph.variable(TEMPERATURE, []))
    : undefined;
}

/**
 * The same network with rectifiers above the max poolings that take their outputs: entries that a rectifier would cut
 * then have the small weights that they should have, not those of zero.
 */
function maximaFirst(recipe: Recipe): Recipe {
  const sources = inputsOfLayers(recipe);
  const layers = [...recipe.layers];
  recipe.layers.forEach((layer, index) => {
    const below = sources[index]![0] ?? NETWORK_INPUT;
    const rectifier = recipe.layers[below];
    const isOnly = sources.filter((own) => own.includes(below)).length === 1;
    if (layer.op === 'max-pool' && rectifier && isRectifier(rectifier.op) && isOnly) {
      layers[below] = inPlaceOf(rectifier, layer);
      layers[index] = inPlaceOf(layer, rectifier);
    }
  });
  return { ...recipe, layers };
}

/** A layer with another's place in the network. */
function inPlaceOf({ id, inputs }: Layer, layer: Layer): Layer {
  const own = { ...layer };
  delete own.id;
  delete own.inputs;
  return { ...own, ...(id === undefined ? {} : { id }), ...(inputs ? { inputs } : {}) };
}

/** Equations for each number of the input: below that, more maps are taken. */
const EQUATIONS_EACH = 2;
const MOST_MAPS = 3;
/** With more, values alone tell the input. */
const EQUATIONS_AMPLE = 3;
/** Maps with a larger error only say where to begin. */
const EXACT = 1e-5;
/** Maps with a larger error say nothing. */
const ROUGH = 0.1;
/** Output channels whose gradient is below this share of the largest are rounding, or dead. */
const DEAD = 1e-5;

/** A network whose input is wanted: one sample's, or a batch's where normalisation mixes its samples. */
export interface InvertibleNetwork {
  readonly graph: TensorGraph;
  readonly recipe: Recipe;
  readonly net: NetworkGraph;
  /** The same with smooth maxima: {@link softenedNetwork}. */
  readonly soft: NetworkGraph | undefined;
  /** What was captured. */
  readonly gradient: TensorLookup;
}

/**
 * The deepest maps that are exact, and as many above them as it takes to have more equations than unknowns; a deeper
 * one that is only roughly known leads there.
 *
 * @param maps at least one
 */
export function inversionOf(
  network: InvertibleNetwork,
  maps: readonly KnownMap[],
  random: () => number,
): InversionProblem {
  const { graph, net } = network;
  const deepestFirst = [...maps].sort((one, other) => one.node - other.node);
  const least = Math.min(...maps.map(({ error }) => error));
  const exact = deepestFirst.filter(({ error }) => error <= Math.max(EXACT, 10 * least));
  const wanted = EQUATIONS_EACH * sizeOf(net.input.shape);
  const taken: KnownMap[] = [];
  let equations = 0;
  for (const map of exact) {
    if (equations >= wanted || taken.length === MOST_MAPS) {
      break;
    }
    taken.push(map);
    equations += map.values.reduce((sum, own) => sum + Number(own !== 0), 0);
  }
  const [deepest] = deepestFirst;
  const isScarce = equations < EQUATIONS_AMPLE * sizeOf(net.input.shape);
  const more = isScarce ? gradientParts(network, taken[0]!) : [];
  const stages = [stageOf(network, taken, more)];
  if (network.soft && more.length > 0) {
    // While many maxima are chosen wrongly, gradients that go through them lead astray.
    stages.unshift(stageOf(network, taken, []));
  }
  if (deepest && deepest !== taken[0] && deepest.error <= ROUGH) {
    stages.unshift(stageOf(network, [deepest], []));
  }
  return { graph, input: net.input, stages, mismatch: deepest && mismatchOf(network, deepest), random };
}

/**
 * How far the gradients of the layers below a map are from those captured, relative and squared, their mean: dL/dvalues
 * being known, they follow from the input alone. Shares of smooth maxima stand for the choices of hard ones.
 */
function mismatchOf(
  { graph, recipe, soft, gradient }: InvertibleNetwork,
  { node, delta, values, rectified }: KnownMap,
): TensorNode | undefined {
  const cut = rectified && maximaFirst(recipe).layers[node]?.op === 'relu' ? values : undefined;
  const output = soft?.outputs[cut ? inputsOfLayers(recipe)[node]![0]! : node];
  if (!delta || !soft || !output) {
    return undefined;
  }
  const loss = lossOf(graph, output, delta, cut);
  const below = new Set(needed([output]));
  const terms: TensorNode[] = [];
  for (const [name, parameter] of soft.parameters) {
    const captured = gradient(name)?.data;
    if (captured?.some((value) => value !== 0) && below.has(parameter)) {
      const [own] = gradients(graph, loss, [parameter], soft.choices);
      const off = graph.sub(own!, graph.constant(Float64Array.from(captured), parameter.shape));
      const weights = graph.constant(channelWeights(recipe, name, captured, parameter.shape), parameter.shape);
      terms.push(graph.total(graph.mul(graph.square(off), weights)));
    }
  }
  return terms.length === 0
    ? undefined
    : graph.scale(
        terms.reduce((sum, own) => graph.add(sum, own)),
        1 / terms.length,
      );
}

/**
 * What stands for the loss below a node whose dL/dvalues is known: it has the same gradients there.
 *
 * @param cut the node's values where a rectifier cut them: what was cut is known, and must not depend on the input that is looked for
 */
function lossOf(
  graph: TensorGraph,
  output: TensorNode,
  delta: Float64Array,
  cut: Float64Array | undefined,
): TensorNode {
  const passed = cut ? delta.map((own, at) => (cut[at]! > 0 ? own : 0)) : delta;
  return graph.total(graph.mul(output, graph.constant(passed, output.shape)));
}

/** 1 / ||G_o||^2 for each entry of output channel o, over the number of live channels; biases count as one channel. */
function channelWeights(
  recipe: Recipe,
  name: string,
  captured: ArrayLike<number>,
  shape: readonly number[],
): Float64Array {
  const isLast = recipe.layers.some(
    (layer) =>
      (layer.op === 'conv' || layer.op === 'linear') &&
      layer.weight === name &&
      (layer.layout === 'hwio' || layer.layout === 'dxk'),
  );
  const channels = shape.length < 2 ? 1 : isLast ? shape[shape.length - 1]! : shape[0]!;
  const each = captured.length / channels;
  const channelOf = (at: number): number => (isLast && channels > 1 ? at % channels : Math.floor(at / each));
  const squares = new Float64Array(channels);
  Array.from(captured).forEach((value, at) => {
    squares[channelOf(at)]! += value ** 2;
  });
  const floor = DEAD ** 2 * squares.reduce((sum, own) => Math.max(sum, own), 0);
  const live = squares.reduce((sum, own) => sum + Number(own > floor), 0);
  return Float64Array.from({ length: captured.length }, (_, at) => {
    const own = squares[channelOf(at)]!;
    return own > floor ? 1 / (own * live) : 0;
  });
}

function stageOf(
  { graph, net, soft, recipe }: InvertibleNetwork,
  taken: readonly KnownMap[],
  more: readonly Part[],
): InversionStage {
  const parts = [...taken.flatMap((map) => [mapPart(recipe, map), ...boundPart(recipe, net, map)]), ...more];
  const outputOf = (own: NetworkGraph): TensorNode => {
    const outputs = parts.map((part) => part.output(graph, own));
    return outputs.length === 1 ? outputs[0]! : graph.concat(outputs, 1);
  };
  return {
    output: outputOf(net),
    softened: soft && outputOf(soft),
    target: joined(parts.map(({ target }) => target)),
    active: Uint8Array.from(parts.flatMap(({ active }) => [...active])),
    error: Math.max(...taken.map(({ error }) => error)),
    deepest: taken[0]!.node,
  };
}

/** Some entries of a stage. */
interface Part {
  /** 1 x entries */
  output(graph: TensorGraph, net: NetworkGraph): TensorNode;
  readonly target: Float64Array;
  readonly active: Uint8Array;
}

function mapPart(recipe: Recipe, { node, values, rectified, upToFactor, unknown }: KnownMap): Part {
  const from = recipe.layers[node]!.op === 'relu' ? inputsOfLayers(recipe)[node]![0]! : node;
  const active = Uint8Array.from(values, (value, entry) =>
    unknown?.[entry] === 1 ? UNKNOWN : !rectified || value > 0 ? KNOWN : CUT,
  );
  return {
    target: values,
    active,
    output: (graph, net) => {
      const output = graph.reshape(net.outputs[from]!, [1, values.length]);
      return upToFactor ? scaledTo(graph, output, values, active, rectified) : output;
    },
  };
}

/** Layers that hand a delta on whatever the input is. */
const HANDING_ON: ReadonlySet<LayerOp> = new Set<LayerOp>(['batch-norm', 'identity', 'dropout', 'add']);
/** From a max pooling down to the convolution whose outputs it chooses from. */
const HANDING_ON_POOLED: ReadonlySet<LayerOp> = new Set<LayerOp>([...HANDING_ON, 'max-pool', 'relu']);

/**
 * The gradients of the convolutions just below a map: with dL/dvalues known and its mask, they are linear in what those
 * convolutions take, one layer nearer to the input. In units of the map's values.
 */
function gradientParts({ graph, recipe, net, soft, gradient }: InvertibleNetwork, map: KnownMap): Part[] {
  const { node, delta, values, rectified, unknown } = map;
  const op = recipe.layers[node]?.op;
  if (!delta || unknown || !rectified || !(op === 'relu' || op === 'max-pool')) {
    return [];
  }
  const sources = inputsOfLayers(recipe);
  const from = op === 'relu' ? sources[node]![0]! : node;
  const output = net.outputs[from]!;
  const loss = lossOf(graph, output, delta, values);
  const size = norm(values) / Math.sqrt(values.length);
  const parts: Part[] = [];
  const pending = [from];
  for (let own = pending.pop(); own !== undefined; own = pending.pop()) {
    const layer = recipe.layers[own];
    if (layer && (soft ? HANDING_ON_POOLED : HANDING_ON).has(layer.op)) {
      pending.push(...sources[own]!);
    }
    const name = layer?.op === 'conv' ? layer.weight : undefined;
    const parameter = name === undefined ? undefined : net.parameters.get(name);
    const captured = name === undefined ? undefined : gradient(name)?.data;
    if (parameter && captured?.some((value) => value !== 0)) {
      const [simulated] = gradients(graph, loss, [parameter]);
      const scale = (size * Math.sqrt(captured.length)) / norm(Float64Array.from(captured));
      parts.push({
        target: Float64Array.from(captured, (value) => scale * value),
        active: new Uint8Array(captured.length).fill(KNOWN),
        output: () => graph.scale(graph.reshape(simulated!, [1, captured.length]), scale),
      });
    }
  }
  return parts;
}

/** No entry of a window is above its maximum: what smooth maxima do not say. */
function boundPart(recipe: Recipe, { outputs }: NetworkGraph, { node, values, upToFactor, unknown }: KnownMap): Part[] {
  const sources = inputsOfLayers(recipe);
  const beneath = (own: number): number => (own >= 0 && recipe.layers[own]!.op === 'relu' ? sources[own]![0]! : own);
  const pool = beneath(node);
  const layer = recipe.layers[pool];
  if (upToFactor || unknown || layer?.op !== 'max-pool') {
    return [];
  }
  const bounded = beneath(sources[pool]![0]!);
  const shape = outputs[bounded]?.shape;
  if (!shape) {
    return [];
  }
  const [, channels, height, width] = shape as [number, number, number, number];
  const plane = height * width;
  const { entries, perWindow } = windowEntries(layer, [height, width]);
  const windows = entries.length / perWindow;
  const bounds = new Float64Array(channels * plane).fill(Infinity);
  for (let c = 0; c < channels; c++) {
    entries.forEach((position, at) => {
      const to = c * plane + position;
      if (position >= 0) {
        bounds[to] = Math.min(bounds[to]!, values[c * windows + Math.floor(at / perWindow)]!);
      }
    });
  }
  return [
    {
      target: new Float64Array(bounds.length),
      active: Uint8Array.from(bounds, (own) => (own === Infinity ? UNKNOWN : CUT)),
      output: (graph, net) =>
        graph.sub(
          graph.reshape(net.outputs[bounded]!, [1, bounds.length]),
          graph.constant(
            bounds.map((own) => (own === Infinity ? 0 : own)),
            [1, bounds.length],
          ),
        ),
    },
  ];
}

/** The output times the factor that gives it the values' length, negative ones being cut where a rectifier cuts them. */
function scaledTo(
  graph: TensorGraph,
  output: TensorNode,
  values: Float64Array,
  active: Uint8Array,
  rectified: boolean,
): TensorNode {
  const isSeen = Float64Array.from(active, (own) => Number(own !== UNKNOWN));
  const passed = rectified ? graph.unary('relu', output) : output;
  const squares = graph.total(graph.square(graph.mul(passed, graph.constant(isSeen, output.shape))));
  const length = norm(values.map((own, at) => own * isSeen[at]!));
  return graph.mul(output, graph.div(graph.scalar(length), graph.unary('sqrt', squares)));
}
