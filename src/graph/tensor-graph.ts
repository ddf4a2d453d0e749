/**
 * A static graph of tensor operations, small enough to be closed under differentiation: the derivative of every
 * operation here is made of operations here, so a graph can be differentiated any number of times.
 * Images are NCHW, convolution filters OIHW.
 */

export type UnaryFunction =
  'neg' | 'exp' | 'log' | 'sqrt' | 'reciprocal' | 'sigmoid' | 'tanh' | 'erf' | 'relu' | 'step' | 'abs' | 'sign';

export type BinaryFunction = 'add' | 'sub' | 'mul' | 'div' | 'max';

/** How a convolution walks over its input; the two directions are rows, columns. */
export interface ConvGeometry {
  readonly strides: readonly [number, number];
  /** top, left, bottom, right */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
  readonly groups: number;
}

export type Operation =
  /** Fed at every run. */
  | { readonly kind: 'variable'; readonly name: string }
  /** A model's parameter: fixed data that can be differentiated by, and is never folded away. */
  | { readonly kind: 'parameter'; readonly name: string; readonly data: TensorData }
  | { readonly kind: 'constant'; readonly data: TensorData }
  | { readonly kind: 'unary'; readonly fn: UnaryFunction }
  | { readonly kind: 'binary'; readonly fn: BinaryFunction }
  | { readonly kind: 'reshape' }
  | { readonly kind: 'transpose'; readonly perm: readonly number[] }
  | { readonly kind: 'expand' }
  /** Reduced axes stay, with size 1. */
  | { readonly kind: 'reduce'; readonly fn: 'sum' | 'max'; readonly axes: readonly number[] }
  | { readonly kind: 'slice'; readonly starts: readonly number[]; readonly steps: readonly number[] }
  /** The adjoint of slice: its input's entries at their places in a tensor of zeros. */
  | { readonly kind: 'embed'; readonly starts: readonly number[]; readonly steps: readonly number[] }
  | { readonly kind: 'concat'; readonly axis: number }
  | { readonly kind: 'matmul'; readonly transposeA: boolean; readonly transposeB: boolean }
  /** (input, filter) -> output */
  | { readonly kind: 'conv'; readonly geometry: ConvGeometry }
  /** (gradient of the output, filter) -> gradient of the input */
  | { readonly kind: 'conv-input'; readonly geometry: ConvGeometry }
  /** (input, gradient of the output) -> gradient of the filter */
  | { readonly kind: 'conv-filter'; readonly geometry: ConvGeometry };

export type TensorData = Float32Array | Float64Array;

export interface TensorNode {
  /** Rises from inputs to outputs, so sorting by it is a topological order. */
  readonly id: number;
  readonly operation: Operation;
  readonly inputs: readonly TensorNode[];
  readonly shape: readonly number[];
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

export function sameShape(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((size, axis) => size === other[axis]);
}

/** Rows and columns of the matrices in a tensor, which are its last two axes; exchanged where they are transposed. */
export function matrixSizes(shape: readonly number[], transposed: boolean): [rows: number, cols: number] {
  const [rows, cols] = shape.slice(-2) as [number, number];
  return transposed ? [cols, rows] : [rows, cols];
}

/** Numpy's rule. @throws RangeError when the shapes do not broadcast */
export function broadcastShape(one: readonly number[], other: readonly number[]): number[] {
  const rank = Math.max(one.length, other.length);
  return Array.from({ length: rank }, (_, axis) => {
    const a = one[axis - rank + one.length] ?? 1;
    const b = other[axis - rank + other.length] ?? 1;
    if (a !== b && a !== 1 && b !== 1) {
      throw new RangeError(`Shapes [${one.join(', ')}] and [${other.join(', ')}] do not fit each other.`);
    }
    return a === 1 ? b : a;
  });
}

/** Size of one direction of a convolution's output. */
export function convolvedSize(size: number, kernel: number, stride: number, padding: number, dilation: number): number {
  return Math.floor((size + padding - dilation * (kernel - 1) - 1) / stride) + 1;
}

/** Evaluates an operation on constants; given by the caller so that building a graph needs no kernels. */
export type ConstantFolder = (
  operation: Operation,
  inputs: readonly TensorNode[],
  shape: readonly number[],
) => TensorData;

/** Larger results are left to the engine. */
const MOST_FOLDED = 1 << 16;

const MOST_ADDED_AT_ONCE = 4096;

const MOST_MATMUL_RANK = 4;

/** The largest divisor that is not above the square root. */
function divisorNearRoot(size: number): number {
  let divisor = Math.floor(Math.sqrt(size));
  while (size % divisor !== 0) {
    divisor--;
  }
  return divisor;
}

/** Builds nodes: infers shapes, returns the same node for the same expression, folds constants. */
export class TensorGraph {
  private nextId = 0;
  private readonly known = new Map<string, TensorNode>();

