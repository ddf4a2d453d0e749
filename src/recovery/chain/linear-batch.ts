import type { StoredTensor } from '../../network/network-graph.js';
import { type Layer, type LinearLayer, type Recipe, followsPrevious, layerName } from '../../network/layers/recipe.js';
import { softmax } from '../activation.js';
import { matrixProduct, transposed } from '../linear-algebra.js';
import { dot, joined, norm } from '../vectors.js';
import { invertActivation, isInvertible } from './activation-inverse.js';
import { NormalEquations, type Rows, leastSquares } from './weighted-rows.js';
import type { Pause } from '../pause.js';

/**
 * From the features of a whole batch back to its inputs, down a fully connected network. With D_l the
 * batch's dL/dz and H_l its inputs of layer l, dL/dW_l = D_l^T H_l: B unknown rows and as many equations as the layer has
 * outputs. A network run forward from the inputs found then gives every D_l without the errors of the way down,
 * and the last step is done again with it: a joint refinement of all samples.
 */
export interface BatchChainProblem {
  readonly recipe: Recipe;
  /** Index of the head in the recipe. */
  readonly head: number;
  /** Shape of each layer's input, one sample. */
  readonly inputShapes: readonly (readonly number[])[];
  readonly parameter: (name: string) => StoredTensor | undefined;
  readonly gradient: (name: string) => StoredTensor | undefined;
  readonly samples: readonly BatchChainSample[];
  /** Unit roundoff of the stored gradients. */
  readonly roundoff: number;
  /** Standard deviation of added noise per number of the gradient. */
  readonly noise: number;
}

export interface BatchChainSample {
  /** Input of the head. */
  readonly feature: Float64Array;
  /** p - y, K. */
  readonly errorVector: Float64Array;
  /** y, K. */
  readonly label: Float64Array;
  /** Weight of the sample in the loss: 1 / B for a mean. */
  readonly coefficient: number;
}

export interface BatchLayerEvidence {
  readonly layer: string;
  readonly unknowns: number;
  readonly equations: number;
  /** Largest over smallest pivot of the weighted D_l. */
  readonly condition: number;
  /** ||dL/dW - D^T H|| / ||dL/dW||. */
  readonly residual: number;
}

export interface BatchChainResult {
  /** One input per sample, undefined when the chain ended before. */
  readonly inputs: readonly Float64Array[] | undefined;
  /** Expected root mean square error of each input. */
  readonly inputErrors: readonly number[];
  readonly layers: readonly BatchLayerEvidence[];
  /** ||simulated - captured|| / ||captured|| over the weights of all linear layers. */
  readonly gradientError: number;
  /** Why and where the chain ended early. */
  readonly stopped: string | undefined;
}

const MOST_PASSES = 8;

/** A pass that does not cut the gradient's error by this share is the last one. */
const WORTHWHILE = 0.9;

/** ReLU's zeros come out of least squares as small numbers of both signs; up to this many times the most negative is doubted. */
const DOUBTFUL = 100;

/** Rows of the gradient count as at least this large, against their root mean square. */
const SMALL_ROW = 0.1;

/**
 * @param pause called before each layer with its name; may throw to stop
 * @throws RangeError when a layer's tensors do not fit
 */
export async function walkLinearBatch(problem: BatchChainProblem, pause: Pause<string>): Promise<BatchChainResult> {
  const { recipe, head, samples } = problem;
  const layers: BatchLayerEvidence[] = [];
  const obstacle = obstacleOf(problem);
  if (obstacle !== undefined) {
    return { inputs: undefined, inputErrors: [], layers, gradientError: NaN, stopped: obstacle };
  }
  const count = samples.length;
  let values = joined(samples.map(({ feature }) => feature));
  let delta = joined(samples.map(({ errorVector, coefficient }) => errorVector.map((value) => value * coefficient)));
  let width = samples[0]!.feature.length;
  let inputErrors: number[] = [];
  for (let index = head; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    if (layer.op === 'linear') {
      await pause(layerName(layer, index));
      if (index < head) {
        const solved = solveInputs(problem, layer, index, delta, count);
        layers.push(solved.evidence);
        ({ values, width, inputErrors, delta } = solved);
      }
      delta = backward(problem, layer, delta, count);
    } else if (isInvertible(layer)) {
      // Samples are known to very different precision, so each one's own zeros tell its error.
      const slope = joined(
        rowsOf(values, count).map(
          (row) => invertActivation(layer, row, zeroOf(row, DOUBTFUL * mostNegative(row))).slope,
        ),
      );
      delta = delta.map((value, at) => value * slope[at]!);
    }
  }
  const refined = await refineForward(problem, values, width, pause);
  return {
    inputs: rowsOf(refined.inputs, count),
    inputErrors: refined.inputErrors ?? inputErrors,
    layers,
    gradientError: refined.gradientError,
    stopped: undefined,
  };
}

