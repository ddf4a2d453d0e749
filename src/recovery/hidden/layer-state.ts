import { type Matrix, multiply } from '../linear-algebra.js';

/** A fully connected layer's parameters. */
export interface LayerState {
  /** W, m x n. */
  readonly weight: Matrix;
  /** b, m. */
  readonly bias: Float64Array;
}

/** W x + b, m numbers. */
export function outputsOf(input: Float64Array, { weight, bias }: LayerState): Float64Array {
  return multiply(weight, input).map((own, unit) => own + bias[unit]!);
}

/** Parameters at a share of the way that an update, in the gradient's own direction, took them. */
export function stateAt(before: LayerState, update: LayerState, share: number): LayerState {
  return {
    weight: { ...before.weight, data: dataAt(before.weight.data, update.weight.data, share) },
    bias: dataAt(before.bias, update.bias, share),
  };
}

/** The same of numbers in a row. */
export function dataAt(before: ArrayLike<number>, update: ArrayLike<number>, share: number): Float64Array {
  return Float64Array.from(before, (own, at) => own - share * update[at]!);
}
