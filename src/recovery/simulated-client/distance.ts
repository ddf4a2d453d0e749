import type { TensorData } from '../../graph/tensor-graph.js';
import type { Weights } from './client.js';

/** How far a simulated update is from the captured one. */

/**
 * `tensors`: mean over tensors of the norm of the difference relative to the captured one's. `whole`: that of all tensors
 * together. `squared`: its square. `cosine`: one minus the cosine of the angle between both (Geiping et al. 2020), `cosines`: mean
 * of those over tensors.
 */
export type DistanceKind = 'tensors' | 'whole' | 'squared' | 'cosine' | 'cosines';

export interface Distance {
  readonly loss: number;
  /** dloss/dweights after the last step. */
  readonly adjoint: Weights;
  /** Norm of the difference over all tensors together, relative to the captured update's. */
  readonly error: number;
}

/**
 * @param start,reached weights before the first step, and after the last one as simulated
 * @param update captured: weights after minus weights before; a tensor of zeros does not count
 */
export function distanceOf(
  start: Weights,
  reached: Weights,
  update: Weights,
  kind: DistanceKind = 'tensors',
): Distance {
  const own = update.map((captured, index) =>
    Float64Array.from(captured, (_, at) => reached[index]![at]! - start[index]![at]!),
  );
  const misfits = own.map((values, index) => misfitOf(values, update[index]!));
  const sizes = update.map((captured) => dot(captured, captured));
  const whole = sum(sizes);
  const misfit = sum(misfits);
  const error = whole > 0 ? Math.sqrt(misfit / whole) : Infinity;
  const counted = sizes.filter((size) => size > 0).length;
  let loss = 0;
  // dloss/down = a own + b captured, tensor by tensor.
  const factors = own.map((values, index): readonly [number, number] => {
    const size = sizes[index]!;
    if (size === 0) {
      return [0, 0];
    }
    switch (kind) {
      case 'tensors': {
        loss += Math.sqrt(misfits[index]! / size) / counted;
        const factor = misfits[index]! > 0 ? 1 / (counted * Math.sqrt(misfits[index]! * size)) : 0;
        return [factor, -factor];
      }
      case 'whole': {
        loss = error;
        const factor = misfit > 0 ? 1 / Math.sqrt(misfit * whole) : 0;
        return [factor, -factor];
      }
      case 'squared':
        loss = error * error;
        return [2 / whole, -2 / whole];
      case 'cosine': {
        const product = sum(own.map((each, other) => dot(each, update[other]!)));
        const length = sum(own.map((each) => dot(each, each)));
        loss = 1 - product / Math.sqrt(length * whole);
        return cosineFactors(product, length, whole);
      }
      case 'cosines': {
        const [product, length] = [dot(values, update[index]!), dot(values, values)];
        loss += (1 - product / Math.sqrt(length * size)) / counted;
        const [a, b] = cosineFactors(product, length, size);
        return [a / counted, b / counted];
      }
    }
  });
  const adjoint = own.map((values, index) => {
    const [a, b] = factors[index]!;
    return values.map((value, at) => a * value + b * update[index]![at]!);
  });
  return { loss, adjoint, error };
}

/** Slope of one minus product / sqrt(length size) in `own` and in the captured tensor's multiples. */
function cosineFactors(product: number, length: number, size: number): [number, number] {
  const scale = 1 / Math.sqrt(length * size);
  return [(product * scale) / length, -scale];
}

function misfitOf(own: Float64Array, captured: TensorData): number {
  let total = 0;
  for (let at = 0; at < own.length; at++) {
    total += (own[at]! - captured[at]!) ** 2;
  }
  return total;
}

function dot(one: TensorData, other: TensorData): number {
  let total = 0;
  for (let at = 0; at < one.length; at++) {
    total += one[at]! * other[at]!;
  }
  return total;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
