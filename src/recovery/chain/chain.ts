import type { Layer, Recipe } from '../../network/recipe.js';
import { followsPrevious, layerName, padsOf, pairOf } from '../../network/recipe.js';
import type { StoredTensor } from '../../network/network-graph.js';
import { goldenSection } from '../golden-section.js';
import { convolveFilter, convolveInput } from '../../graph/convolution.js';
import { sizeOf } from '../../graph/tensor-graph.js';
import { norm } from '../linear-algebra.js';
import { invertActivation, isInvertible } from './activation-inverse.js';
import type { ProductKernel } from '../../engine/engine.js';
import { MOST_UNKNOWNS, type SolvedSystem, solveConv } from './conv-system.js';

/**
 * From the last layer's feature back to the input, layer by layer in closed form, for one sample
 * (science/chain.md). Every value carries its standard error, which weights the next layer's equations.
 */

/** What the head's recovery hands over; everything in the captured gradient's own scale. */
export interface HeadSolution {
  /** Input of the head. */
  readonly feature: Float64Array;
  readonly featureError: Float64Array;
  /** dL/dz of the head, p - y for one sample: K. */
  readonly delta: Float64Array;
  /** Standard error of each entry, without the common scale. */
  readonly deltaError: Float64Array;
  /** Relative error of the common scale: feature * k and delta / k fit the head as well. 0 when known. */
  readonly scaleError: number;
}

/** What the numbers of the dump allow. */
export interface Precision {
  /** Unit roundoff of the network's own arithmetic. */
  readonly forward: number;
  /** Unit roundoff of the stored gradients. */
  readonly stored: number;
  /** Standard deviation of noise on every gradient entry. */
  readonly noise: number;
}

export interface ChainProblem {
  readonly recipe: Recipe;
  /** Index of the head in the recipe. */
  readonly head: number;
  /** Shape of each layer's input, one sample, without the batch. */
  readonly inputShapes: readonly (readonly number[])[];
  readonly parameter: (name: string) => StoredTensor | undefined;
  readonly gradient: (name: string) => StoredTensor | undefined;
  readonly solution: HeadSolution;
  readonly precision: Precision;
}

/** What one layer's equations say about themselves. */
export interface LayerEvidence {
  readonly layer: string;
  readonly op: 'linear' | 'conv';
  readonly unknowns: number;
  readonly equations: number;
  readonly rank: number;
  readonly condition: number;
  /** ||dL/dW - what the recovered input makes of it|| / ||dL/dW||. */
  readonly residual: number;
  /** Distance of the bias gradient from the sum of delta, relative; null without a bias gradient. */
  readonly biasMisfit: number | null;
  /** Root mean square of the estimated errors of the recovered input. */
  readonly inputError: number;
  readonly converged: boolean;
}

export interface ChainResult {
  readonly layers: readonly LayerEvidence[];
  /** The network's input, or undefined when the chain ended before it. */
  readonly input: Float64Array | undefined;
  readonly inputError: number | undefined;
  /** Why and where the chain ended early. */
  readonly stopped: string | undefined;
}

/** A layer's gradient left unexplained by more than this share belongs to another network. */
const MOST_UNEXPLAINED = 0.3;
/** Inputs of networks are normalised: about mean 0, deviation 1. */
const INPUT_PRIOR = { mean: 0, deviation: 2 };

export interface ChainHooks {
  readonly product: ProductKernel;
  /**
   * Called before each layer's work with what comes next, and with what the layer above gave; throws when cancelled.
   *
   * @param values recovered input of the layer solved last, channels x height x width or flat; undefined at first
   */
  layer(name: string, done: number, of: number, values: Recovered | undefined): Promise<void>;
}

export interface Recovered {
  readonly values: Float64Array;
  readonly shape: readonly number[];
}

/** Values of a place in the network, and what they are worth. */
interface State {
  values: Float64Array;
  error: Float64Array;
  /** dL/dvalues */
  delta: Float64Array;
  deltaError: Float64Array;
  /** False where nothing is known of a value (below ReLU's zero). */
  known: Uint8Array;
}

/**
 * @throws RangeError when a layer's tensors do not fit, Error of `hooks.layer` when cancelled
 */
