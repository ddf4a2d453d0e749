import { computeNode } from './evaluate.js';
import { type ConvGeometry, type TensorData, type TensorNode, needed, sizeOf } from './tensor-graph.js';
import type { ProductKernel } from './product-kernel.js';

/** The graph in float64, as `evaluate` has it, with convolutions by a fast matrix product over their patches. */

/** Convolutions of fewer multiplications are done in loops. */
const WORTH_A_PRODUCT = 1e6;
/** Products of single channels are too small to be worth it. */
const MOST_GROUPS = 4;

/**
 * Values of nodes.
 *
 * @param feeds data of every variable, by name
 * @throws RangeError when a variable is not fed or has another size; what the kernel throws
 */
export async function evaluateWithProduct(
  outputs: readonly TensorNode[],
  feeds: Readonly<Record<string, TensorData>>,
  product: ProductKernel,
): Promise<Float64Array[]> {
  const nodes = needed(outputs);
  const lastUse = new Map(nodes.flatMap((node) => node.inputs.map((input) => [input, node] as const)));
  const kept = new Set(outputs);
  const values = new Map<TensorNode, TensorData>();
  for (const node of nodes) {
    const data = node.inputs.map((input) => values.get(input)!);
    values.set(node, (await byProduct(node, data, product)) ?? computeNode(node, data, feeds));
    for (const input of node.inputs) {
      if (lastUse.get(input) === node && !kept.has(input)) {
        values.delete(input);
      }
    }
  }
  return outputs.map((node) => {
    const value = values.get(node)!;
    return value instanceof Float64Array ? value : Float64Array.from(value);
  });
}

async function byProduct(
  { operation, inputs, shape }: TensorNode,
  data: readonly TensorData[],
  product: ProductKernel,
): Promise<Float64Array | undefined> {
  if (operation.kind !== 'conv' && operation.kind !== 'conv-input' && operation.kind !== 'conv-filter') {
    return undefined;
  }
  const [a, b] = data as [TensorData, TensorData];
  const [aShape, bShape] = inputs.map((input) => input.shape) as [readonly number[], readonly number[]];
  const [xShape, filterShape, outShape] =
    operation.kind === 'conv'
      ? [aShape, bShape, shape]
      : operation.kind === 'conv-input'
        ? [shape, bShape, aShape]
        : [aShape, shape, bShape];
  const work = sizeOf(outShape) * sizeOf(filterShape.slice(1));
  if (work < WORTH_A_PRODUCT || operation.geometry.groups > MOST_GROUPS) {
    return undefined;
  }
  const places = new Places(xShape, filterShape, outShape, operation.geometry);
  switch (operation.kind) {
    case 'conv':
      return places.forward(a, b, product);
    case 'conv-input':
      return places.backward(a, b, product);
    case 'conv-filter':
      return places.filter(a, b, product);
  }
}

/** One convolution's patches. */
class Places {
  private readonly taps: number;
  private readonly positions: number;
  private readonly perGroup: number;
  private readonly filters: number;
  private readonly plane: number;

  constructor(
    private readonly xShape: readonly number[],
    private readonly filterShape: readonly number[],
    private readonly outShape: readonly number[],
    private readonly geometry: ConvGeometry,
  ) {
    this.taps = filterShape[2]! * filterShape[3]!;
    this.positions = outShape[2]! * outShape[3]!;
    this.perGroup = filterShape[1]!;
    this.filters = filterShape[0]! / geometry.groups;
    this.plane = xShape[2]! * xShape[3]!;
  }

  async forward(x: TensorData, filter: TensorData, product: ProductKernel): Promise<Float64Array> {
    const out = new Float64Array(sizeOf(this.outShape));
    const size = this.filters * this.positions;
    await this.each(async (start, group, part) => {
      const patches = new Float64Array(this.positions * this.perGroup * this.taps);
      this.visit((column, position, pixel) => {
        patches[position * this.perGroup * this.taps + column] = x[start + pixel]!;
      });
      out.set(
        await product(this.filtersOf(filter, group), patches, this.filters, this.positions, this.perGroup * this.taps),
        part * size,
      );
    });
    return out;
  }

  async backward(dy: TensorData, filter: TensorData, product: ProductKernel): Promise<Float64Array> {
    const out = new Float64Array(sizeOf(this.xShape));
    const columns = this.perGroup * this.taps;
    await this.each(async (start, group, part) => {
      const own = this.filtersOf(filter, group);
      const turned = new Float64Array(own.length);
      const slopes = new Float64Array(this.positions * this.filters);
      for (let o = 0; o < this.filters; o++) {
        for (let column = 0; column < columns; column++) {
          turned[column * this.filters + o] = own[o * columns + column]!;
        }
        for (let position = 0; position < this.positions; position++) {
          slopes[position * this.filters + o] = dy[(part * this.filters + o) * this.positions + position]!;
        }
      }
      const spread = await product(turned, slopes, columns, this.positions, this.filters);
      this.visit((column, position, pixel) => {
        out[start + pixel]! += spread[column * this.positions + position]!;
      });
    });
    return out;
  }

  async filter(x: TensorData, dy: TensorData, product: ProductKernel): Promise<Float64Array> {
    const columns = this.perGroup * this.taps;
    const out = new Float64Array(sizeOf(this.filterShape));
    await this.each(async (start, group, part) => {
      const patches = new Float64Array(columns * this.positions);
      this.visit((column, position, pixel) => {
        patches[column * this.positions + position] = x[start + pixel]!;
      });
      const first = part * this.filters * this.positions;
      const slopes = Float64Array.from(dy.subarray(first, first + this.filters * this.positions));
      const found = await product(slopes, patches, this.filters, columns, this.positions);
      const to = group * this.filters * columns;
      for (let at = 0; at < found.length; at++) {
        out[to + at]! += found[at]!;
      }
    });
    return out;
  }

  /** @param visit offset of the group's channels in x, group, and sample and group counted through */
  private async each(visit: (start: number, group: number, part: number) => Promise<void>): Promise<void> {
    const { groups } = this.geometry;
    for (let part = 0; part < this.xShape[0]! * groups; part++) {
      await visit(part * this.perGroup * this.plane, part % groups, part);
    }
  }

  private filtersOf(filter: TensorData, group: number): Float64Array {
    const size = this.filters * this.perGroup * this.taps;
    return Float64Array.from(filter.subarray(group * size, (group + 1) * size));
  }

  private visit(entry: (column: number, position: number, pixel: number) => void): void {
    const [, , height, width] = this.xShape as [number, number, number, number];
    const [, , rows, cols] = this.outShape as [number, number, number, number];
    const [, , kernelH, kernelW] = this.filterShape as [number, number, number, number];
    const { strides, pads, dilations } = this.geometry;
    for (let c = 0; c < this.perGroup; c++) {
      for (let ky = 0; ky < kernelH; ky++) {
        for (let kx = 0; kx < kernelW; kx++) {
          const column = (c * kernelH + ky) * kernelW + kx;
          for (let row = 0; row < rows; row++) {
            const y = row * strides[0] + ky * dilations[0] - pads[0];
            if (y < 0 || y >= height) {
              continue;
            }
            for (let col = 0; col < cols; col++) {
              const at = col * strides[1] + kx * dilations[1] - pads[1];
              if (at >= 0 && at < width) {
                entry(column, row * cols + col, c * this.plane + y * width + at);
              }
            }
          }
        }
      }
    }
  }
}