/** Forward from the inputs, then the first layer's least squares with the exact D, until the gradient is no closer. */
async function refineForward(
  problem: BatchChainProblem,
  start: Float64Array,
  width: number,
  pause: Pause<string>,
): Promise<{ inputs: Float64Array; inputErrors: number[] | undefined; gradientError: number }> {
  const { recipe, head } = problem;
  const count = problem.samples.length;
  const first = recipe.layers.findIndex(({ op }) => op === 'linear');
  const layer = recipe.layers[first]!;
  let best = { inputs: start, inputErrors: undefined as number[] | undefined, gradientError: Infinity };
  let inputs = start;
  let inputErrors: number[] | undefined;
  for (let pass = 0; pass < MOST_PASSES; pass++) {
    await pause(`the whole network, pass ${pass + 1}`);
    const run = simulate(problem, inputs, width);
    const isWorthwhile = run.gradientError < WORTHWHILE * best.gradientError;
    if (run.gradientError < best.gradientError) {
      best = { inputs, inputErrors, gradientError: run.gradientError };
    }
    if (!isWorthwhile || layer.op !== 'linear' || first === head) {
      break;
    }
    const solved = solveInputs(problem, layer, first, run.firstDelta, count);
    inputs = solved.values;
    inputErrors = solved.inputErrors;
  }
  return best;
}

/** The network's own gradient at the inputs, against the captured one; and D of the first linear layer. */
function simulate(
  problem: BatchChainProblem,
  inputs: Float64Array,
  width: number,
): { gradientError: number; firstDelta: Float64Array } {
  const { recipe, head, samples } = problem;
  const count = samples.length;
  const entering: Float64Array[] = [];
  const outputs: Float64Array[] = [];
  let values = inputs;
  let size = width;
  for (let index = 0; index <= head; index++) {
    const layer = recipe.layers[index]!;
    entering.push(values);
    if (layer.op === 'linear') {
      ({ values, size } = forward(problem, layer, values, size, count));
    } else if (isInvertible(layer)) {
      values = activate(layer, values);
    }
    outputs.push(values);
  }
  const logits = rowsOf(values, count);
  let delta = joined(
    logits.map((z, at) => {
      const { label, coefficient } = samples[at]!;
      return softmax(z).map((p, row) => coefficient * (p - label[row]!));
    }),
  );
  let difference = 0;
  let total = 0;
  let firstDelta = delta;
  for (let index = head; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    if (layer.op === 'linear') {
      firstDelta = delta;
      const misfit = misfitOf(asRows(problem.gradient(layer.weight)!, layer), delta, entering[index]!, count);
      difference += misfit.difference;
      total += misfit.total;
      delta = backward(problem, layer, delta, count);
    } else if (isInvertible(layer)) {
      const { slope } = invertActivation(layer, outputs[index]!, 0);
      delta = delta.map((value, at) => value * slope[at]!);
    }
  }
  return { gradientError: Math.sqrt(difference / total), firstDelta };
}

