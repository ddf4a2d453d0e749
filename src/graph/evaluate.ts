import { convolve, convolveFilter, convolveInput } from './convolution.js';
import { erf } from './erf.js';
import {
  type BinaryFunction,
  type ConstantFolder,
  type Operation,
  type TensorData,
  type TensorNode,
  matrixSizes,
  needed,
  sizeOf,
} from './tensor-graph.js';

/**
 * The graph's meaning, in float64 and plain loops. It folds constants, is the reference that engines are tested
 * against, and computes certificates where float32 would set the floor.
 */

/**
 * Values of nodes.
 *
 * @param feeds data of every variable, by name
 * @throws RangeError when a variable is not fed or has another size
 */
export function evaluate(outputs: readonly TensorNode[], feeds: Readonly<Record<string, TensorData>>): Float64Array[] {
  const walk = valuesInOrder(outputs);
  let step = walk.next();
  while (!step.done) {
    step = walk.next(computeNode(step.value.node, step.value.data, feeds));
  }
  return step.value;
}

/**
 * Asks for one node's value after the other, inputs first, and forgets what nothing needs any more.
 *
 * @returns the outputs' values
 */
export function* valuesInOrder(
  outputs: readonly TensorNode[],
): Generator<{ readonly node: TensorNode; readonly data: readonly TensorData[] }, Float64Array[], TensorData> {
  const nodes = needed(outputs);
  const lastUse = new Map(nodes.flatMap((node) => node.inputs.map((input) => [input, node] as const)));
  const kept = new Set(outputs);
  const values = new Map<TensorNode, TensorData>();
  for (const node of nodes) {
    values.set(node, yield { node, data: node.inputs.map((input) => values.get(input)!) });
    for (const input of node.inputs) {
      if (lastUse.get(input) === node && !kept.has(input)) {
        values.delete(input);
      }
    }
  }
  return outputs.map((node) => {
    const value = values.get(node)!;
    return value instanceof Float64Array ? value : Float64Array.from(value);
  });
}

/**
 * One node's value from its inputs'.
 *
 * @throws RangeError when a variable is not fed or has another size
 */
export function computeNode(
  { operation, inputs, shape }: TensorNode,
  data: readonly TensorData[],
  feeds: Readonly<Record<string, TensorData>>,
): TensorData {
  return compute(operation, inputs, data, shape, feeds);
}

/** Folds what the graph's builder finds constant. */
export const foldConstant: ConstantFolder = (operation, inputs, shape) =>
  compute(
    operation,
    inputs,
    inputs.map(({ operation: own }) => {
      if (own.kind !== 'constant') {
        throw new RangeError('Only constants can be folded.');
      }
      return own.data;
    }),
    shape,
    {},
  );

function compute(
  operation: Operation,
  inputs: readonly TensorNode[],
  data: readonly TensorData[],
  shape: readonly number[],
  feeds: Readonly<Record<string, TensorData>>,
): TensorData {
  const [a, b] = data as [TensorData, TensorData];
  const [aShape, bShape] = inputs.map((input) => input.shape) as [readonly number[], readonly number[]];
  switch (operation.kind) {
    case 'variable': {
      const fed = feeds[operation.name];
      if (fed?.length !== sizeOf(shape)) {
        throw new RangeError(
          `"${operation.name}" is of shape [${shape.join(', ')}], and was given ${fed?.length ?? 'no'} numbers.`,
        );
      }
      return fed;
    }
    case 'parameter':
    case 'constant':
      return operation.data;
    case 'unary':
      return unary(UNARY[operation.fn], a);
    case 'binary':
      return binary(operation.fn, a, aShape, b, bShape, shape);
    case 'reshape':
      return a;
    case 'transpose':
      return gather(a, strided(aShape, operation.perm), shape);
    case 'expand':
      return gather(a, broadcastStrides(aShape, shape), shape);
    case 'reduce':
      return reduce(operation.fn, a, aShape, shape);
    case 'slice': {
      const strides = stridesOf(aShape);
      const offset = operation.starts.reduce((sum, start, axis) => sum + start * strides[axis]!, 0);
      return gather(
        a,
        strides.map((stride, axis) => stride * operation.steps[axis]!),
        shape,
        offset,
      );
    }
    case 'embed': {
      const strides = stridesOf(shape);
      const out = new Float64Array(sizeOf(shape));
      const offset = operation.starts.reduce((sum, start, axis) => sum + start * strides[axis]!, 0);
      const steps = strides.map((stride, axis) => stride * operation.steps[axis]!);
      const length = aShape.at(-1) ?? 1;
      visitRows(aShape, steps, offset, (at, index) => {
        for (let i = 0; i < length; i++) {
          out[at + i * (steps.at(-1) ?? 0)] = a[index + i]!;
        }
      });
      return out;
    }
    case 'concat':
      return concat(data, inputs, operation.axis, shape);
    case 'matmul':
      return matmul(a, aShape, operation.transposeA, b, bShape, operation.transposeB);
    case 'conv':
      return convolve(a, aShape, b, bShape, operation.geometry, shape);
    case 'conv-input':
      return convolveInput(a, aShape, b, bShape, operation.geometry, shape);
    case 'conv-filter':
      return convolveFilter(a, aShape, b, bShape, operation.geometry, shape);
  }
}

