/**
 * The column of each row with the least sum of costs (shortest augmenting paths; Jonker and Volgenant, Computing 38, 1987).
 *
 * @param costs n rows of n finite numbers
 * @returns n columns, each once
 */
export function leastAssignment(costs: readonly (readonly number[])[]): number[] {
  const count = costs.length;
  const rowPrice = new Float64Array(count + 1);
  const columnPrice = new Float64Array(count + 1);
  const rowOf = new Int32Array(count + 1).fill(count);
  for (let row = 0; row < count; row++) {
    rowOf[count] = row;
    let column = count;
    const least = new Float64Array(count).fill(Infinity);
    const before = new Int32Array(count).fill(count);
    const done = new Uint8Array(count + 1);
    do {
      done[column] = 1;
      const at = rowOf[column]!;
      let step = Infinity;
      let next = count;
      for (let other = 0; other < count; other++) {
        if (done[other] === 1) {
          continue;
        }
        const reduced = costs[at]![other]! - rowPrice[at]! - columnPrice[other]!;
        if (reduced < least[other]!) {
          least[other] = reduced;
          before[other] = column;
        }
        if (least[other]! < step) {
          step = least[other]!;
          next = other;
        }
      }
      for (let other = 0; other <= count; other++) {
        if (done[other] === 1) {
          rowPrice[rowOf[other]!]! += step;
          columnPrice[other]! -= step;
        } else if (other < count) {
          least[other]! -= step;
        }
      }
      column = next;
    } while (rowOf[column] !== count);
    while (column !== count) {
      rowOf[column] = rowOf[before[column]!]!;
      column = before[column]!;
    }
  }
  const columns = new Array<number>(count);
  for (let column = 0; column < count; column++) {
    columns[rowOf[column]!] = column;
  }
  return columns;
}