function obstacleOf({ recipe, head, parameter, gradient, samples }: BatchChainProblem): string | undefined {
  if (!recipe.layers.slice(0, head).some(({ op }) => op === 'linear')) {
    return 'the head: it is the first layer, and its inputs are the features';
  }
  for (let index = head; index >= 0; index--) {
    const layer = recipe.layers[index]!;
    const name = layerName(layer, index);
    if (!followsPrevious(recipe, index)) {
      return `${name}: several paths meet here`;
    }
    if (layer.op === 'linear') {
      const shape = gradient(layer.weight)?.shape;
      if (!parameter(layer.weight) || !shape) {
        return `${name}: the dump holds no gradient of it`;
      }
      const [out = 0] = layer.layout === 'dxk' ? [shape[1]] : shape;
      if (index < head && out < samples.length) {
        return `${name}: ${out} outputs do not tell ${samples.length} samples apart`;
      }
    } else if (layer.op !== 'flatten' && layer.op !== 'reshape' && !isInvertible(layer)) {
      return `${name}: inputs of a whole batch are computed for fully connected networks only`;
    }
  }
  return undefined;
}

/**
 * H from dL/dW = D^T H by least squares, each equation weighted by what its row of the gradient is worth. A ReLU taken for
 * active where it is not, or the other way round, spoils one unit's row: such rows show by what they leave, are taken
 * out by reweighting, and their D then follows from H.
 */
function solveInputs(
  problem: BatchChainProblem,
  layer: LinearLayer,
  index: number,
  delta: Float64Array,
  count: number,
): {
  values: Float64Array;
  width: number;
  inputErrors: number[];
  delta: Float64Array;
  evidence: BatchLayerEvidence;
} {
  const rows = asRows(problem.gradient(layer.weight)!, layer);
  const { outputs, inputs, data } = rows;
  const sizes = Float64Array.from(
    { length: outputs },
    (_, row) => norm(data.subarray(row * inputs, (row + 1) * inputs)) / Math.sqrt(inputs),
  );
  // A row may be small because its unit was hardly active; how far D itself is off does not shrink with it.
  const typical = (SMALL_ROW * norm(sizes)) / Math.sqrt(outputs);
  const worth = sizes.map((size) => 1 / Math.hypot(Math.hypot(size, typical) * problem.roundoff, problem.noise));
  let weights = worth;
  let solved = leastSquares(rows, delta, count, weights);
  let left = misfitOf(rows, delta, solved.values, count);
  for (let round = 0; round < ROUNDS && left.total > 0; round++) {
    const relative = left.perRow.map((square, row) => Math.sqrt(square / inputs) * worth[row]!);
    const typicalLeft = Float64Array.from(relative).sort()[Math.floor(outputs / 2)]!;
    if (relative.every((value) => value <= OUTLIER * typicalLeft)) {
      break;
    }
    // One over what is left, as for the least sum of lengths, and nothing for what stands out at last.
    const isLast = round >= ROUNDS - 2;
    weights = worth.map((value, row) =>
      isLast && relative[row]! > OUTLIER * typicalLeft
        ? 0
        : value * Math.sqrt(typicalLeft / Math.max(relative[row]!, 0.1 * typicalLeft, 1e-300)),
    );
    solved = leastSquares(rows, delta, count, weights);
    left = misfitOf(rows, delta, solved.values, count);
  }
  const corrected = correctRows(rows, delta, solved.values, count, weights);
  const after = corrected === delta ? left : misfitOf(rows, corrected, solved.values, count);
  return {
    values: solved.values,
    width: inputs,
    inputErrors: solved.errors,
    delta: corrected,
    evidence: {
      layer: layerName(layer, index),
      unknowns: count * inputs,
      equations: outputs * inputs,
      condition: solved.condition,
      residual: Math.sqrt(after.difference / after.total),
    },
  };
}

const ROUNDS = 10;

/** A row that leaves this many times what the middle one leaves is spoilt. */
const OUTLIER = 20;

/** D of rows that were taken out, from H: the same equations the other way round. */
function correctRows(
  { outputs, inputs, data }: Rows,
  delta: Float64Array,
  values: Float64Array,
  count: number,
  weights: Float64Array,
): Float64Array {
  const out = [...weights.keys()].filter((row) => weights[row] === 0);
  if (out.length === 0 || inputs < count) {
    return delta;
  }
  const system = new NormalEquations(values, count, inputs);
  const corrected = delta.slice();
  for (const row of out) {
    const own = data.subarray(row * inputs, (row + 1) * inputs);
    const along = Float64Array.from({ length: count }, (_, at) =>
      dot(values.subarray(at * inputs, (at + 1) * inputs), own),
    );
    system.solve(along).forEach((value, at) => (corrected[at * outputs + row] = value));
  }
  return corrected;
}