const UNARY = {
  neg: (x: number) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  reciprocal: (x: number) => 1 / x,
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  erf,
  relu: (x: number) => (x > 0 ? x : 0),
  step: (x: number) => (x > 0 ? 1 : 0),
  abs: Math.abs,
  sign: Math.sign,
};

/** A plain loop: mapping over typed arrays is several times slower. */
function unary(fn: (x: number) => number, a: TensorData): Float64Array {
  const out = new Float64Array(a.length);
  for (let at = 0; at < a.length; at++) {
    out[at] = fn(a[at]!);
  }
  return out;
}

function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  }
  return strides;
}

function strided(shape: readonly number[], perm: readonly number[]): number[] {
  const strides = stridesOf(shape);
  return perm.map((axis) => strides[axis]!);
}

function broadcastStrides(shape: readonly number[], target: readonly number[]): number[] {
  const own = stridesOf(shape);
  const extra = target.length - shape.length;
  return target.map((_, axis) => (axis < extra || shape[axis - extra] === 1 ? 0 : own[axis - extra]!));
}

/**
 * Calls back with the offset under `strides` of the first number of every row of `shape`, and its place in row-major order.
 * Rows are left to loops of their own: a call per number takes several times as long.
 */
function visitRows(
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
  each: (at: number, index: number) => void,
): void {
  const last = shape.length - 1;
  const index = new Array<number>(shape.length).fill(0);
  const length = shape[last] ?? 1;
  const total = sizeOf(shape);
  let at = offset;
  for (let count = 0; count < total; count += length) {
    each(at, count);
    for (let axis = last - 1; axis >= 0; axis--) {
      at += strides[axis]!;
      if (++index[axis]! < shape[axis]!) {
        break;
      }
      at -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
}

function gather(data: TensorData, strides: readonly number[], shape: readonly number[], offset = 0): Float64Array {
  const out = new Float64Array(sizeOf(shape));
  const length = shape.at(-1) ?? 1;
  const step = strides.at(-1) ?? 0;
  visitRows(shape, strides, offset, (at, index) => {
    for (let i = 0; i < length; i++) {
      out[index + i] = data[at + i * step]!;
    }
  });
  return out;
}

function binary(
  fn: BinaryFunction,
  a: TensorData,
  aShape: readonly number[],
  b: TensorData,
  bShape: readonly number[],
  shape: readonly number[],
): Float64Array {
  const size = sizeOf(shape);
  const out = new Float64Array(size);
  const isFlat = (own: TensorData): boolean => own.length === size || own.length === 1;
  if (isFlat(a) && isFlat(b)) {
    binaryRow(
      fn,
      { data: a, at: 0, step: Number(a.length > 1) },
      { data: b, at: 0, step: Number(b.length > 1) },
      out,
      0,
      size,
    );
    return out;
  }
  const [left, right] = [broadcastStrides(aShape, shape), broadcastStrides(bShape, shape)];
  const length = shape.at(-1)!;
  const [leftStep, rightStep] = [left.at(-1)!, right.at(-1)!];
  const rightAt: number[] = [];
  visitRows(shape, right, 0, (at) => rightAt.push(at));
  visitRows(shape, left, 0, (at, index) => {
    const other = { data: b, at: rightAt[index / length]!, step: rightStep };
    binaryRow(fn, { data: a, at, step: leftStep }, other, out, index, length);
  });
  return out;
}

interface Row {
  readonly data: TensorData;
  readonly at: number;
  readonly step: number;
}

/** A loop per function: one that is handed the function calls it for every number. */
function binaryRow(fn: BinaryFunction, x: Row, y: Row, out: Float64Array, to: number, length: number): void {
  const { data: a, at: i, step: p } = x;
  const { data: b, at: j, step: q } = y;
  switch (fn) {
    case 'add':
      for (let k = 0; k < length; k++) {
        out[to + k] = a[i + k * p]! + b[j + k * q]!;
      }
      break;
    case 'sub':
      for (let k = 0; k < length; k++) {
        out[to + k] = a[i + k * p]! - b[j + k * q]!;
      }
      break;
    case 'mul':
      for (let k = 0; k < length; k++) {
        out[to + k] = a[i + k * p]! * b[j + k * q]!;
      }
      break;
    case 'div':
      for (let k = 0; k < length; k++) {
        out[to + k] = a[i + k * p]! / b[j + k * q]!;
      }
      break;
    case 'max':
      for (let k = 0; k < length; k++) {
        out[to + k] = Math.max(a[i + k * p]!, b[j + k * q]!);
      }
      break;
  }
}

function reduce(fn: 'sum' | 'max', a: TensorData, from: readonly number[], to: readonly number[]): Float64Array {
  const out = new Float64Array(sizeOf(to)).fill(fn === 'sum' ? 0 : -Infinity);
  const strides = broadcastStrides(to, from);
  const length = from.at(-1) ?? 1;
  const step = strides.at(-1) ?? 0;
  visitRows(from, strides, 0, (at, index) => {
    for (let i = 0; i < length; i++) {
      const place = at + i * step;
      out[place] = fn === 'sum' ? out[place]! + a[index + i]! : Math.max(out[place]!, a[index + i]!);
    }
  });
  return out;
}

function concat(
  data: readonly TensorData[],
  inputs: readonly TensorNode[],
  axis: number,
  shape: readonly number[],
): Float64Array {
  const out = new Float64Array(sizeOf(shape));
  const blocks = sizeOf(shape.slice(0, axis));
  const whole = sizeOf(shape.slice(axis));
  let offset = 0;
  data.forEach((part, index) => {
    const own = sizeOf(inputs[index]!.shape.slice(axis));
    for (let block = 0; block < blocks; block++) {
      out.set(part.subarray(block * own, (block + 1) * own), block * whole + offset);
    }
    offset += own;
  });
  return out;
}

function matmul(
  a: TensorData,
  aShape: readonly number[],
  transposeA: boolean,
  b: TensorData,
  bShape: readonly number[],
  transposeB: boolean,
): Float64Array {
  const [rows, inner] = matrixSizes(aShape, transposeA);
  const [, cols] = matrixSizes(bShape, transposeB);
  const count = sizeOf(aShape.slice(0, -2));
  const out = new Float64Array(count * rows * cols);
  for (let at = 0; at < count; at++) {
    matrixProduct(
      a.subarray(at * rows * inner, (at + 1) * rows * inner),
      transposeA,
      b.subarray(at * inner * cols, (at + 1) * inner * cols),
      transposeB,
      out.subarray(at * rows * cols, (at + 1) * rows * cols),
      [rows, inner, cols],
    );
  }
  return out;
}

/** @param out zeros; what is added to them */
function matrixProduct(
  a: TensorData,
  transposeA: boolean,
  b: TensorData,
  transposeB: boolean,
  out: Float64Array,
  [rows, inner, cols]: readonly [number, number, number],
): void {
  const rowStep = transposeA ? 1 : inner;
  const innerStep = transposeA ? rows : 1;
  for (let row = 0; row < rows; row++) {
    const line = row * cols;
    if (transposeB) {
      for (let col = 0; col < cols; col++) {
        out[line + col] = dotAlong(a, row * rowStep, innerStep, b, col * inner, inner);
      }
    } else {
      for (let k = 0; k < inner; k++) {
        const weight = a[row * rowStep + k * innerStep]!;
        if (weight !== 0) {
          for (let col = 0; col < cols; col++) {
            out[line + col]! += weight * b[k * cols + col]!;
          }
        }
      }
    }
  }
}

function dotAlong(a: TensorData, from: number, step: number, b: TensorData, start: number, count: number): number {
  let even = 0;
  let odd = 0;
  let at = from;
  const whole = count - (count % 2);
  for (let k = 0; k < whole; k += 2) {
    even += a[at]! * b[start + k]!;
    odd += a[at + step]! * b[start + k + 1]!;
    at += 2 * step;
  }
  return whole < count ? even + odd + a[at]! * b[start + whole]! : even + odd;
}
