import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type * as Tf from '@tensorflow/tfjs-core';
import {
  type BinaryFunction,
  type ConvGeometry,
  type TensorData,
  type TensorNode,
  type UnaryFunction,
  needed,
} from '../graph/tensor-graph.js';
import { type Engine, EngineError, type EngineId, type Program } from './engine.js';

/**
 * TensorFlow.js as an executor of the graph, one operation after the other. None of its own gradient functions is used:
 * its second-order derivatives are wrong in silence for several operations. Its kernels are channels-last and lack
 * filter gradients on some backends, so convolutions are sums of matrix products over the filter's taps.
 */

export type TfjsId = Extract<EngineId, `tfjs-${string}`>;

type TfModule = typeof Tf;

/**
 * @param folder where `node_modules/@tensorflow/tfjs-node-gpu` of the user is
 * @throws EngineError when the package or its native library is not there or does not load
 */
export async function tfjsEngine(id: TfjsId, folder: string | undefined): Promise<Engine> {
  const { tf, description } = await load(id, folder);
  // Backends are global to the library: another engine of the same process may have taken over.
  const backend = tf.getBackend();
  return {
    id,
    description,
    async compile(outputs) {
      await activate(tf, backend);
      return compile(tf, backend, outputs);
    },
    dispose: () => Promise.resolve(),
  };
}

async function load(id: TfjsId, folder: string | undefined): Promise<{ tf: TfModule; description: string }> {
  switch (id) {
    case 'tfjs-cpu': {
      const tf = await import('@tensorflow/tfjs-core');
      await import('@tensorflow/tfjs-backend-cpu');
      await activate(tf, 'cpu');
      return { tf, description: `TensorFlow.js ${tf.version_core} in plain JavaScript` };
    }
    case 'tfjs-wasm': {
      const tf = await import('@tensorflow/tfjs-core');
      const wasm = await import('@tensorflow/tfjs-backend-wasm');
      // Handed over as a file of ours: it would otherwise be fetched, which Node's fetch refuses for files.
      wasm.setWasmPaths(wasmFolder());
      await activate(tf, 'wasm');
      return { tf, description: `TensorFlow.js ${tf.version_core} in WebAssembly` };
    }
    case 'tfjs-node':
    case 'tfjs-node-gpu': {
      const tf = loadNative(`@tensorflow/${id}`, folder);
      await activate(tf, 'tensorflow');
      const backend = tf.backend() as { isUsingGpuDevice?: boolean };
      if (id === 'tfjs-node-gpu' && backend.isUsingGpuDevice !== true) {
        throw new EngineError(
          'it loads, but TensorFlow finds no GPU: it needs an NVIDIA driver, and CUDA 11.2 with cuDNN 8.1 (libcudart.so.11.0), or 12.2 with 8.9 where it was compiled on this machine',
        );
      }
      return { tf, description: `TensorFlow.js with libtensorflow ${id === 'tfjs-node-gpu' ? 'on CUDA' : 'on CPU'}` };
    }
  }
}

async function activate(tf: TfModule, backend: string): Promise<void> {
  // Without a check, work would silently go to another backend.
  if (!(await tf.setBackend(backend)) || tf.getBackend() !== backend) {
    throw new EngineError(`TensorFlow.js does not start its backend "${backend}"`);
  }
  await tf.ready();
}

function wasmFolder(): string {
  const packaged = join(__dirname, 'wasm');
  if (existsSync(packaged)) {
    return `${packaged}/`;
  }
  const entry = createRequire(__filename).resolve('@tensorflow/tfjs-backend-wasm/package.json');
  return `${join(entry, '..', 'dist')}/`;
}

function loadNative(name: string, folder: string | undefined): TfModule {
  // Removed in Node 23, still called by tfjs-node 4.22 (tfjs#8609).
  const util = createRequire(__filename)('node:util') as { isNullOrUndefined?: (value: unknown) => boolean };
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
  const from = folder === undefined ? __filename : join(folder, 'package.json');
  try {
    return createRequire(from)(name) as TfModule;
  } catch (error) {
    const detail = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new EngineError(
      detail.includes('Cannot find module') && detail.includes(name)
        ? `${name} is not installed${folder === undefined ? '' : ` in ${folder}`}`
        : `${name} does not load: ${detail}`,
    );
  }
}

