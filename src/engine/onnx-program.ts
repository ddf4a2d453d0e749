import {
  ONNX_ATTRIBUTE,
  ONNX_TYPE,
  type OnnxAttribute,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValue,
  encodeOnnx,
} from '../formats/onnx-protobuf.js';
import {
  type BinaryFunction,
  type TensorData,
  type TensorNode,
  type UnaryFunction,
  needed,
  sizeOf,
} from '../graph/tensor-graph.js';
import { type SquaredSum, squaredSums } from './squared-sums.js';

/** A tensor graph as an ONNX model, which onnxruntime then runs as one static program. */

const OPSET = 17;
const IR_VERSION = 8;
/** Of small filters with more taps, cutting out the patches costs more than exchanging channels. */
const MOST_SLICES = 9;

const UNARY: Record<Exclude<UnaryFunction, 'step' | 'sign'>, string> = {
  neg: 'Neg',
  exp: 'Exp',
  log: 'Log',
  sqrt: 'Sqrt',
  reciprocal: 'Reciprocal',
  sigmoid: 'Sigmoid',
  tanh: 'Tanh',
  erf: 'Erf',
  relu: 'Relu',
  abs: 'Abs',
};
const BINARY: Record<BinaryFunction, string> = { add: 'Add', sub: 'Sub', mul: 'Mul', div: 'Div', max: 'Max' };

/**
 * @param outputs nodes whose values the model gives out, under the names `out0`, `out1`, ...
 * @returns the model's bytes (float32, NCHW)
 */
export function toOnnx(outputs: readonly TensorNode[]): Uint8Array {
  const writer = new Writer();
  const nodes = needed(outputs);
  const squares = squaredSums(nodes, outputs);
  const passed = new Set([...squares.values()].flatMap(({ between }) => between));
  for (const node of nodes) {
    const square = squares.get(node);
    if (square) {
      writer.squaredSum(node, square);
    } else if (!passed.has(node)) {
      writer.add(node);
    }
  }
  outputs.forEach((node, index) => {
    writer.node('Identity', [nameOf(node)], `out${index}`);
  });
  return encodeOnnx({
    irVersion: IR_VERSION,
    opsetImport: [{ domain: '', version: OPSET }],
    graph: {
      name: 'gradleak',
      node: writer.nodes,
      initializer: writer.initializers,
      input: writer.inputs,
      output: outputs.map((node, index) => value(`out${index}`, node.shape)),
    },
  });
}

class Writer {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxTensor[] = [];
  readonly inputs: OnnxValue[] = [];
  /** Names of initializers that are shared. */
  private readonly lists = new Map<string, string>();

  add(node: TensorNode): void {
    const { operation, inputs, shape } = node;
    const own = nameOf(node);
    const names = inputs.map(nameOf);
    switch (operation.kind) {
      case 'variable':
        this.inputs.push(value(own, shape));
        break;
      case 'parameter':
      case 'constant':
        this.initializers.push(floats(own, operation.data, shape));
        break;
      case 'unary':
        if (operation.fn === 'step') {
          this.node('Greater', [names[0]!, this.zero()], `${own}.positive`);
          this.node('Cast', [`${own}.positive`], own, [int('to', ONNX_TYPE.float)]);
        } else if (operation.fn === 'sign') {
          this.sign(names[0]!, own);
        } else {
          this.node(UNARY[operation.fn], names, own);
        }
        break;
      case 'binary':
        this.node(BINARY[operation.fn], names, own);
        break;
      case 'reshape':
        this.node('Reshape', [names[0]!, this.list(shape)], own);
        break;
      case 'transpose':
        this.node('Transpose', names, own, [ints('perm', operation.perm)]);
        break;
      case 'expand':
        this.node('Expand', [names[0]!, this.list(shape)], own);
        break;
      case 'reduce':
        if (operation.fn === 'sum') {
          this.node('ReduceSum', [names[0]!, this.list(operation.axes)], own, [int('keepdims', 1)]);
        } else {
          this.node('ReduceMax', names, own, [ints('axes', operation.axes), int('keepdims', 1)]);
        }
        break;
      case 'slice':
        this.slice(names[0]!, own, operation.starts, shape, operation.steps);
        break;
      case 'embed':
        this.embed(names[0]!, inputs[0]!.shape, own, operation.starts, operation.steps, shape);
        break;
      case 'concat':
        this.node('Concat', names, own, [int('axis', operation.axis)]);
        break;
      case 'matmul':
        this.matmul(names, own, shape.length, operation.transposeA, operation.transposeB);
        break;
      case 'conv': {
        const { strides, pads, dilations, groups } = operation.geometry;
        this.node('Conv', names, own, [
          ints('strides', strides),
          ints('pads', pads),
          ints('dilations', dilations),
          int('group', groups),
          ints('kernel_shape', inputs[1]!.shape.slice(2)),
        ]);
        break;
      }
      case 'conv-input':
        this.convInput(node, names, own);
        break;
      case 'conv-filter':
        this.convFilter(node, names, own);
        break;
    }
  }

