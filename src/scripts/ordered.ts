/** How many of these begin before an offset. @param items in the order of the text */
export function countBefore(items: readonly { readonly from: number }[], offset: number): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    [low, high] = (items[middle]?.from ?? Infinity) < offset ? [middle + 1, high] : [low, middle];
  }
  return low;
}
