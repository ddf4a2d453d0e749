import { factoriseSmall, solveLower, solveUpper } from '../cholesky.js';
import { matrixProduct } from '../linear-algebra.js';
import { dot, least, most } from '../vectors.js';

/** Rows that solve a layer's equations, by weighted least squares. */

export interface Rows {
  readonly outputs: number;
  readonly inputs: number;
  /** outputs x inputs. */
  readonly data: Float64Array;
}

/**
 * H, count x inputs, that minimises sum_r weights[r]^2 ||data_r - (D^T H)_r||^2: rows of a layer's dL/dW = D^T H.
 *
 * @param delta D, count x outputs
 * @param weights one per output: 1 / standard error of its row's entries, in the inverse unit of `data`
 * @returns `errors`, a standard error per row of H that holds for all its entries, and the condition of the weighted D
 */
export function leastSquares(
  { outputs, inputs, data }: Rows,
  delta: Float64Array,
  count: number,
  weights: Float64Array,
): { values: Float64Array; errors: number[]; condition: number } {
  const weighted = delta.map((value, at) => value * weights[at % outputs]!);
  const system = new NormalEquations(weighted, count, outputs);
  const twice = weighted.map((value, at) => value * weights[at % outputs]!);
  const right = matrixProduct(twice, data, count, outputs, inputs);
  const values = new Float64Array(count * inputs);
  for (let col = 0; col < inputs; col++) {
    const x = system.solve(Float64Array.from({ length: count }, (_, at) => right[at * inputs + col]!));
    x.forEach((value, at) => (values[at * inputs + col] = value));
  }
  const errors = Array.from({ length: count }, (_, at) => {
    const unit = new Float64Array(count);
    unit[at] = 1;
    return Math.sqrt(Math.max(system.solve(unit)[at]!, 0));
  });
  return { values, errors, condition: system.condition };
}

/** A A^T x = b for A count x length, columns scaled. */
export class NormalEquations {
  /** Largest over smallest pivot. */
  readonly condition: number;
  private readonly factored;
  private readonly scales: Float64Array;

  constructor(a: Float64Array, count: number, length: number) {
    const normal = new Float64Array(count * count);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j <= i; j++) {
        normal[i * count + j] = dot(a.subarray(i * length, (i + 1) * length), a.subarray(j * length, (j + 1) * length));
      }
    }
    this.scales = Float64Array.from({ length: count }, (_, at) => Math.sqrt(normal[at * count + at]!) || 1);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j <= i; j++) {
        normal[i * count + j]! /= this.scales[i]! * this.scales[j]!;
      }
    }
    this.factored = factoriseSmall(normal, count);
    const pivots = Array.from({ length: count }, (_, at) => this.factored.lower[at * count + at]!);
    this.condition = most(pivots) / least(pivots);
  }

  /** @param b length `count` */
  solve(b: Float64Array): Float64Array {
    const scaled = b.map((value, at) => value / this.scales[at]!);
    return solveUpper(this.factored, solveLower(this.factored, scaled)).map((value, at) => value / this.scales[at]!);
  }
}