  node(opType: string, input: string[], output: string, attribute: OnnxAttribute[] = []): void {
    this.nodes.push({ opType, input, output: [output], attribute });
  }

  squaredSum(node: TensorNode, { root, shape, axes }: SquaredSum): void {
    const own = nameOf(node);
    this.node('Reshape', [nameOf(root), this.list(shape)], `${own}.root`);
    this.node('ReduceSumSquare', [`${own}.root`], own, [ints('axes', axes), int('keepdims', 1)]);
  }

  /** onnxruntime has no Sign on WebGPU, and would take the tensor to the CPU and back at every step. */
  private sign(name: string, own: string): void {
    for (const [opType, side] of [
      ['Greater', 'positive'],
      ['Less', 'negative'],
    ] as const) {
      this.node(opType, [name, this.zero()], `${own}.is-${side}`);
      this.node('Cast', [`${own}.is-${side}`], `${own}.${side}`, [int('to', ONNX_TYPE.float)]);
    }
    this.node('Sub', [`${own}.positive`, `${own}.negative`], own);
  }

  /** Gemm transposes, and knows single matrices only. */
  private matmul(names: string[], own: string, rank: number, transposeA: boolean, transposeB: boolean): void {
    if (rank === 2) {
      this.node('Gemm', names, own, [int('transA', Number(transposeA)), int('transB', Number(transposeB))]);
      return;
    }
    const turned = [transposeA, transposeB].map((transposed, at) => {
      if (!transposed) {
        return names[at]!;
      }
      const axes = Array.from({ length: rank }, (_, axis) => axis);
      this.node('Transpose', [names[at]!], `${own}.${at}`, [ints('perm', [...axes.slice(0, -2), rank - 1, rank - 2])]);
      return `${own}.${at}`;
    });
    this.node('MatMul', turned, own);
  }

