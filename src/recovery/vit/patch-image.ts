/** How patches of an image are laid out, and the image that they make. */

export interface PatchShape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Channels change fastest within a patch, as where a linear layer reads it; else each channel comes as a whole. */
  readonly channelsLast: boolean;
}

export interface Grid {
  readonly rows: number;
  readonly cols: number;
}

/**
 * @param input channels, height, width of the image, when known; otherwise the grid is taken to be square
 * @returns undefined when neither fits
 */
export function gridOf(
  tokens: number,
  { height, width }: Pick<PatchShape, 'height' | 'width'>,
  input: readonly number[] | undefined,
): Grid | undefined {
  if (input?.length === 3) {
    const [rows, cols] = [input[1]! / height, input[2]! / width];
    return Number.isInteger(rows) && Number.isInteger(cols) && rows * cols === tokens ? { rows, cols } : undefined;
  }
  const side = Math.round(Math.sqrt(tokens));
  return side * side === tokens ? { rows: side, cols: side } : undefined;
}

/**
 * @param patches tokens x numbers of a patch, row-major; tokens of a grid row by row
 * @returns channels x height x width of the image
 */
export function imageOf(patches: Float64Array, shape: PatchShape, { rows, cols }: Grid): Float64Array {
  const { channels, height, width, channelsLast } = shape;
  const size = channels * height * width;
  const image = new Float64Array(rows * cols * size);
  for (let at = 0; at < image.length; at++) {
    const across = at % (cols * width);
    const down = Math.floor(at / (cols * width)) % (rows * height);
    const channel = Math.floor(at / (cols * width * rows * height));
    const token = Math.floor(down / height) * cols + Math.floor(across / width);
    const place = (down % height) * width + (across % width);
    image[at] = patches[token * size + (channelsLast ? place * channels + channel : channel * height * width + place)]!;
  }
  return image;
}

/** Mean square difference of horizontal neighbours: of two ways to lay out one image, the smaller is right. */
export function roughness(image: Float64Array, across: number): number {
  let sum = 0;
  for (let at = 1; at < image.length; at++) {
    sum += at % across === 0 ? 0 : (image[at]! - image[at - 1]!) ** 2;
  }
  return sum / image.length;
}

/**
 * Whether neighbours in a row of the grid repeat each other's columns, as where the stride is smaller than the kernel: side
 * by side they make no image.
 *
 * @param error root mean square error of one number of the patches
 */
export function isOverlapping(patches: Float64Array, shape: PatchShape, grid: Grid, error: number): boolean {
  const shifts = Array.from({ length: shape.width - 1 }, (_, at) => at + 1);
  return shifts.some((shift) => disagreement(patches, shape, grid, shift) <= ERRORS * Math.SQRT2 * error);
}

const ERRORS = 4;

/** Root mean square difference of each patch's columns from `shift` on and its right neighbour's first ones. */
function disagreement(patches: Float64Array, shape: PatchShape, { rows, cols }: Grid, shift: number): number {
  const { channels, height, width, channelsLast } = shape;
  const size = channels * height * width;
  const [right, down, next] = channelsLast ? [channels, channels * width, 1] : [1, width, height * width];
  let sum = 0;
  let count = 0;
  for (let token = 0; token < rows * cols; token++) {
    if (token % cols === cols - 1) {
      continue;
    }
    for (let channel = 0; channel < channels; channel++) {
      for (let y = 0; y < height; y++) {
        for (let x = shift; x < width; x++) {
          const at = token * size + channel * next + y * down;
          sum += (patches[at + x * right]! - patches[at + size + (x - shift) * right]!) ** 2;
          count++;
        }
      }
    }
  }
  return count > 0 ? Math.sqrt(sum / count) : Infinity;
}