export async function walkChain(problem: ChainProblem, hooks: ChainHooks): Promise<ChainResult> {
  const { recipe, head } = problem;
  let state = startOf(problem, refineScale(problem));
  const layers: LayerEvidence[] = [];
  let latest: Recovered | undefined;
  const toSolve = recipe.layers.slice(0, head).filter(({ op }) => op === 'conv' || op === 'linear').length;
  for (let index = head - 1; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    const name = layerName(layer, index);
    let reason = followsPrevious(recipe, index) ? undefined : 'several paths meet here';
    if (reason === undefined && (layer.op === 'conv' || layer.op === 'linear')) {
      await hooks.layer(name, layers.length, toSolve, latest);
      reason = obstacle(problem, layer, index);
      if (reason === undefined) {
        const solved = await solveLayer(problem, layer, index, state, hooks.product);
        layers.push(solved.evidence);
        state = solved.state;
        latest = { values: state.values, shape: problem.inputShapes[index]! };
        if (solved.evidence.residual > MOST_UNEXPLAINED) {
          reason = `${(100 * solved.evidence.residual).toPrecision(3)} % of its gradient is left unexplained`;
        }
      }
    } else if (reason === undefined) {
      const next = passThrough(problem, layer, index, state);
      if (typeof next === 'string') {
        reason = next;
      } else {
        state = next;
      }
    }
    if (reason !== undefined) {
      const below = selfSufficient(problem, index);
      if (below === undefined) {
        return { layers, input: undefined, inputError: undefined, stopped: `${name}: ${reason}` };
      }
      await hooks.layer(layerName(recipe.layers[below.index]!, below.index), layers.length, toSolve, latest);
      const solved = solveLinear(problem, below.layer, below.index, below.state);
      layers.push(solved.evidence);
      state = solved.state;
      index = below.index;
    }
  }
  return { layers, input: state.values, inputError: rootMeanSquare(state.error), stopped: undefined };
}

/**
 * A linear layer's bias gradient is its delta, so its input follows from its own gradients, whatever lies above it.
 * The next such layer below an obstacle, if its way to the input is a plain one.
 */
function selfSufficient(
  problem: ChainProblem,
  obstacleIndex: number,
): { index: number; layer: Extract<Layer, { op: 'linear' }>; state: State } | undefined {
  const { recipe } = problem;
  for (let index = obstacleIndex - 1; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    if (layer.op !== 'linear' || layer.bias === undefined || problem.inputShapes[index]!.length !== 1) {
      continue;
    }
    const bias = problem.gradient(layer.bias);
    if (bias && problem.gradient(layer.weight)) {
      const delta = Float64Array.from(bias.data);
      const zeros = new Float64Array(delta.length);
      const known = new Uint8Array(delta.length);
      return { index, layer, state: { values: zeros, error: zeros, delta, deltaError: zeros, known } };
    }
  }
  return undefined;
}

function startOf({ recipe, head, parameter, solution, precision }: ChainProblem, scale: number): State {
  const layer = recipe.layers[head];
  const weight = layer?.op === 'linear' ? parameter(layer.weight) : undefined;
  if (layer?.op !== 'linear' || !weight) {
    throw new RangeError('The head is not a linear layer with a known weight.');
  }
  const features = solution.feature.length;
  const delta = new Float64Array(features);
  const variance = new Float64Array(features);
  solution.delta.forEach((own, k) => {
    for (let j = 0; j < features; j++) {
      const w = layer.layout === 'dxk' ? weight.data[j * solution.delta.length + k]! : weight.data[k * features + j]!;
      delta[j]! += (w * own) / scale;
      variance[j]! += w * w * (solution.deltaError[k]! ** 2 + (precision.forward * own) ** 2);
    }
  });
  return {
    values: solution.feature.map((value) => value * scale),
    error: solution.featureError,
    delta,
    deltaError: variance.map((own, j) => Math.sqrt(own + (precision.forward * delta[j]!) ** 2)),
    known: new Uint8Array(features).fill(1),
  };
}

/**
 * The scalar that the scan found is only as good as the labels' rounding, and shifts every layer below. The first
 * bias gradient below the head measures it: a convolution's is the sum of delta, which scales with it.
 */