  private convInput(node: TensorNode, names: string[], own: string): void {
    const { strides, pads, dilations, groups } = geometryOf(node);
    const [dy, filter] = node.inputs as [TensorNode, TensorNode];
    const { operation } = filter;
    const isFixed = operation.kind === 'parameter' || operation.kind === 'constant';
    if (isFixed && groups === 1 && strides[0] === 1 && strides[1] === 1) {
      // With a filter that does not change, turned once, the same is a convolution, which runs faster.
      const [, , kernelH, kernelW] = filter.shape as [number, number, number, number];
      const before = [dilations[0] * (kernelH - 1) - pads[0], dilations[1] * (kernelW - 1) - pads[1]];
      const after = [dilations[0] * (kernelH - 1) - pads[2], dilations[1] * (kernelW - 1) - pads[3]];
      if ([...before, ...after].every((pad) => pad >= 0)) {
        this.node('Conv', [names[0]!, this.turned(filter, operation.data)], own, [
          ints('strides', [1, 1]),
          ints('pads', [...before, ...after]),
          ints('dilations', dilations),
          int('group', 1),
          ints('kernel_shape', [kernelH, kernelW]),
        ]);
        return;
      }
    }
    const missing = [0, 1].map((axis) => {
      const reached =
        (dy.shape[2 + axis]! - 1) * strides[axis]! +
        dilations[axis]! * (filter.shape[2 + axis]! - 1) +
        1 -
        pads[axis]! -
        pads[2 + axis]!;
      return node.shape[2 + axis]! - reached;
    });
    this.node('ConvTranspose', names, own, [
      ints('strides', strides),
      ints('pads', pads),
      ints('dilations', dilations),
      int('group', groups),
      ints('kernel_shape', filter.shape.slice(2)),
      ints('output_padding', missing),
    ]);
  }

  /** A filter with its channels exchanged and its rows and columns reversed, as an initializer of its own. */
  private turned(filter: TensorNode, data: TensorData): string {
    const name = `${nameOf(filter)}.turned`;
    if (!this.lists.has(name)) {
      const [out, channels, kernelH, kernelW] = filter.shape as [number, number, number, number];
      const taps = kernelH * kernelW;
      const turned = new Float32Array(data.length);
      for (let o = 0; o < out; o++) {
        for (let c = 0; c < channels; c++) {
          for (let tap = 0; tap < taps; tap++) {
            turned[(c * out + o) * taps + taps - 1 - tap] = data[(o * channels + c) * taps + tap]!;
          }
        }
      }
      this.lists.set(name, name);
      this.initializers.push(floats(name, turned, [channels, out, kernelH, kernelW]));
    }
    return name;
  }

  /**
   * A product of the output's gradient and the input's patches, in the filter's own layout. As a convolution, of the input
   * with the output's gradient as filter, it comes out with channels exchanged, and where filters are larger than
   * images, transposing them back costs more than the rest.
   */
  private convFilter(node: TensorNode, names: string[], own: string): void {
    const { groups } = geometryOf(node);
    const [x, dy] = node.inputs as [TensorNode, TensorNode];
    const [batch, channels] = x.shape as [number, number];
    const [, out, rows, cols] = dy.shape as [number, number, number, number];
    const [filters, perGroup, kernelH, kernelW] = node.shape as [number, number, number, number];
    if (perGroup !== channels / groups || out !== filters) {
      throw new RangeError(`A filter gradient of shape [${node.shape.join(', ')}] does not fit its inputs.`);
    }
    const taps = kernelH * kernelW;
    if (taps > MOST_SLICES && sizeOf(node.shape) < taps * sizeOf(x.shape)) {
      this.convFilterAsConvolution(node, names, own);
      return;
    }
    const places = rows * cols;
    // Of each sample: group, channel and tap, position. Of the output's gradient: group, channel, position.
    this.patches(node, names[0]!, `${own}.p`);
    if (groups === 1) {
      this.together(`${own}.p`, [batch, channels * taps, places], `${own}.x`);
      this.together(names[1]!, [batch, out, places], `${own}.dy`);
      this.node('Gemm', [`${own}.dy`, `${own}.x`], `${own}.c`, [int('transB', 1)]);
    } else {
      this.together(`${own}.p`, [batch, groups, perGroup * taps, places], `${own}.x`);
      this.together(names[1]!, [batch, groups, out / groups, places], `${own}.dy`);
      this.node('Transpose', [`${own}.x`], `${own}.xt`, [ints('perm', [0, 2, 1])]);
      this.node('MatMul', [`${own}.dy`, `${own}.xt`], `${own}.c`);
    }
    this.node('Reshape', [`${own}.c`, this.list(node.shape)], own);
  }

