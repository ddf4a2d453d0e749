import type { Matrix } from './linear-algebra.js';

/**
 * Rows of an embedding's gradient that are not zero: those that the batch looked up. An embedding multiplies a one-hot vector,
 * so dL/dE = sum_i e_(t_i) (dL/dx_i)^T touches the rows of its tokens and no others.
 */
export function touchedRows({ rows, cols, data }: Matrix): number[] {
  const touched: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      if (data[row * cols + col] !== 0) {
        touched.push(row);
        break;
      }
    }
  }
  return touched;
}