function compile(tf: TfModule, backend: string, outputs: readonly TensorNode[]): Program {
  const nodes = needed(outputs);
  const uses = new Map<TensorNode, number>();
  for (const node of nodes) {
    for (const input of node.inputs) {
      uses.set(input, (uses.get(input) ?? 0) + 1);
    }
  }
  for (const output of outputs) {
    uses.set(output, (uses.get(output) ?? 0) + 1);
  }
  // Parameters and constants are uploaded once.
  const fixed = new Map<TensorNode, Tf.Tensor>();
  for (const node of nodes) {
    const { operation } = node;
    if (operation.kind === 'parameter' || operation.kind === 'constant') {
      fixed.set(node, tf.tensor(single(operation.data), [...node.shape], 'float32'));
    }
  }
  return {
    async run(feeds) {
      if (tf.getBackend() !== backend) {
        await activate(tf, backend);
      }
      const values = new Map(fixed);
      const left = new Map(uses);
      for (const node of nodes) {
        if (!values.has(node)) {
          const inputs = node.inputs.map((input) => values.get(input)!);
          values.set(
            node,
            tf.tidy(() => compute(tf, node, inputs, feeds)),
          );
        }
        for (const input of node.inputs) {
          const rest = left.get(input)! - 1;
          left.set(input, rest);
          if (rest === 0 && !fixed.has(input)) {
            values.get(input)!.dispose();
          }
        }
      }
      const results: Float32Array[] = [];
      for (const output of outputs) {
        results.push((await values.get(output)!.data()) as Float32Array);
      }
      for (const output of new Set(outputs)) {
        if (!fixed.has(output)) {
          values.get(output)!.dispose();
        }
      }
      return results;
    },
    dispose() {
      for (const tensor of fixed.values()) {
        tensor.dispose();
      }
      return Promise.resolve();
    },
  };
}

function single(data: TensorData): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

const UNARY: Record<UnaryFunction, (tf: TfModule, x: Tf.Tensor) => Tf.Tensor> = {
  neg: (tf, x) => tf.neg(x),
  exp: (tf, x) => tf.exp(x),
  log: (tf, x) => tf.log(x),
  sqrt: (tf, x) => tf.sqrt(x),
  reciprocal: (tf, x) => tf.div(tf.scalar(1), x),
  sigmoid: (tf, x) => tf.sigmoid(x),
  tanh: (tf, x) => tf.tanh(x),
  erf: (tf, x) => tf.erf(x),
  relu: (tf, x) => tf.relu(x),
  step: (tf, x) => tf.cast(tf.greater(x, tf.scalar(0)), 'float32'),
  abs: (tf, x) => tf.abs(x),
  // tf.sign has no kernel in WebAssembly.
  sign: (tf, x) =>
    tf.sub(tf.cast(tf.greater(x, tf.scalar(0)), 'float32'), tf.cast(tf.less(x, tf.scalar(0)), 'float32')),
};

const BINARY: Record<BinaryFunction, (tf: TfModule, a: Tf.Tensor, b: Tf.Tensor) => Tf.Tensor> = {
  add: (tf, a, b) => tf.add(a, b),
  sub: (tf, a, b) => tf.sub(a, b),
  mul: (tf, a, b) => tf.mul(a, b),
  div: (tf, a, b) => tf.div(a, b),
  max: (tf, a, b) => tf.maximum(a, b),
};

function compute(
  tf: TfModule,
  node: TensorNode,
  inputs: readonly Tf.Tensor[],
  feeds: Readonly<Record<string, TensorData>>,
): Tf.Tensor {
  const { operation } = node;
  const shape = [...node.shape];
  const [a, b] = inputs as [Tf.Tensor, Tf.Tensor];
  switch (operation.kind) {
    case 'variable': {
      const fed = feeds[operation.name];
      if (!fed) {
        throw new RangeError(`The variable "${operation.name}" was not fed.`);
      }
      return tf.tensor(single(fed), shape, 'float32');
    }
    case 'parameter':
    case 'constant':
      return tf.tensor(single(operation.data), shape, 'float32');
    case 'unary':
      return UNARY[operation.fn](tf, a);
    case 'binary':
      return BINARY[operation.fn](tf, a, b);
    case 'reshape':
      return tf.reshape(a, shape);
    case 'transpose':
      return tf.transpose(a, [...operation.perm]);
    case 'expand':
      // broadcastTo has gaps in WebAssembly; an addition broadcasts everywhere.
      return tf.add(a, tf.zeros(shape));
    case 'reduce':
      return operation.fn === 'sum' ? sum(tf, a, operation.axes, shape) : tf.max(a, [...operation.axes], true);
    case 'slice':
      return slice(tf, a, operation.starts, shape, operation.steps);
    case 'embed':
      return embed(tf, a, operation.starts, shape, operation.steps);
    case 'concat':
      return tf.concat([...inputs], operation.axis);
    case 'matmul':
      return tf.matMul(a, b, operation.transposeA, operation.transposeB);
    case 'conv':
      return conv(tf, a, b, operation.geometry, shape);
    case 'conv-input':
      return convInput(tf, a, b, operation.geometry, shape);
    case 'conv-filter':
      return convFilter(tf, a, b, operation.geometry, shape);
  }
}