function refineScale(problem: ChainProblem): number {
  const { recipe, head, solution, gradient } = problem;
  if (!(solution.scaleError > 0)) {
    return 1;
  }
  const misfit = (scale: number): number | undefined => {
    let state = startOf(problem, scale);
    for (let index = head - 1; index >= 0; index--) {
      const layer = recipe.layers[index]!;
      if (layer.op === 'conv' || layer.op === 'linear') {
        const bias = layer.bias === undefined ? undefined : gradient(layer.bias);
        return bias && relativeDistance(channelSums(state.delta, bias.data.length), bias.data);
      }
      const next = passThrough(problem, layer, index, state);
      if (typeof next === 'string') {
        return undefined;
      }
      state = next;
    }
    return undefined;
  };
  if (misfit(1) === undefined) {
    return 1;
  }
  const width = Math.min(20 * solution.scaleError, 0.05);
  const found = goldenSection((t) => misfit(1 + t) ?? Infinity, -width, width);
  return 1 + found;
}

/** Why a layer cannot be solved, or undefined. */
function obstacle(problem: ChainProblem, layer: Layer, index: number): string | undefined {
  if (layer.op !== 'conv' && layer.op !== 'linear') {
    return undefined;
  }
  const unknowns = sizeOf(problem.inputShapes[index]!);
  if (!problem.gradient(layer.weight)) {
    return `the dump holds no gradient of "${layer.weight}"`;
  }
  if (layer.op === 'conv' && unknowns > MOST_UNKNOWNS) {
    return `${unknowns} unknowns are more than the ${MOST_UNKNOWNS} that the exact method takes`;
  }
  return layer.op === 'linear' && problem.inputShapes[index]!.length !== 1
    ? 'a linear layer over several positions is not solved in closed form'
    : undefined;
}

const WHY_NOT: Partial<Record<Layer['op'], string>> = {
  'max-pool': 'a maximum tells one entry of each window',
  'average-pool': 'an average does not tell what it was made of',
  'global-average-pool': 'an average does not tell what it was made of',
  'adaptive-average-pool': 'an average does not tell what it was made of',
  'layer-norm': 'normalisation over the features loses their mean and scale',
  add: 'a sum does not tell its parts',
  gelu: 'this activation is not invertible',
  silu: 'this activation is not invertible',
};

/** Layers without unknowns of their own; a sentence when their input does not follow from their output. */
function passThrough(problem: ChainProblem, layer: Layer, index: number, state: State): State | string {
  switch (layer.op) {
    case 'flatten':
    case 'reshape':
      return state;
    case 'transpose':
      return permute(state, layer.order, problem.inputShapes[index]!);
    case 'batch-norm':
      return throughNorm(problem, layer, index, state);
    default:
      if (!isInvertible(layer)) {
        return WHY_NOT[layer.op] ?? 'its input does not follow from its output';
      }
  }
  const { forward } = problem.precision;
  const tolerance = 6 * rootMeanSquare(state.error);
  const { z, slope, slopeChange } = invertActivation(layer, state.values, tolerance);
  const error = new Float64Array(z.length);
  const delta = new Float64Array(z.length);
  const deltaError = new Float64Array(z.length);
  const known = new Uint8Array(z.length);
  for (let at = 0; at < z.length; at++) {
    const own = Math.hypot(state.error[at]!, forward * Math.abs(state.values[at]!));
    delta[at] = state.delta[at]! * slope[at]!;
    deltaError[at] = Math.hypot(state.deltaError[at]! * slope[at]!, state.delta[at]! * slopeChange[at]! * own);
    if (Number.isFinite(z[at]!) && slope[at]! > 0 && state.known[at] === 1) {
      known[at] = 1;
      error[at] = Math.hypot(own / slope[at]!, forward * Math.max(Math.abs(z[at]!), 1));
    }
  }
  return { values: z, error, delta, deltaError, known };
}

function permute(state: State, order: readonly number[], shape: readonly number[]): State {
  // The layer maps input axis order[i] to output axis i; the batch is axis 0 and stays.
  const axes = order.slice(1).map((axis) => axis - 1);
  const outShape = axes.map((axis) => shape[axis]!);
  const source = (data: Float64Array | Uint8Array, into: Float64Array | Uint8Array): void => {
    const inStrides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
    const steps = axes.map((axis) => inStrides[axis]!);
    data.forEach((value, at) => {
      let rest = at;
      let to = 0;
      for (let axis = outShape.length - 1; axis >= 0; axis--) {
        to += (rest % outShape[axis]!) * steps[axis]!;
        rest = Math.floor(rest / outShape[axis]!);
      }
      into[to] = value;
    });
  };
  const moved = (data: Float64Array): Float64Array => {
    const out = new Float64Array(data.length);
    source(data, out);
    return out;
  };
  const known = new Uint8Array(state.known.length);
  source(state.known, known);
  return {
    values: moved(state.values),
    error: moved(state.error),
    delta: moved(state.delta),
    deltaError: moved(state.deltaError),
    known,
  };
}

