import type { ConvGeometry } from './tensor-graph.js';

/** What a convolution sees of one sample: at each output position, a patch of every input channel. */

export interface PatchGeometry {
  /** channels, rows, columns of the input. */
  readonly input: readonly [number, number, number];
  readonly kernel: readonly [number, number];
  /** Rows and columns of the output. */
  readonly output: readonly [number, number];
  readonly geometry: ConvGeometry;
}

/**
 * Visits every entry of every patch that lies inside of the image.
 *
 * @param entry called with the entry's place in the patch (channel, kernel row, kernel column), the output position, and
 * the pixel (channel, row, column) that stands there
 */
export function visitPatches(
  { input: [channels, height, width], kernel, output: [rows, cols], geometry }: PatchGeometry,
  entry: (column: number, position: number, pixel: number) => void,
): void {
  const { strides, pads, dilations } = geometry;
  for (let c = 0; c < channels; c++) {
    for (let ky = 0; ky < kernel[0]; ky++) {
      for (let kx = 0; kx < kernel[1]; kx++) {
        const column = (c * kernel[0] + ky) * kernel[1] + kx;
        for (let row = 0; row < rows; row++) {
          const y = row * strides[0] + ky * dilations[0] - pads[0];
          if (y < 0 || y >= height) {
            continue;
          }
          for (let col = 0; col < cols; col++) {
            const x = col * strides[1] + kx * dilations[1] - pads[1];
            if (x >= 0 && x < width) {
              entry(column, row * cols + col, (c * height + y) * width + x);
            }
          }
        }
      }
    }
  }
}
