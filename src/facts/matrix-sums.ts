import type { TensorEntry, TensorFile } from '../formats/tensor-file.js';
import { rowBlocks } from './row-blocks.js';

/** What a matrix sums to along either axis, beside its size. */
export interface MatrixSums {
  /** Frobenius norm. */
  readonly size: number;
  /** Norm of the sums over the rows, one for each column: ||1^T G||. */
  readonly overRows: number;
  /** Norm of the sums over the columns, one for each row: ||G 1||. */
  readonly overColumns: number;
}

/**
 * In one pass, some rows of it in memory at a time.
 *
 * @param entry rows x columns
 * @throws UnusableInputError when it cannot be read
 */
export function matrixSums(file: TensorFile, entry: TensorEntry): MatrixSums {
  const columns = entry.shape[1] ?? 0;
  const overRows = new Float64Array(columns);
  let squares = 0;
  let rowSquares = 0;
  for (const values of rowBlocks(file, entry)) {
    for (let start = 0; start < values.length; start += columns) {
      let sum = 0;
      for (let column = 0; column < columns; column++) {
        const value = values[start + column] ?? NaN;
        overRows[column] = (overRows[column] ?? 0) + value;
        sum += value;
        squares += value * value;
      }
      rowSquares += sum * sum;
    }
  }
  const columnSquares = overRows.reduce((sum, value) => sum + value * value, 0);
  return { size: Math.sqrt(squares), overRows: Math.sqrt(columnSquares), overColumns: Math.sqrt(rowSquares) };
}