  constructor(private readonly fold: ConstantFolder) {}

  variable(name: string, shape: readonly number[]): TensorNode {
    return this.make({ kind: 'variable', name }, [], shape, `variable|${name}`);
  }

  /** @throws RangeError when the data does not fill the shape */
  parameter(name: string, data: TensorData, shape: readonly number[]): TensorNode {
    requireFilled(data, shape);
    return this.make({ kind: 'parameter', name, data }, [], shape, `parameter|${name}`);
  }

  /** @throws RangeError when the data does not fill the shape */
  constant(data: TensorData, shape: readonly number[]): TensorNode {
    requireFilled(data, shape);
    return this.leaf({ kind: 'constant', data }, shape);
  }

  scalar(value: number): TensorNode {
    const key = `scalar|${Object.is(value, -0) ? 0 : value}`;
    return this.make({ kind: 'constant', data: Float64Array.of(value) }, [], [], key);
  }

  zeros(shape: readonly number[]): TensorNode {
    return this.expand(this.scalar(0), shape);
  }

  unary(fn: UnaryFunction, a: TensorNode): TensorNode {
    if (fn === 'neg' && isUnary(a, 'neg')) {
      return a.inputs[0]!;
    }
    return this.node({ kind: 'unary', fn }, [a], a.shape);
  }

  neg(a: TensorNode): TensorNode {
    return this.unary('neg', a);
  }

  add(a: TensorNode, b: TensorNode): TensorNode {
    if (isEverywhere(a, 0) && sameShape(broadcastShape(a.shape, b.shape), b.shape)) {
      return b;
    }
    if (isEverywhere(b, 0) && sameShape(broadcastShape(a.shape, b.shape), a.shape)) {
      return a;
    }
    return a === b ? this.scale(a, 2) : this.binary('add', a, b);
  }

  sub(a: TensorNode, b: TensorNode): TensorNode {
    return isEverywhere(b, 0) && sameShape(broadcastShape(a.shape, b.shape), a.shape) ? a : this.binary('sub', a, b);
  }

  mul(a: TensorNode, b: TensorNode): TensorNode {
    const shape = broadcastShape(a.shape, b.shape);
    if (isEverywhere(a, 0) || isEverywhere(b, 0)) {
      return this.zeros(shape);
    }
    if (isEverywhere(a, 1) && sameShape(shape, b.shape)) {
      return b;
    }
    return isEverywhere(b, 1) && sameShape(shape, a.shape) ? a : this.binary('mul', a, b);
  }

  div(a: TensorNode, b: TensorNode): TensorNode {
    return isEverywhere(b, 1) && sameShape(broadcastShape(a.shape, b.shape), a.shape) ? a : this.binary('div', a, b);
  }

  /** Where equal, the derivative goes to `a`: the first of a pooling window wins, as in PyTorch. */
  max(a: TensorNode, b: TensorNode): TensorNode {
    return this.binary('max', a, b);
  }

  /** a times a number; of a product with a single number, that number is taken times it. */
  scale(a: TensorNode, factor: number): TensorNode {
    const [one, other] = a.inputs;
    if (a.operation.kind === 'binary' && a.operation.fn === 'mul' && sizeOf(a.shape) > 1) {
      if (sizeOf(one!.shape) === 1) {
        return this.mul(this.mul(one!, this.scalar(factor)), other!);
      }
      if (sizeOf(other!.shape) === 1) {
        return this.mul(one!, this.mul(other!, this.scalar(factor)));
      }
    }
    return this.mul(a, this.scalar(factor));
  }

  square(a: TensorNode): TensorNode {
    return this.mul(a, a);
  }

  /** @throws RangeError when the number of elements changes */
  reshape(a: TensorNode, shape: readonly number[]): TensorNode {
    if (sizeOf(shape) !== sizeOf(a.shape)) {
      throw new RangeError(`[${a.shape.join(', ')}] cannot be reshaped to [${shape.join(', ')}].`);
    }
    if (sameShape(a.shape, shape)) {
      return a;
    }
    const source = a.operation.kind === 'reshape' ? a.inputs[0]! : a;
    const [single] = source.operation.kind === 'expand' ? source.inputs : [];
    if (single && sizeOf(single.shape) === 1) {
      return this.expand(
        this.reshape(
          single,
          shape.map(() => 1),
        ),
        shape,
      );
    }
    return sameShape(source.shape, shape) ? source : this.node({ kind: 'reshape' }, [source], shape);
  }

  transpose(a: TensorNode, perm: readonly number[]): TensorNode {
    if (perm.every((axis, at) => axis === at)) {
      return a;
    }
    if (a.operation.kind === 'transpose') {
      const inner = a.operation.perm;
      return this.transpose(
        a.inputs[0]!,
        perm.map((axis) => inner[axis]!),
      );
    }
    return this.node(
      { kind: 'transpose', perm },
      [a],
      perm.map((axis) => a.shape[axis]!),
    );
  }

