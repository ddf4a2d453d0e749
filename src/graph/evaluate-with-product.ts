import { computeNode, valuesInOrder } from './evaluate.js';
import { type PatchGeometry, visitPatches } from './patches.js';
import type { ProductKernel } from './product-kernel.js';
import { type ConvGeometry, type TensorData, type TensorNode, matrixSizes, sizeOf } from './tensor-graph.js';

/** The graph in float64, as `evaluate` has it, with a fast product for matrices and for the patches of convolutions. */

/** Products and convolutions of fewer multiplications are done in loops. */
const WORTH_A_PRODUCT = 1e6;
const TILE = 32;
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
  const walk = valuesInOrder(outputs);
  let step = walk.next();
  while (!step.done) {
    const { node, data } = step.value;
    step = walk.next((await byProduct(node, data, product)) ?? computeNode(node, data, feeds));
  }
  return step.value;
}

async function byProduct(
  node: TensorNode,
  data: readonly TensorData[],
  product: ProductKernel,
): Promise<Float64Array | undefined> {
  const { operation, inputs, shape } = node;
  if (operation.kind === 'matmul') {
    return matrixProducts(node, operation, data, product);
  }
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

/** The product of each pair of matrices; undefined where they are too small. */
async function matrixProducts(
  { inputs, shape }: TensorNode,
  { transposeA, transposeB }: { readonly transposeA: boolean; readonly transposeB: boolean },
  data: readonly TensorData[],
  product: ProductKernel,
): Promise<Float64Array | undefined> {
  const [rows, inner] = matrixSizes(inputs[0]!.shape, transposeA);
  const [, cols] = matrixSizes(shape, false);
  if (rows * inner * cols < WORTH_A_PRODUCT) {
    return undefined;
  }
  const [a, b] = data as [TensorData, TensorData];
  const out = new Float64Array(sizeOf(shape));
  for (let at = 0; at * rows * cols < out.length; at++) {
    const left = innerLast(part(a, at, rows * inner), rows, inner, transposeA);
    const right = innerLast(part(b, at, inner * cols), cols, inner, !transposeB);
    out.set(await product(left, right, rows, cols, inner), at * rows * cols);
  }
  return out;
}

function part(data: TensorData, at: number, size: number): TensorData {
  return data.length === size ? data : data.subarray(at * size, (at + 1) * size);
}

/** A matrix as rows x inner, of one that is stored inner x rows where `turned`. */
function innerLast(data: TensorData, rows: number, inner: number, turned: boolean): Float64Array {
  if (!turned) {
    // Native code is handed arrays that own their memory.
    return data instanceof Float64Array && data.length * 8 === data.buffer.byteLength ? data : Float64Array.from(data);
  }
  const out = new Float64Array(data.length);
  // In tiles, so that what is read and what is written both stay in the cache.
  for (let firstK = 0; firstK < inner; firstK += TILE) {
    const endK = Math.min(firstK + TILE, inner);
    for (let firstRow = 0; firstRow < rows; firstRow += TILE) {
      const endRow = Math.min(firstRow + TILE, rows);
      for (let row = firstRow; row < endRow; row++) {
        for (let k = firstK; k < endK; k++) {
          out[row * inner + k] = data[k * rows + row]!;
        }
      }
    }
  }
  return out;
}

/** One convolution's patches. */
class Places {
  /** Of one group of one sample. */
  private readonly patches: PatchGeometry;
  /** Entries of a patch: channels of a group x kernel. */
  private readonly columns: number;
  private readonly positions: number;
  /** Output channels of a group. */
  private readonly filters: number;

  constructor(
    private readonly xShape: readonly number[],
    private readonly filterShape: readonly number[],
    private readonly outShape: readonly number[],
    private readonly geometry: ConvGeometry,
  ) {
    const [, , height, width] = xShape as [number, number, number, number];
    const [filters, perGroup, kernelH, kernelW] = filterShape as [number, number, number, number];
    const [, , rows, cols] = outShape as [number, number, number, number];
    this.patches = { input: [perGroup, height, width], kernel: [kernelH, kernelW], output: [rows, cols], geometry };
    this.columns = perGroup * kernelH * kernelW;
    this.positions = rows * cols;
    this.filters = filters / geometry.groups;
  }

  async forward(x: TensorData, filter: TensorData, product: ProductKernel): Promise<Float64Array> {
    const out = new Float64Array(sizeOf(this.outShape));
    const size = this.filters * this.positions;
    await this.each(async (start, group, part) => {
      const patches = new Float64Array(this.positions * this.columns);
      visitPatches(this.patches, (column, position, pixel) => {
        patches[position * this.columns + column] = x[start + pixel]!;
      });
      out.set(
        await product(this.filtersOf(filter, group), patches, this.filters, this.positions, this.columns),
        part * size,
      );
    });
    return out;
  }

  async backward(dy: TensorData, filter: TensorData, product: ProductKernel): Promise<Float64Array> {
    const out = new Float64Array(sizeOf(this.xShape));
    await this.each(async (start, group, part) => {
      const own = this.filtersOf(filter, group);
      const turned = new Float64Array(own.length);
      const slopes = new Float64Array(this.positions * this.filters);
      for (let o = 0; o < this.filters; o++) {
        for (let column = 0; column < this.columns; column++) {
          turned[column * this.filters + o] = own[o * this.columns + column]!;
        }
        for (let position = 0; position < this.positions; position++) {
          slopes[position * this.filters + o] = dy[(part * this.filters + o) * this.positions + position]!;
        }
      }
      const spread = await product(turned, slopes, this.columns, this.positions, this.filters);
      visitPatches(this.patches, (column, position, pixel) => {
        out[start + pixel]! += spread[column * this.positions + position]!;
      });
    });
    return out;
  }

  async filter(x: TensorData, dy: TensorData, product: ProductKernel): Promise<Float64Array> {
    const out = new Float64Array(sizeOf(this.filterShape));
    await this.each(async (start, group, part) => {
      const patches = new Float64Array(this.columns * this.positions);
      visitPatches(this.patches, (column, position, pixel) => {
        patches[column * this.positions + position] = x[start + pixel]!;
      });
      const first = part * this.filters * this.positions;
      const slopes = Float64Array.from(dy.subarray(first, first + this.filters * this.positions));
      const found = await product(slopes, patches, this.filters, this.columns, this.positions);
      const to = group * this.filters * this.columns;
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
      await visit(part * sizeOf(this.patches.input), part % groups, part);
    }
  }

  private filtersOf(filter: TensorData, group: number): Float64Array {
    const size = this.filters * this.columns;
    return Float64Array.from(filter.subarray(group * size, (group + 1) * size));
  }
}