/** With running statistics, batch normalisation is one multiplication and one addition per channel. */
function throughNorm(
  problem: ChainProblem,
  layer: Extract<Layer, { op: 'batch-norm' }>,
  index: number,
  state: State,
): State | string {
  const tensor = (name: string | undefined): StoredTensor | undefined =>
    name === undefined ? undefined : problem.parameter(name);
  const mean = tensor(layer.mean);
  const variance = tensor(layer.variance);
  const channels = problem.inputShapes[index]![0]!;
  if (!mean || !variance) {
    return 'its running statistics are not in the checkpoint';
  }
  const gamma = tensor(layer.weight)?.data ?? new Float64Array(channels).fill(1);
  const beta = tensor(layer.bias)?.data ?? new Float64Array(channels);
  const factor = Float64Array.from(
    { length: channels },
    (_, c) => gamma[c]! / Math.sqrt(variance.data[c]! + (layer.epsilon ?? 1e-5)),
  );
  const plane = state.values.length / channels;
  const channelOf = (at: number): number => Math.floor(at / plane);
  return {
    values: state.values.map((value, at) => {
      const c = channelOf(at);
      return (value - beta[c]!) / factor[c]! + mean.data[c]!;
    }),
    error: state.error.map((own, at) => own / Math.abs(factor[channelOf(at)]!)),
    delta: state.delta.map((own, at) => own * factor[channelOf(at)]!),
    deltaError: state.deltaError.map((own, at) => own * Math.abs(factor[channelOf(at)]!)),
    known: state.known,
  };
}

async function solveLayer(
  problem: ChainProblem,
  layer: Extract<Layer, { op: 'conv' | 'linear' }>,
  index: number,
  state: State,
  product: ProductKernel,
): Promise<{ evidence: LayerEvidence; state: State }> {
  return layer.op === 'linear'
    ? solveLinear(problem, layer, index, state)
    : solveConvLayer(problem, layer, index, state, product);
}

/** G = D x^T: every row gives x, weighted by what it is worth (the paper's demo averages ratios instead). */
function solveLinear(
  problem: ChainProblem,
  layer: Extract<Layer, { op: 'linear' }>,
  index: number,
  state: State,
): { evidence: LayerEvidence; state: State } {
  const { precision } = problem;
  const weight = problem.parameter(layer.weight)!;
  const gradient = problem.gradient(layer.weight)!.data;
  const biasGradient = layer.bias === undefined ? undefined : problem.gradient(layer.bias)?.data;
  const rows = state.delta.length;
  const cols = gradient.length / rows;
  const at = layer.layout === 'dxk' ? (i: number, j: number) => j * rows + i : (i: number, j: number) => i * cols + j;
  const misfit = biasGradient ? relativeDistance(state.delta, biasGradient) : null;
  // The bias gradient is delta itself, free of what the layers above have added.
  const useBias = biasGradient?.length === rows;
  const delta = useBias ? Float64Array.from(biasGradient) : state.delta;
  const deltaError = useBias
    ? delta.map((own) => Math.hypot(precision.stored * own, precision.noise))
    : state.deltaError;
  const size = norm(delta);
  const strongest = delta.reduce((best, own, i) => (Math.abs(own) > Math.abs(delta[best]!) ? i : best), 0);
  // How large the input's entries are, from the row that tells it best.
  let square = 0;
  for (let j = 0; j < cols; j++) {
    square += gradient[at(strongest, j)]! ** 2;
  }
  const scale = Math.sqrt(square / cols) / Math.max(Math.abs(delta[strongest]!), 1e-300);
  const importance = delta.map((own, i) =>
    own === 0
      ? 0
      : 1 / (precision.noise ** 2 + (precision.stored * own * scale) ** 2 + (deltaError[i]! * scale) ** 2 + 1e-300),
  );
  let information = 0;
  delta.forEach((own, i) => {
    information += importance[i]! * own * own;
  });
  const x = new Float64Array(cols);
  for (let i = 0; i < rows; i++) {
    const share = (importance[i]! * delta[i]!) / information;
    if (share !== 0) {
      for (let j = 0; j < cols; j++) {
        x[j]! += share * gradient[at(i, j)]!;
      }
    }
  }
  let left = 0;
  let total = 0;
  for (let i = 0; i < rows; i++) {
    const own = delta[i]!;
    for (let j = 0; j < cols; j++) {
      const value = gradient[at(i, j)]!;
      const off = value - own * x[j]!;
      left += off * off;
      total += value * value;
    }
  }
  const below = new Float64Array(cols);
  const variance = new Float64Array(cols);
  if (problem.recipe.layers.slice(0, index).some(({ op }) => op === 'conv' || op === 'linear')) {
    for (let i = 0; i < rows; i++) {
      const own = delta[i]!;
      const spread = deltaError[i]! ** 2 + (precision.forward * own) ** 2;
      if (own !== 0) {
        for (let j = 0; j < cols; j++) {
          const w = weight.data[at(i, j)]!;
          below[j]! += w * own;
          variance[j]! += w * w * spread;
        }
      }
    }
  }
  const inputError = 1 / Math.sqrt(information);
  return {
    evidence: {
      layer: layer.weight,
      op: 'linear',
      unknowns: cols,
      equations: rows * cols,
      rank: size > 0 ? cols : 0,
      condition: 1,
      residual: total > 0 ? Math.sqrt(left / total) : 1,
      biasMisfit: misfit,
      inputError,
      converged: true,
    },
    state: {
      values: x,
      error: new Float64Array(cols).fill(inputError),
      delta: below,
      deltaError: variance.map(Math.sqrt),
      known: new Uint8Array(cols).fill(1),
    },
  };
}

