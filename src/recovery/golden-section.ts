const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Minimum of a function of one variable between two points. Golden section, because the residuals here
 * have kinks where the set of flat classes changes, which rules out derivative steps from afar.
 *
 * @param iterations each shrinks the interval by 0.618: 24 give 1e-5 of it, 44 give 1e-9
 */
export function goldenSection(f: (x: number) => number, from: number, to: number, iterations = 44): number {
  let low = from;
  let high = to;
  let left = high - GOLDEN * (high - low);
  let right = low + GOLDEN * (high - low);
  let leftValue = f(left);
  let rightValue = f(right);
  for (let iteration = 0; iteration < iterations; iteration++) {
    if (leftValue < rightValue) {
      high = right;
      [right, rightValue] = [left, leftValue];
      left = high - GOLDEN * (high - low);
      leftValue = f(left);
    } else {
      low = left;
      [left, leftValue] = [right, rightValue];
      right = low + GOLDEN * (high - low);
      rightValue = f(right);
    }
  }
  return leftValue < rightValue ? left : right;
}
