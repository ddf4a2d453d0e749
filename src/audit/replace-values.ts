import { randomFillSync } from 'node:crypto';
import type { HeadTensors } from '../facts/head.js';
import { isFloating } from '../formats/tensor-file.js';
import type { WrittenTensor } from '../formats/write-safetensors.js';
import { shuffled } from '../recovery/shuffled.js';
import { gaussian } from '../recovery/gaussian.js';
import { transposed } from '../recovery/linear-algebra.js';

/** Other numbers in the place of a dump's own: of the same spread, or such that every logit stays what it is. */

/** A checkpoint and a gradient in memory. */
export interface Dump {
  readonly checkpoint: readonly WrittenTensor[];
  readonly gradient: readonly WrittenTensor[];
}

/** Random numbers of each tensor's own spread; zeros stay zeros, in other rows. */
export function randomise(dump: Dump, parameter: string, gradient: string | undefined): Dump {
  const one = dump.checkpoint.find(({ name }) => name === parameter);
  const other = dump.gradient.find(({ name }) => name === (gradient ?? parameter));
  const order = randomOrder(one?.shape[0] ?? other?.shape[0] ?? 1);
  const replace = (tensors: readonly WrittenTensor[], target: WrittenTensor | undefined): WrittenTensor[] =>
    tensors.map((own) => (own === target ? { ...own, data: alike(own, order) } : own));
  return { checkpoint: replace(dump.checkpoint, one), gradient: replace(dump.gradient, other) };
}

function alike({ data, dtype, shape }: WrittenTensor, order: readonly number[]): Float64Array {
  if (!isFloating(dtype) || !data.every(Number.isFinite)) {
    return new Float64Array(data.length);
  }
  const some = data.filter((value) => value !== 0);
  const mean = some.reduce((sum, value) => sum + value, 0) / Math.max(some.length, 1);
  const deviation = Math.sqrt(some.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(some.length, 1));
  const rows = shape[0] ?? 1;
  const from = order.length === rows ? order : Array.from({ length: rows }, (_, row) => row);
  const moved = shuffleRows(data, from);
  // A variance must stay positive.
  const isPositive = some.every((value) => value > 0);
  return moved.map((value) => {
    const drawn = mean + deviation * gaussian(uniform);
    return value === 0 ? 0 : isPositive ? Math.abs(drawn) + 1e-3 * mean : drawn;
  });
}

interface HeadValues {
  /** Classes x features, or one number per class. */
  readonly data: Float64Array;
  readonly classes: number;
  readonly features: number;
}

/** Changes the head's weights, biases and their gradients alike. */
export function mapHead(dump: Dump, head: HeadTensors, change: (values: HeadValues) => HeadValues): Dump {
  const { classes, features, layout, weight, bias, biasGradient } = head;
  const isTransposed = layout === 'dxk';
  const matrix = (data: Float64Array): Float64Array => {
    const upright = isTransposed ? transposed(data, features, classes) : data;
    const { data: changed } = change({ data: upright, classes, features });
    return isTransposed ? transposed(changed, classes, features) : changed;
  };
  const vector = (data: Float64Array): Float64Array => change({ data, classes, features: 1 }).data;
  const apply = (
    tensors: readonly WrittenTensor[],
    matrixName: string,
    vectorName: string | undefined,
  ): WrittenTensor[] =>
    tensors.map((own) =>
      own.name === matrixName
        ? { ...own, data: matrix(own.data) }
        : own.name === vectorName
          ? { ...own, data: vector(own.data) }
          : own,
    );
  return {
    checkpoint: apply(dump.checkpoint, weight.parameter.name, bias?.name),
    gradient: apply(dump.gradient, weight.gradient.name, biasGradient?.name),
  };
}

/** @param order from which row each row is taken */
export function shuffleClasses(values: HeadValues, order: readonly number[]): HeadValues {
  return { ...values, data: shuffleRows(values.data, order) };
}

/** x - 2 d (d . x) in every row: lengths, and products of weights with features, stay what they are. */
export function mirrorFeatures(values: HeadValues, along: Float64Array): HeadValues {
  const { data, features } = values;
  if (features !== along.length) {
    return values;
  }
  const mirrored = data.slice();
  for (let start = 0; start < data.length; start += features) {
    let product = 0;
    along.forEach((value, at) => {
      product += value * (data[start + at] ?? 0);
    });
    along.forEach((value, at) => {
      mirrored[start + at] = (data[start + at] ?? 0) - 2 * product * value;
    });
  }
  return { ...values, data: mirrored };
}

function shuffleRows(data: Float64Array, order: readonly number[]): Float64Array {
  const width = data.length / Math.max(order.length, 1);
  const moved = new Float64Array(data.length);
  order.forEach((from, row) => {
    moved.set(data.subarray(from * width, (from + 1) * width), row * width);
  });
  return moved;
}

const DRAWN = new Uint32Array(2 ** 14);
let drawn = DRAWN.length;

/** The dump must not be computable from the file, so the numbers are the system's own. */
function uniform(): number {
  if (drawn === DRAWN.length) {
    randomFillSync(DRAWN);
    drawn = 0;
  }
  return ((DRAWN[drawn++] ?? 0) + 0.5) / 2 ** 32;
}

/** 0 to count - 1 in random order. */
export function randomOrder(count: number): number[] {
  return shuffled(count, uniform);
}

/** A random vector of length one. */
export function direction(length: number): Float64Array {
  const values = Float64Array.from({ length }, () => gaussian(uniform));
  const size = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return values.map((value) => value / size);
}
