/** Which found image is which true one. */

/**
 * PSNR of every true image, dB, under the assignment with the least squared error in sum (shortest augmenting paths, as in Jonker
 * and Volgenant 1987), for values between 0 and 1.
 *
 * @param found,truth N x d
 */
export function bestAssignment(found: Float64Array, truth: Float64Array, samples: number): number[] {
  const size = truth.length / samples;
  const errors = Array.from({ length: samples }, (_, row) =>
    Array.from({ length: samples }, (__, column) => {
      let sum = 0;
      for (let at = 0; at < size; at++) {
        sum += (truth[row * size + at]! - found[column * size + at]!) ** 2;
      }
      return sum / size;
    }),
  );
  const columnOf = assign(errors);
  return errors.map((row, index) => -10 * Math.log10(Math.max(row[columnOf[index]!]!, 1e-12)));
}

/** Column of each row with the least sum of costs. */
function assign(costs: readonly (readonly number[])[]): number[] {
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
