/**
 * The whole numbers below `count` in an order drawn at random (Fisher and Yates).
 *
 * @param random uniform in [0, 1)
 */
export function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, at) => at);
  for (let at = count - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order;
}