  /**
   * The gradient of a filter is itself a convolution: of the input with the output's gradient as filter, batch and
   * channels exchanged, and stride and dilation exchanged.
   */
  private convFilterAsConvolution(node: TensorNode, names: string[], own: string): void {
    const { strides, pads, dilations, groups } = geometryOf(node);
    const [x, dy] = node.inputs as [TensorNode, TensorNode];
    const [batch, channels, height, width] = x.shape as [number, number, number, number];
    const [, , rows, cols] = dy.shape as [number, number, number, number];
    const [, , kernelH, kernelW] = node.shape as [number, number, number, number];
    let input = `${own}.x`;
    if (groups === 1) {
      this.node('Transpose', [names[0]!], input, [ints('perm', [1, 0, 2, 3])]);
    } else {
      this.node('Reshape', [names[0]!, this.list([batch, groups, channels / groups, height, width])], `${own}.g`);
      this.node('Transpose', [`${own}.g`], `${own}.t`, [ints('perm', [2, 1, 0, 3, 4])]);
      this.node('Reshape', [`${own}.t`, this.list([channels / groups, groups * batch, height, width])], input);
    }
    this.node('Transpose', [names[1]!], `${own}.dy`, [ints('perm', [1, 0, 2, 3])]);
    // How far the last product reaches beyond the input; negative where the stride left a rest unused.
    const ends = [
      (rows - 1) * strides[0] + (kernelH - 1) * dilations[0] + 1 - height - pads[0],
      (cols - 1) * strides[1] + (kernelW - 1) * dilations[1] + 1 - width - pads[1],
    ];
    if (ends.some((end) => end < 0)) {
      const sizes = [height + Math.min(ends[0]!, 0), width + Math.min(ends[1]!, 0)];
      this.node('Slice', [input, this.list([0, 0]), this.list(sizes), this.list([2, 3])], `${own}.cut`);
      input = `${own}.cut`;
    }
    this.node('Conv', [input, `${own}.dy`], `${own}.c`, [
      ints('strides', dilations),
      ints('dilations', strides),
      ints('pads', [pads[0], pads[1], Math.max(ends[0]!, 0), Math.max(ends[1]!, 0)]),
      int('group', groups),
      ints('kernel_shape', [rows, cols]),
    ]);
    this.node('Transpose', [`${own}.c`], own, [ints('perm', [1, 0, 2, 3])]);
  }

  /** Batch x ... x places as ... x (batch x places). */
  private together(name: string, sizes: readonly number[], own: string): void {
    const [batch, ...others] = sizes as [number, ...number[]];
    const places = others[others.length - 1]!;
    let input = name;
    if (batch > 1) {
      this.node('Reshape', [name, this.list(sizes)], `${own}.split`);
      const inner = Array.from({ length: others.length - 1 }, (_, at) => at + 1);
      this.node('Transpose', [`${own}.split`], `${own}.turned`, [ints('perm', [...inner, 0, others.length])]);
      input = `${own}.turned`;
    }
    this.node('Reshape', [input, this.list([...others.slice(0, -1), batch * places])], own);
  }

