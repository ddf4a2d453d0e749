/** Where the numbers of a picture lie in an array, and how it is averaged down. */
export interface PictureLayout {
  readonly channels: number;
  readonly rows: number;
  readonly columns: number;
  /** Elements from one channel, row and column to the next. */
  readonly channelStride: number;
  readonly rowStride: number;
  readonly columnStride: number;
  /** Pixels of the picture to one of the result, each way. */
  readonly every: number;
}

/**
 * A smaller picture, channels x ceil(rows / every) x ceil(columns / every): each number the mean of the finite ones that it
 * covers, NaN where there is none. Squares at the right and lower edge are smaller.
 */
export function averageBlocks(data: ArrayLike<number>, layout: PictureLayout): Float64Array {
  const { channels, rows, columns, channelStride, rowStride, columnStride, every } = layout;
  const [height, width] = [Math.ceil(rows / every), Math.ceil(columns / every)];
  const sums = new Float64Array(channels * height * width);
  const counts = new Uint32Array(sums.length);
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < rows; row++) {
      const line = (channel * height + Math.floor(row / every)) * width;
      const start = channel * channelStride + row * rowStride;
      for (let column = 0; column < columns; column++) {
        const value = data[start + column * columnStride] ?? NaN;
        if (Number.isFinite(value)) {
          const to = line + Math.floor(column / every);
          sums[to] = (sums[to] ?? 0) + value;
          counts[to] = (counts[to] ?? 0) + 1;
        }
      }
    }
  }
  return sums.map((sum, at) => sum / (counts[at] ?? 0));
}
