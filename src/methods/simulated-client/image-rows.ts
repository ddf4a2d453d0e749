/** Images of several samples beside each other, as one picture. */

/**
 * @param images N x channels x height x width
 * @param shape channels, height, width of one
 * @returns about as many rows as columns; what is left of the last row is the lowest value
 */
export function inRows(
  images: Float64Array,
  [channels = 1, height = 1, width = 1]: readonly number[],
): { readonly data: Float64Array; readonly shape: readonly number[] } {
  const count = images.length / (channels * height * width);
  const columns = Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  const lowest = images.reduce((least, own) => Math.min(least, own), Infinity);
  const shape = [channels, rows * height, columns * width];
  const data = new Float64Array(channels * rows * height * columns * width).fill(lowest);
  for (let at = 0; at < count; at++) {
    const [top, left] = [Math.floor(at / columns) * height, (at % columns) * width];
    for (let channel = 0; channel < channels; channel++) {
      for (let y = 0; y < height; y++) {
        const from = ((at * channels + channel) * height + y) * width;
        data.set(images.subarray(from, from + width), (channel * rows * height + top + y) * columns * width + left);
      }
    }
  }
  return { data, shape };
}
