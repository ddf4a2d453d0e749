import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openTensorFile } from '../src/formats/open.js';
import { gradients } from '../src/graph/derivative.js';
import { foldConstant } from '../src/graph/evaluate.js';
import { TensorGraph, type TensorNode } from '../src/graph/tensor-graph.js';
import { recogniseNetwork } from '../src/network/built-in.js';
import type { NormMode } from '../src/network/layers/layer-rule.js';
import { type StoredTensor, buildNetwork, crossEntropy } from '../src/network/network-graph.js';
import type { Recipe } from '../src/network/layers/recipe.js';

/** Networks of the fixtures, for tests and the benchmark. */

export const NETWORKS = join(import.meta.dirname, 'fixtures', 'networks');

/** Every tensor of a file by name. */
export function readTensors(path: string): Map<string, StoredTensor> {
  const file = openTensorFile(path);
  try {
    return new Map(file.entries.map(({ name, shape }) => [name, { shape, data: file.read(name).data }]));
  } finally {
    file.close();
  }
}

/** Wang's integer hash, as make_network_fixtures.py has it: numbers in (-0.5, 0.5). */
export function hashed(size: number, seed: number): Float64Array {
  return Float64Array.from({ length: size }, (_, at) => {
    let h = (at + seed * 1000003) >>> 0;
    h = (h ^ 61 ^ (h >>> 16)) >>> 0;
    h = Math.imul(h, 9) >>> 0;
    h = (h ^ (h >>> 4)) >>> 0;
    h = Math.imul(h, 0x27d4eb2d) >>> 0;
    h = (h ^ (h >>> 15)) >>> 0;
    return h / 2 ** 32 - 0.5;
  });
}

export interface Described {
  norm: number;
  projections: number[];
}

export interface SecondOrderCase {
  tensors: [string, number[]][];
  index: number[];
  shape: number[];
  classes: number;
  squaredNorm: number;
  dx: Described;
  gradients: Record<string, Described>;
}

export function secondOrderCases(): Record<string, SecondOrderCase> {
  return JSON.parse(readFileSync(join(NETWORKS, 'second-order.json'), 'utf8')) as Record<string, SecondOrderCase>;
}

function filled(name: string, shape: readonly number[], index: number): StoredTensor {
  const size = shape.reduce((product, own) => product * own, 1);
  const values = hashed(size, index + 1);
  const fanIn = shape.slice(1).reduce((product, own) => product * own, 1);
  const data = values.map((value) => {
    if (shape.length > 1) {
      return value * Math.sqrt(12 / fanIn);
    }
    if (name.endsWith('running_var')) {
      return value + 1;
    }
    if (name.includes('bn') || name.includes('.1.weight') || name.includes('.1.bias')) {
      return value * 0.2 + (name.endsWith('weight') ? 1 : 0);
    }
    return value * 0.2;
  });
  return { shape, data };
}

export interface MatchingStep {
  readonly graph: TensorGraph;
  readonly recipe: Recipe;
  /** Squared norm of all parameter gradients, its gradient by the input, and the gradients. */
  readonly outputs: readonly TensorNode[];
  readonly names: readonly string[];
  readonly x: Float64Array;
}

/** The second-order step of a case, with the weights that PyTorch had. */
export function matchingStep(own: SecondOrderCase): MatchingStep {
  const tensors = new Map(own.tensors.map(([name, shape], at) => [name, filled(name, shape, own.index[at]!)]));
  const entries = own.tensors.map(([name, shape]) => ({ name, shape }));
  const [candidate] = recogniseNetwork(entries, { inputShape: own.shape.slice(1) });
  const { recipe } = candidate!;
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, recipe, (name) => tensors.get(name), 1, 'eval');
  const raw = hashed(own.classes, 778).map(Math.abs);
  const sum = raw.reduce((total, value) => total + value, 0);
  const label = graph.constant(
    raw.map((value) => value / sum),
    [1, own.classes],
  );
  const names = [...net.parameters.keys()];
  const slopes = gradients(graph, crossEntropy(graph, net.logits, label), [...net.parameters.values()]);
  const norm = slopes.map((slope) => graph.total(graph.square(slope))).reduce((total, one) => graph.add(total, one));
  const [dx] = gradients(graph, norm, [net.input]);
  return {
    graph,
    recipe,
    outputs: [norm, dx!, ...slopes],
    names,
    x: hashed(
      net.input.shape.reduce((p, s) => p * s, 1),
      777,
    ).map((v) => 3 * v),
  };
}

/** Largest deviation of a tensor from what PyTorch said of it, relative to its norm. */
export function deviation(values: ArrayLike<number>, described: Described, seed: number): number {
  const squares = Array.from(values).reduce((sum, value) => sum + value ** 2, 0);
  const projected = described.projections.map((expected, k) => {
    const direction = hashed(values.length, seed + k);
    let sum = 0;
    let size = 0;
    for (let at = 0; at < values.length; at++) {
      sum += values[at]! * direction[at]!;
      size += direction[at]! ** 2;
    }
    return Math.abs(sum - expected) / Math.sqrt(size);
  });
  return Math.max(Math.abs(Math.sqrt(squares) - described.norm), ...projected) / described.norm;
}

/** Gradients of the loss at an input, as nodes, with the parameters' names. */
export function gradientNodes(
  recipe: Recipe,
  tensors: ReadonlyMap<string, StoredTensor>,
  labels: readonly number[],
  mode: NormMode = 'eval',
): { names: string[]; nodes: TensorNode[] } {
  const graph = new TensorGraph(foldConstant);
  const lookup = (name: string): StoredTensor | undefined =>
    tensors.get(name) ?? [...tensors].find(([own]) => own.endsWith(name))?.[1];
  const net = buildNetwork(graph, recipe, lookup, 1, mode);
  const label = graph.constant(Float64Array.from(labels), [1, labels.length]);
  const names = [...net.parameters.keys()];
  return { names, nodes: gradients(graph, crossEntropy(graph, net.logits, label), [...net.parameters.values()]) };
}

export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let at = 0; at < expected.length; at++) {
    difference += (found[at]! - expected[at]!) ** 2;
    size += expected[at]! ** 2;
  }
  return Math.sqrt(difference / size);
}