  expand(a: TensorNode, shape: readonly number[]): TensorNode {
    const source = a.operation.kind === 'expand' ? a.inputs[0]! : a;
    return sameShape(source.shape, shape) ? source : this.node({ kind: 'expand' }, [source], shape);
  }

  /** Sum over axes, which stay with size 1. */
  sum(a: TensorNode, axes: readonly number[]): TensorNode {
    return this.reduce('sum', a, axes);
  }

  /** Maximum over axes, which stay with size 1; a constant to differentiation. */
  maxOver(a: TensorNode, axes: readonly number[]): TensorNode {
    return this.reduce('max', a, axes);
  }

  /** Sum of all elements, a scalar; in two stages where there are many, since float32 engines add one by one. */
  total(a: TensorNode): TensorNode {
    const size = sizeOf(a.shape);
    const rows = size > MOST_ADDED_AT_ONCE ? divisorNearRoot(size) : 1;
    const partial = this.sum(this.reshape(a, [rows, size / rows]), [1]);
    return this.reshape(this.sum(partial, [0]), []);
  }

  mean(a: TensorNode, axes: readonly number[]): TensorNode {
    const count = axes.reduce((product, axis) => product * a.shape[axis]!, 1);
    return this.scale(this.sum(a, axes), 1 / count);
  }

  /** Every `steps`-th entry from `starts`, as many as `shape` says. */
  slice(
    a: TensorNode,
    starts: readonly number[],
    shape: readonly number[],
    steps: readonly number[] = starts.map(() => 1),
  ): TensorNode {
    shape.forEach((size, axis) => {
      const last = starts[axis]! + (size - 1) * steps[axis]!;
      if (size < 1 || starts[axis]! < 0 || last >= a.shape[axis]!) {
        throw new RangeError(`A slice reaches outside [${a.shape.join(', ')}].`);
      }
    });
    return sameShape(a.shape, shape) ? a : this.node({ kind: 'slice', starts, steps }, [a], shape);
  }

  /** A tensor of zeros of the given shape with `a` at every `steps`-th entry from `starts`. */
  embed(
    a: TensorNode,
    starts: readonly number[],
    shape: readonly number[],
    steps: readonly number[] = starts.map(() => 1),
  ): TensorNode {
    return sameShape(a.shape, shape) ? a : this.node({ kind: 'embed', starts, steps }, [a], shape);
  }

  concat(parts: readonly TensorNode[], axis: number): TensorNode {
    const [first] = parts;
    if (!first || parts.some(({ shape }) => shape.some((size, at) => at !== axis && size !== first.shape[at]))) {
      throw new RangeError(`Shapes ${parts.map(({ shape }) => `[${shape.join(', ')}]`).join(' ')} cannot be joined.`);
    }
    const size = parts.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    return parts.length === 1
      ? first
      : this.node(
          { kind: 'concat', axis },
          parts,
          first.shape.map((own, at) => (at === axis ? size : own)),
        );
  }

  /**
   * Product of two matrices, either transposed first; of each pair of matrices where both have the same leading sizes, at
   * most two.
   *
   * @throws RangeError when the inner or the leading sizes differ
   */
  matmul(a: TensorNode, b: TensorNode, transposeA = false, transposeB = false): TensorNode {
    const leading = a.shape.slice(0, -2);
    const [rows, inner] = matrixSizes(a.shape, transposeA);
    const [other, cols] = matrixSizes(b.shape, transposeB);
    const ranked = a.shape.length >= 2 && a.shape.length <= MOST_MATMUL_RANK;
    if (!ranked || !sameShape(leading, b.shape.slice(0, -2)) || b.shape.length < 2 || inner !== other) {
      throw new RangeError(`[${a.shape.join(', ')}] and [${b.shape.join(', ')}] cannot be multiplied.`);
    }
    return this.node({ kind: 'matmul', transposeA, transposeB }, [a, b], [...leading, rows, cols]);
  }

  /** @throws RangeError when channels do not fit or the filter is larger than the padded input */
  conv(x: TensorNode, filter: TensorNode, geometry: ConvGeometry): TensorNode {
    const [batch, channels, height, width] = x.shape;
    const [out, perGroup, kernelH, kernelW] = filter.shape;
    const { strides, pads, dilations, groups } = geometry;
    if (x.shape.length !== 4 || filter.shape.length !== 4 || channels !== perGroup! * groups || out! % groups !== 0) {
      throw new RangeError(
        `A filter [${filter.shape.join(', ')}] in ${groups} group(s) does not fit an input [${x.shape.join(', ')}].`,
      );
    }
    const rows = convolvedSize(height!, kernelH!, strides[0], pads[0] + pads[2], dilations[0]);
    const cols = convolvedSize(width!, kernelW!, strides[1], pads[1] + pads[3], dilations[1]);
    if (rows < 1 || cols < 1) {
      throw new RangeError(`A filter [${filter.shape.join(', ')}] is larger than its input [${x.shape.join(', ')}].`);
    }
    return this.node({ kind: 'conv', geometry }, [x, filter], [batch!, out!, rows, cols]);
  }