async function solveConvLayer(
  problem: ChainProblem,
  layer: Extract<Layer, { op: 'conv' }>,
  index: number,
  state: State,
  product: ProductKernel,
): Promise<{ evidence: LayerEvidence; state: State }> {
  const { precision } = problem;
  const stored = problem.parameter(layer.weight)!;
  const toOihw = (tensor: StoredTensor): Float64Array =>
    layer.layout === 'hwio' ? hwioToOihw(tensor) : Float64Array.from(tensor.data);
  const filter = toOihw(stored);
  const gradient = toOihw(problem.gradient(layer.weight)!);
  const filterShape =
    layer.layout === 'hwio' ? [stored.shape[3]!, stored.shape[2]!, stored.shape[0]!, stored.shape[1]!] : stored.shape;
  const inputShape = [1, ...problem.inputShapes[index]!];
  const strides = pairOf(layer.stride, 1);
  const dilations = pairOf(layer.dilation, 1);
  const kernel: [number, number] = [filterShape[2]!, filterShape[3]!];
  const pads = padsOf(layer.padding, [inputShape[2]!, inputShape[3]!], kernel, strides, dilations);
  const geometry = { strides, pads, dilations, groups: layer.groups ?? 1 };
  const channels = filterShape[0]!;
  const plane = state.values.length / channels;
  const [rows, cols] = [0, 1].map(
    (axis) =>
      Math.floor(
        (inputShape[2 + axis]! + pads[axis]! + pads[2 + axis]! - dilations[axis]! * (kernel[axis]! - 1) - 1) /
          strides[axis]!,
      ) + 1,
  ) as [number, number];
  const outputShape = [1, channels, rows, cols];
  const bias = layer.bias === undefined ? undefined : problem.parameter(layer.bias)?.data;
  const biasGradient = layer.bias === undefined ? undefined : problem.gradient(layer.bias)?.data;
  const misfit = biasGradient ? relativeDistance(channelSums(state.delta, channels), biasGradient) : null;
  const prior = index === 0 ? INPUT_PRIOR : priorBelow(problem, index);
  // A first guess of the input's size turns errors of delta into errors of the gradient rows.
  const typical = Math.hypot(prior.mean, index === 0 ? 1 : prior.deviation);
  const rowError = new Float64Array(channels);
  for (let o = 0; o < channels; o++) {
    let sum = 0;
    for (let at = o * plane; at < (o + 1) * plane; at++) {
      sum += state.deltaError[at]! ** 2 + (precision.forward * state.delta[at]!) ** 2;
    }
    rowError[o] = typical * Math.sqrt(sum);
  }
  const perFilter = gradient.length / channels;
  const system = {
    geometry,
    inputShape,
    filter,
    filterShape,
    outputShape,
    forward: state.values.map((z, at) => (state.known[at] === 1 ? z - (bias?.[Math.floor(at / plane)] ?? 0) : 0)),
    forwardWeight: state.error.map((own, at) => (state.known[at] === 1 ? 1 / Math.max(own, 1e-300) : 0)),
    delta: state.delta,
    gradient,
    gradientWeight: gradient.map((own, at) => {
      const error = Math.hypot(
        rowError[Math.floor(at / perFilter)]!,
        (precision.stored * own) / Math.sqrt(3),
        precision.noise,
      );
      return error > 0 ? 1 / error : 0;
    }),
    prior,
  };
  const solved = await solveConv(system, product);
  return {
    evidence: evidenceOf(layer, solved, system, misfit),
    state: below(system, solved, state, precision),
  };
}