/** ||dL/dW - D^T H||^2, in all and of each row, and ||dL/dW||^2. */
function misfitOf(
  { outputs, inputs, data }: Rows,
  delta: Float64Array,
  values: Float64Array,
  count: number,
): { difference: number; total: number; perRow: Float64Array } {
  const simulated = matrixProduct(transposed(delta, count, outputs), values, outputs, count, inputs);
  const perRow = new Float64Array(outputs);
  let total = 0;
  for (let at = 0; at < data.length; at++) {
    perRow[Math.floor(at / inputs)]! += (simulated[at]! - data[at]!) ** 2;
    total += data[at]! ** 2;
  }
  return { difference: perRow.reduce((sum, value) => sum + value, 0), total, perRow };
}

/** D W: dL/d(input of the layer), count x inputs. */
function backward(problem: BatchChainProblem, layer: LinearLayer, delta: Float64Array, count: number): Float64Array {
  const { outputs, inputs, data } = asRows(problem.parameter(layer.weight)!, layer);
  return matrixProduct(delta, data, count, outputs, inputs);
}

/** H W^T + b, count x outputs. */
function forward(
  problem: BatchChainProblem,
  layer: LinearLayer,
  values: Float64Array,
  width: number,
  count: number,
): { values: Float64Array; size: number } {
  const { outputs, inputs, data } = asRows(problem.parameter(layer.weight)!, layer);
  if (inputs !== width) {
    throw new RangeError(`"${layer.weight}" takes ${inputs} numbers, and ${width} come in.`);
  }
  const out = matrixProduct(values, transposed(data, outputs, inputs), count, inputs, outputs);
  const bias = layer.bias === undefined ? undefined : problem.parameter(layer.bias)?.data;
  if (bias) {
    for (let at = 0; at < out.length; at++) {
      out[at]! += bias[at % outputs]!;
    }
  }
  return { values: out, size: outputs };
}

function activate(layer: Layer, z: Float64Array): Float64Array {
  switch (layer.op) {
    case 'relu':
      return z.map((value) => Math.max(value, 0));
    case 'leaky-relu':
      return z.map((value) => (value > 0 ? value : (layer.slope ?? 0.01) * value));
    case 'elu':
      return z.map((value) => (value > 0 ? value : (layer.alpha ?? 1) * Math.expm1(value)));
    case 'sigmoid':
      return z.map((value) => 1 / (1 + Math.exp(-value)));
    case 'tanh':
      return z.map(Math.tanh);
    default:
      return z;
  }
}

/** A linear layer's tensor as outputs x inputs. */
function asRows(
  { shape, data }: StoredTensor,
  { layout }: LinearLayer,
): { outputs: number; inputs: number; data: Float64Array } {
  const [first = 0, second = 0] = shape;
  const stored = data instanceof Float64Array ? data : Float64Array.from(data);
  return layout === 'dxk'
    ? { outputs: second, inputs: first, data: transposed(stored, first, second) }
    : { outputs: first, inputs: second, data: stored };
}

function rowsOf(values: Float64Array, count: number): Float64Array[] {
  const width = values.length / count;
  return Array.from({ length: count }, (_, at) => values.slice(at * width, (at + 1) * width));
}

/** How far below zero the values go, as a positive number. */
function mostNegative(values: Float64Array): number {
  return -values.reduce((least, value) => Math.min(least, value), 0);
}

/**
 * Where one sample's zeros of a ReLU end and its small outputs begin: the widest gap, as a ratio, below `doubt`.
 */
function zeroOf(values: Float64Array, doubt: number): number {
  const positive = values.filter((value) => value > 1e-4 * doubt).sort();
  let zero = 0;
  let widest = 1;
  for (let at = 0; at + 1 < positive.length && positive[at]! < doubt; at++) {
    const ratio = positive[at + 1]! / positive[at]!;
    if (ratio > widest) {
      widest = ratio;
      zero = Math.sqrt(positive[at]! * positive[at + 1]!);
    }
  }
  return zero;
}