  convInput(dy: TensorNode, filter: TensorNode, geometry: ConvGeometry, inputShape: readonly number[]): TensorNode {
    return this.node({ kind: 'conv-input', geometry }, [dy, filter], inputShape);
  }

  convFilter(x: TensorNode, dy: TensorNode, geometry: ConvGeometry, filterShape: readonly number[]): TensorNode {
    return this.node({ kind: 'conv-filter', geometry }, [x, dy], filterShape);
  }

  private binary(fn: BinaryFunction, a: TensorNode, b: TensorNode): TensorNode {
    const shape = broadcastShape(a.shape, b.shape);
    // An operation stretches what it takes by itself, without writing it down.
    const one = unexpanded(a, b.shape, shape);
    return this.node({ kind: 'binary', fn }, [one, unexpanded(b, one.shape, shape)], shape);
  }

  private reduce(fn: 'sum' | 'max', a: TensorNode, axes: readonly number[]): TensorNode {
    const kept = axes.filter((axis) => a.shape[axis] !== 1);
    return kept.length === 0
      ? a
      : this.node(
          { kind: 'reduce', fn, axes: kept },
          [a],
          a.shape.map((size, axis) => (kept.includes(axis) ? 1 : size)),
        );
  }

  private node(operation: Operation, inputs: readonly TensorNode[], shape: readonly number[]): TensorNode {
    const foldable = inputs.every((input) => input.operation.kind === 'constant') && sizeOf(shape) <= MOST_FOLDED;
    const key = `${JSON.stringify(operation)}|${inputs.map(({ id }) => id).join()}|${shape.join()}`;
    const known = this.known.get(key);
    if (known) {
      return known;
    }
    if (foldable) {
      const folded = this.constant(this.fold(operation, inputs, shape), shape);
      this.known.set(key, folded);
      return folded;
    }
    return this.make(operation, inputs, shape, key);
  }

  private make(operation: Operation, inputs: readonly TensorNode[], shape: readonly number[], key: string): TensorNode {
    const known = this.known.get(key);
    if (known) {
      return known;
    }
    const made = { id: this.nextId++, operation, inputs, shape };
    this.known.set(key, made);
    return made;
  }

  private leaf(operation: Operation, shape: readonly number[]): TensorNode {
    return { id: this.nextId++, operation, inputs: [], shape };
  }
}

function requireFilled(data: TensorData, shape: readonly number[]): void {
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(`${data.length} numbers do not fill a tensor of shape [${shape.join(', ')}].`);
  }
}

/** What an expansion stretches, where an operation with the other stretches it to the same shape. */
function unexpanded(node: TensorNode, other: readonly number[], shape: readonly number[]): TensorNode {
  const [source] = node.operation.kind === 'expand' ? node.inputs : [];
  return source && sameShape(broadcastShape(source.shape, other), shape) ? source : node;
}

function isUnary(node: TensorNode, fn: UnaryFunction): boolean {
  return node.operation.kind === 'unary' && node.operation.fn === fn;
}

function isEverywhere({ operation }: TensorNode, value: number): boolean {
  return operation.kind === 'constant' && operation.data.length <= 4096 && operation.data.every((own) => own === value);
}

/** Every node that the outputs need, inputs before what uses them. */
export function needed(outputs: readonly TensorNode[]): TensorNode[] {
  const seen = new Set<TensorNode>();
  const pending = [...outputs];
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (!seen.has(node)) {
      seen.add(node);
      pending.push(...node.inputs);
    }
  }
  return [...seen].sort((one, other) => one.id - other.id);
}

/** Multiplications that computing the outputs takes, in convolutions and matrix products. */
export function workOf(outputs: readonly TensorNode[]): number {
  return needed(outputs).reduce((sum, { operation, inputs, shape }) => {
    switch (operation.kind) {
      case 'matmul':
        return sum + sizeOf(shape) * matrixSizes(inputs[0]!.shape, operation.transposeA)[1];
      case 'conv':
        return sum + sizeOf(shape) * sizeOf(inputs[1]!.shape.slice(1));
      case 'conv-input':
        return sum + sizeOf(inputs[0]!.shape) * sizeOf(inputs[1]!.shape.slice(1));
      case 'conv-filter':
        return sum + sizeOf(inputs[1]!.shape) * sizeOf(shape.slice(1));
      default:
        return sum;
    }
  }, 0);
}