/** WebAssembly's sum loses precision over millions of values; summing rows first keeps it. */
function sum(tf: TfModule, a: Tf.Tensor, axes: readonly number[], shape: number[]): Tf.Tensor {
  const size = a.size;
  if (shape.every((own) => own === 1) && size > 4096) {
    const rows = Math.ceil(Math.sqrt(size));
    const flat = tf.reshape(a, [size]);
    const padded = tf.reshape(tf.pad(flat, [[0, rows * rows - size]]), [rows, rows]);
    return tf.reshape(tf.sum(tf.sum(padded, 1)), shape);
  }
  return tf.sum(a, [...axes], true);
}

function slice(
  tf: TfModule,
  a: Tf.Tensor,
  starts: readonly number[],
  shape: readonly number[],
  steps: readonly number[],
): Tf.Tensor {
  if (steps.every((step) => step === 1)) {
    return tf.slice(a, [...starts], [...shape]);
  }
  const ends = starts.map((start, axis) => start + (shape[axis]! - 1) * steps[axis]! + 1);
  return tf.stridedSlice(a, [...starts], ends, [...steps]);
}

/** Zeros between entries come from padding an axis of its own; one axis at a time, as kernels know four at most. */
function embed(
  tf: TfModule,
  a: Tf.Tensor,
  starts: readonly number[],
  shape: readonly number[],
  steps: readonly number[],
): Tf.Tensor {
  let current = a;
  const size = [...a.shape];
  steps.forEach((step, axis) => {
    if (step > 1) {
      const before = size.slice(0, axis).reduce((product, own) => product * own, 1);
      const after = size.slice(axis + 1).reduce((product, own) => product * own, 1);
      const split = tf.reshape(current, [before * size[axis]!, 1, after]);
      const filled = tf.pad(split, [
        [0, 0],
        [0, step - 1],
        [0, 0],
      ]);
      const grown = size[axis]! * step;
      const kept = Math.min(grown, shape[axis]! - starts[axis]!);
      const joined = tf.reshape(filled, [before, grown, after]);
      size[axis] = kept;
      current = tf.reshape(tf.slice(joined, [0, 0, 0], [before, kept, after]), size);
    }
  });
  return tf.pad(
    current,
    size.map((own, axis): [number, number] => [starts[axis]!, shape[axis]! - starts[axis]! - own]),
  );
}

/** The taps of a filter, each with the slice of the padded input that it meets. */
function* taps(kernelH: number, kernelW: number): Generator<[number, number]> {
  for (let row = 0; row < kernelH; row++) {
    for (let col = 0; col < kernelW; col++) {
      yield [row, col];
    }
  }
}

/** NCHW to padded NHWC. */
function toPadded(tf: TfModule, x: Tf.Tensor, pads: ConvGeometry['pads']): Tf.Tensor4D {
  const last = tf.transpose(x, [0, 2, 3, 1]) as Tf.Tensor4D;
  return pads.every((pad) => pad === 0)
    ? last
    : tf.pad(last, [
        [0, 0],
        [pads[0], pads[2]],
        [pads[1], pads[3]],
        [0, 0],
      ]);
}

/** One matrix per group. */
function groupsOf(tf: TfModule, x: Tf.Tensor2D, groups: number): Tf.Tensor2D[] {
  return groups === 1 ? [x] : tf.split<Tf.Tensor2D>(x, groups, 1);
}

/** What one tap of a filter meets of a padded NHWC input: one row per output position. */
function metBy(
  tf: TfModule,
  padded: Tf.Tensor4D,
  row: number,
  col: number,
  { strides, dilations }: ConvGeometry,
  shape: [batch: number, rows: number, cols: number, channels: number],
): Tf.Tensor2D {
  const [batch, rows, cols, channels] = shape;
  const starts = [0, row * dilations[0], col * dilations[1], 0];
  return tf.reshape<Tf.Rank.R2>(slice(tf, padded, starts, shape, [1, strides[0], strides[1], 1]), [
    batch * rows * cols,
    channels,
  ]);
}

