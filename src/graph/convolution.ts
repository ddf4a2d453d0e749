import { type ConvGeometry, type TensorData, sizeOf } from './tensor-graph.js';

/** Convolutions in float64 loops: NCHW images, OIHW filters. */

/**
 * Visits every product of a convolution: calls back once per row of products, with the offsets of the first of them
 * in input, filter and output. Along the row the input moves by `strides[1]`, the output by one.
 */
function walk(
  xShape: readonly number[],
  filterShape: readonly number[],
  outShape: readonly number[],
  { strides, pads, dilations, groups }: ConvGeometry,
  row: (x: number, filter: number, out: number, count: number) => void,
): void {
  const [batch, channels, height, width] = xShape as [number, number, number, number];
  const [out, perGroup, kernelH, kernelW] = filterShape as [number, number, number, number];
  const [, , rows, cols] = outShape as [number, number, number, number];
  const outPerGroup = out / groups;
  for (let n = 0; n < batch; n++) {
    for (let o = 0; o < out; o++) {
      const firstChannel = Math.floor(o / outPerGroup) * perGroup;
      for (let c = 0; c < perGroup; c++) {
        const plane = (n * channels + firstChannel + c) * height * width;
        for (let ky = 0; ky < kernelH; ky++) {
          for (let kx = 0; kx < kernelW; kx++) {
            const filter = ((o * perGroup + c) * kernelH + ky) * kernelW + kx;
            const shift = kx * dilations[1] - pads[1];
            const first = Math.max(0, Math.ceil(-shift / strides[1]));
            const last = Math.min(cols - 1, Math.floor((width - 1 - shift) / strides[1]));
            if (last < first) {
              continue;
            }
            for (let r = 0; r < rows; r++) {
              const y = r * strides[0] + ky * dilations[0] - pads[0];
              if (y >= 0 && y < height) {
                row(
                  plane + y * width + first * strides[1] + shift,
                  filter,
                  ((n * out + o) * rows + r) * cols + first,
                  last - first + 1,
                );
              }
            }
          }
        }
      }
    }
  }
}

/** (input, filter) -> output of shape `shape`. */
export function convolve(
  x: TensorData,
  xShape: readonly number[],
  filter: TensorData,
  filterShape: readonly number[],
  geometry: ConvGeometry,
  shape: readonly number[],
): Float64Array {
  const result = new Float64Array(sizeOf(shape));
  const step = geometry.strides[1];
  walk(xShape, filterShape, shape, geometry, (from, f, to, count) => {
    const weight = filter[f]!;
    for (let i = 0; i < count; i++) {
      result[to + i]! += weight * x[from + i * step]!;
    }
  });
  return result;
}

/** (gradient of the output, filter) -> gradient of the input, of shape `shape`. */
export function convolveInput(
  dy: TensorData,
  dyShape: readonly number[],
  filter: TensorData,
  filterShape: readonly number[],
  geometry: ConvGeometry,
  shape: readonly number[],
): Float64Array {
  const result = new Float64Array(sizeOf(shape));
  const step = geometry.strides[1];
  walk(shape, filterShape, dyShape, geometry, (from, f, to, count) => {
    const weight = filter[f]!;
    for (let i = 0; i < count; i++) {
      result[from + i * step]! += weight * dy[to + i]!;
    }
  });
  return result;
}

/** (input, gradient of the output) -> gradient of the filter, of shape `shape`. */
export function convolveFilter(
  x: TensorData,
  xShape: readonly number[],
  dy: TensorData,
  dyShape: readonly number[],
  geometry: ConvGeometry,
  shape: readonly number[],
): Float64Array {
  const result = new Float64Array(sizeOf(shape));
  const step = geometry.strides[1];
  walk(xShape, shape, dyShape, geometry, (from, f, to, count) => {
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += x[from + i * step]! * dy[to + i]!;
    }
    result[f]! += sum;
  });
  return result;
}