type System = Parameters<typeof solveConv>[0];

function evidenceOf(
  layer: Extract<Layer, { op: 'conv' }>,
  solved: SolvedSystem,
  system: System,
  biasMisfit: number | null,
): LayerEvidence {
  const { gradient } = system;
  const simulated = convolveFilterOf(system, solved.x);
  return {
    layer: layer.weight,
    op: 'conv',
    unknowns: solved.unknowns,
    equations: solved.equations,
    rank: solved.rank,
    condition: solved.condition,
    residual: relativeDistance(simulated, gradient),
    biasMisfit,
    inputError: rootMeanSquare(solved.error),
    converged: solved.converged,
  };
}

/** dL/dx = conv^T(delta), with the errors of delta carried along. */
function below(system: System, solved: SolvedSystem, state: State, precision: Precision): State {
  const { geometry, inputShape, filter, filterShape, outputShape, delta } = system;
  const spread = state.deltaError.map((own, at) => own ** 2 + (precision.forward * delta[at]!) ** 2);
  return {
    values: solved.x,
    error: solved.error,
    delta: convolveInput(delta, outputShape, filter, filterShape, geometry, inputShape),
    deltaError: convolveInput(
      spread,
      outputShape,
      filter.map((w) => w * w),
      filterShape,
      geometry,
      inputShape,
    ).map(Math.sqrt),
    known: new Uint8Array(solved.x.length).fill(1),
  };
}

function convolveFilterOf(system: System, x: Float64Array): Float64Array {
  return convolveFilter(x, system.inputShape, system.delta, system.outputShape, system.geometry, system.filterShape);
}

/** Sigmoids lie in (0, 1), hyperbolic tangents in (-1, 1); others are taken to be of size one. */
function priorBelow({ recipe }: ChainProblem, index: number): { mean: number; deviation: number } {
  for (let at = index - 1; at >= 0; at--) {
    const { op } = recipe.layers[at]!;
    if (op === 'sigmoid') {
      return { mean: 0.5, deviation: 0.5 };
    }
    if (op === 'tanh') {
      return { mean: 0, deviation: 1 };
    }
    if (op === 'relu' || op === 'leaky-relu' || op === 'elu') {
      return { mean: 0, deviation: 10 };
    }
  }
  return INPUT_PRIOR;
}

function hwioToOihw({ data, shape }: StoredTensor): Float64Array {
  const [height, width, inputs, outputs] = shape as [number, number, number, number];
  const out = new Float64Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let i = 0; i < inputs; i++) {
        for (let o = 0; o < outputs; o++) {
          out[((o * inputs + i) * height + y) * width + x] = data[((y * width + x) * inputs + i) * outputs + o]!;
        }
      }
    }
  }
  return out;
}

function channelSums(delta: Float64Array, channels: number): Float64Array {
  const plane = delta.length / channels;
  return Float64Array.from({ length: channels }, (_, channel) =>
    delta.subarray(channel * plane, (channel + 1) * plane).reduce((sum, own) => sum + own, 0),
  );
}

function relativeDistance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let at = 0; at < expected.length; at++) {
    difference += (found[at]! - expected[at]!) ** 2;
    size += expected[at]! ** 2;
  }
  return Math.sqrt(difference / Math.max(size, 1e-300));
}

function rootMeanSquare(values: Float64Array): number {
  return norm(values) / Math.sqrt(Math.max(values.length, 1));
}