  /** The input's patches: batch x channels x taps x positions of the output. */
  private patches(node: TensorNode, name: string, own: string): void {
    const { strides, pads, dilations } = geometryOf(node);
    const [x, dy] = node.inputs as [TensorNode, TensorNode];
    const [batch, channels] = x.shape as [number, number];
    const [, , rows, cols] = dy.shape as [number, number, number, number];
    const [, , kernelH, kernelW] = node.shape as [number, number, number, number];
    let input = name;
    if (pads.some((pad) => pad > 0)) {
      this.node('Pad', [name, this.list([0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]])], `${own}.padded`);
      input = `${own}.padded`;
    }
    const parts: string[] = [];
    for (let row = 0; row < kernelH; row++) {
      for (let col = 0; col < kernelW; col++) {
        const part = `${own}.${row}-${col}`;
        this.slice(
          input,
          part,
          [0, 0, row * dilations[0], col * dilations[1]],
          [batch, channels, rows, cols],
          [1, 1, strides[0], strides[1]],
        );
        this.node('Reshape', [part, this.list([batch, channels, 1, rows * cols])], `${part}.flat`);
        parts.push(`${part}.flat`);
      }
    }
    this.node('Concat', parts, own, [int('axis', 2)]);
  }

  private slice(
    input: string,
    output: string,
    starts: readonly number[],
    shape: readonly number[],
    steps: readonly number[],
  ): void {
    const ends = starts.map((start, axis) => start + (shape[axis]! - 1) * steps[axis]! + 1);
    this.node(
      'Slice',
      [input, this.list(starts), this.list(ends), this.list(starts.map((_, axis) => axis)), this.list(steps)],
      output,
    );
  }

  private embed(
    input: string,
    inputShape: readonly number[],
    output: string,
    starts: readonly number[],
    steps: readonly number[],
    shape: readonly number[],
  ): void {
    let current = input;
    let size = [...inputShape];
    if (steps.some((step) => step > 1)) {
      // Each stretched axis gets an axis of its own behind it, is padded there with zeros, and both are joined.
      const split = size.flatMap((own) => [own, 1]);
      const filled = size.flatMap((own, axis) => [own, steps[axis]!]);
      this.node('Reshape', [current, this.list(split)], `${output}.split`);
      this.node(
        'Pad',
        [`${output}.split`, this.list([...split.map(() => 0), ...filled.map((own, at) => own - split[at]!)])],
        `${output}.filled`,
      );
      size = size.map((own, axis) => own * steps[axis]!);
      this.node('Reshape', [`${output}.filled`, this.list(size)], `${output}.joined`);
      current = `${output}.joined`;
    }
    // Negative pads cut off the zeros behind the last entry.
    const before = starts;
    const after = shape.map((own, axis) => own - starts[axis]! - size[axis]!);
    this.node('Pad', [current, this.list([...before, ...after])], output);
  }

  private zero(): string {
    const name = 'zero';
    if (!this.lists.has(name)) {
      this.lists.set(name, name);
      this.initializers.push(floats(name, Float32Array.of(0), []));
    }
    return name;
  }

  /** A list of integers as an initializer, shared where it occurs again. */
  private list(values: readonly number[]): string {
    const key = `i${values.join('_')}`;
    if (!this.lists.has(key)) {
      this.lists.set(key, key);
      this.initializers.push({ name: key, dims: [values.length], dataType: ONNX_TYPE.int64, int64Data: [...values] });
    }
    return key;
  }
}

function geometryOf({ operation }: TensorNode) {
  if (operation.kind !== 'conv-input' && operation.kind !== 'conv-filter' && operation.kind !== 'conv') {
    throw new TypeError('Not a convolution.');
  }
  return operation.geometry;
}

/** Names of the user's never enter the model, so that none can clash. */
function nameOf(node: TensorNode): string {
  return node.operation.kind === 'variable' ? node.operation.name : `t${node.id}`;
}

function floats(name: string, data: TensorData, shape: readonly number[]): OnnxTensor {
  const single = data instanceof Float32Array ? data : Float32Array.from(data);
  return {
    name,
    dims: [...shape],
    dataType: ONNX_TYPE.float,
    rawData: new Uint8Array(single.buffer, single.byteOffset, single.byteLength),
  };
}

function value(name: string, shape: readonly number[]): OnnxValue {
  return {
    name,
    type: { tensorType: { elemType: ONNX_TYPE.float, shape: { dim: shape.map((dimValue) => ({ dimValue })) } } },
  };
}

function int(name: string, i: number): OnnxAttribute {
  return { name, type: ONNX_ATTRIBUTE.int, i };
}

function ints(name: string, list: readonly number[]): OnnxAttribute {
  return { name, type: ONNX_ATTRIBUTE.ints, ints: [...list] };
}