/** One tap of an OIHW filter: a matrix outputs x inputs per group. */
function weightsAt(tf: TfModule, filter: Tf.Tensor, row: number, col: number, groups: number): Tf.Tensor2D[] {
  const [out, perGroup] = filter.shape as [number, number];
  const tap = tf.slice(filter, [0, 0, row, col], [out, perGroup, 1, 1]);
  return tf.unstack(tf.reshape(tap, [groups, out / groups, perGroup])) as Tf.Tensor2D[];
}

function conv(tf: TfModule, x: Tf.Tensor, filter: Tf.Tensor, geometry: ConvGeometry, shape: number[]): Tf.Tensor {
  const { groups } = geometry;
  const [batch, out, rows, cols] = shape as [number, number, number, number];
  const [, , kernelH, kernelW] = filter.shape as [number, number, number, number];
  const padded = toPadded(tf, x, geometry.pads);
  const channels = padded.shape[3];
  let total: Tf.Tensor | undefined;
  for (const [row, col] of taps(kernelH, kernelW)) {
    const met = metBy(tf, padded, row, col, geometry, [batch, rows, cols, channels]);
    const weights = weightsAt(tf, filter, row, col, groups);
    const parts = groupsOf(tf, met, groups).map((part, group) =>
      tf.matMul<Tf.Tensor>(part, weights[group]!, false, true),
    );
    const product: Tf.Tensor = parts.length === 1 ? parts[0]! : tf.concat<Tf.Tensor>(parts, 1);
    total = total ? tf.add<Tf.Tensor>(total, product) : product;
  }
  return tf.transpose(tf.reshape(total!, [batch, rows, cols, out]), [0, 3, 1, 2]);
}

function convInput(tf: TfModule, dy: Tf.Tensor, filter: Tf.Tensor, geometry: ConvGeometry, shape: number[]): Tf.Tensor {
  const { strides, dilations, groups, pads } = geometry;
  const [batch, channels, height, width] = shape as [number, number, number, number];
  const [, out, rows, cols] = dy.shape as [number, number, number, number];
  const [, , kernelH, kernelW] = filter.shape as [number, number, number, number];
  const flat = tf.reshape<Tf.Rank.R2>(tf.transpose(dy, [0, 2, 3, 1]), [batch * rows * cols, out]);
  const paddedShape = [batch, height + pads[0] + pads[2], width + pads[1] + pads[3], channels];
  let total: Tf.Tensor | undefined;
  for (const [row, col] of taps(kernelH, kernelW)) {
    const weights = weightsAt(tf, filter, row, col, groups);
    const parts = groupsOf(tf, flat, groups).map((part, group) => tf.matMul<Tf.Tensor>(part, weights[group]!));
    const product = tf.reshape(parts.length === 1 ? parts[0]! : tf.concat<Tf.Tensor>(parts, 1), [
      batch,
      rows,
      cols,
      channels,
    ]);
    const placed = embed(tf, product, [0, row * dilations[0], col * dilations[1], 0], paddedShape, [
      1,
      strides[0],
      strides[1],
      1,
    ]);
    total = total ? tf.add<Tf.Tensor>(total, placed) : placed;
  }
  const inner = tf.slice(total!, [0, pads[0], pads[1], 0], [batch, height, width, channels]);
  return tf.transpose(inner, [0, 3, 1, 2]);
}

function convFilter(tf: TfModule, x: Tf.Tensor, dy: Tf.Tensor, geometry: ConvGeometry, shape: number[]): Tf.Tensor {
  const { groups } = geometry;
  const [out, perGroup, kernelH, kernelW] = shape as [number, number, number, number];
  const [batch, , rows, cols] = dy.shape as [number, number, number, number];
  const padded = toPadded(tf, x, geometry.pads);
  const channels = padded.shape[3];
  const flat = tf.reshape<Tf.Rank.R2>(tf.transpose(dy, [0, 2, 3, 1]), [batch * rows * cols, out]);
  const slopes = groupsOf(tf, flat, groups);
  const products: Tf.Tensor[] = [];
  for (const [row, col] of taps(kernelH, kernelW)) {
    const met = metBy(tf, padded, row, col, geometry, [batch, rows, cols, channels]);
    const parts = groupsOf(tf, met, groups).map((part, group) =>
      tf.matMul<Tf.Tensor>(slopes[group]!, part, true, false),
    );
    products.push(parts.length === 1 ? parts[0]! : tf.concat<Tf.Tensor>(parts, 0));
  }
  return tf.transpose(tf.reshape(tf.stack(products), [kernelH, kernelW, out, perGroup]), [2, 3, 0, 1]);
}
