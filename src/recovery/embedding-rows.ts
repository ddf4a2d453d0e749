/**
 * Rows of an embedding's gradient that are not zero: those that the batch looked up. An embedding multiplies a one-hot vector,
 * so dL/dE = sum_i e_(t_i) (dL/dx_i)^T touches the rows of its tokens and no others.
 *
 * @param blocks the gradient, row-major, each block whole rows of `cols` numbers
 * @param most rows that are of interest: one more is found, and nothing after it is read
 */
export function touchedRows(cols: number, blocks: Iterable<Float64Array>, most = Infinity): number[] {
  const touched: number[] = [];
  let before = 0;
  for (const values of blocks) {
    const rows = cols === 0 ? 0 : values.length / cols;
    for (let row = 0; row < rows; row++) {
      for (let at = row * cols; at < (row + 1) * cols; at++) {
        if (values[at] !== 0) {
          touched.push(before + row);
          break;
        }
      }
      if (touched.length > most) {
        return touched;
      }
    }
    before += rows;
  }
  return touched;
}
