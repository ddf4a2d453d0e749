import { UnusableInputError } from '../protocol/errors.js';
import type { OnnxFile } from '../formats/onnx.js';
import type { OnnxNode } from '../formats/onnx-protobuf.js';
import { OnnxGroupNorms } from './onnx-group-norms.js';
import { OnnxConstants, reshaped, sliceRows, transposed } from './onnx-constants.js';
import { ONNX_LAYERS } from './onnx-layers.js';
import { Attributes, unsupported } from './onnx-node.js';
import type { OnnxWeights } from './onnx-weights.js';
import type { Layer } from './layers/recipe.js';

/** Shapes and paddings are short; lists that double do not stay so. */
const MOST_KNOWN = 1024;

/** Which layers the operations of an ONNX graph are: `onnx-layers.ts` has those that are one layer, here is what takes the graph to tell. */

export class OnnxOperations {
  readonly layers: Layer[] = [];
  private readonly known: OnnxConstants;
  /** Values that are the same as another: dropout, identity, casts. */
  private readonly aliases = new Map<string, string>();
  /** Values that could not be imported, with the reason. */
  private readonly failures = new Map<string, UnusableInputError>();
  private readonly zeros = new Set<string>();
  private readonly groups: OnnxGroupNorms;
  private counter = 0;

  /** @param input name of the graph's input */
  constructor(
    private readonly onnx: OnnxFile,
    private readonly file: string,
    private readonly weights: OnnxWeights,
    input: string,
  ) {
    this.known = new OnnxConstants(weights);
    this.groups = new OnnxGroupNorms(this.layers, weights);
    this.aliases.set(input, 'input');
  }

  /** Adds the layers of a node, or keeps the reason why there are none for whatever depends on it. */
  add(node: OnnxNode, index: number): void {
    try {
      this.operation(node, index);
    } catch (error) {
      if (!(error instanceof UnusableInputError)) {
        throw error;
      }
      // Exporters leave dead nodes behind: what is not supported matters once something depends on it.
      for (const output of node.output) {
        this.failures.set(output, error);
      }
    }
  }

  private operation(node: OnnxNode, index: number): void {
    const [out = ''] = node.output;
    const attr = new Attributes(node);
    const at = (position: number): string => node.input[position] ?? '';
    const push = (layer: Layer, inputs: string[] = [this.resolve(at(0))]): void => {
      this.layers.push({ ...layer, id: out, inputs });
    };
    const make = Object.hasOwn(ONNX_LAYERS, node.opType) ? ONNX_LAYERS[node.opType] : undefined;
    if (make) {
      push(
        make({
          node,
          attr,
          weight: (position, rank) => this.weight(node, at(position), rank),
          has: (position) => at(position) !== '' && !this.zeros.has(at(position)),
          opset: this.onnx.model.opsetImport.find(({ domain = '' }) => domain === '')?.version ?? 0,
          numbers: (position) => this.known.vector(at(position)),
          unsupported: (what) => this.unsupported(node, what),
        }),
      );
      return;
    }
    switch (node.opType) {
      case 'Gemm': {
        if (attr.float('alpha', 1) !== 1 || attr.float('beta', 1) !== 1 || attr.int('transA', 0) !== 0) {
          throw this.unsupported(node, 'alpha, beta or transA');
        }
        this.linear(node, at(0), at(1), at(2), attr.int('transB', 0) === 1, out);
        return;
      }
      case 'MatMul':
        if (!this.weights.has(at(1))) {
          throw this.unsupported(node, 'a product of two computed values');
        }
        this.linear(node, at(0), at(1), '', false, out);
        return;
      case 'ReduceMean': {
        const axes = attr.ints('axes') ?? this.known.numbers(at(1));
        const spatial =
          axes?.length === 2 && axes.every((axis) => axis === 2 || axis === 3 || axis === -1 || axis === -2);
        if (!spatial) {
          throw this.unsupported(node, `axes ${JSON.stringify(axes)}`);
        }
        if (attr.int('keepdims', 1) === 1) {
          push({ op: 'global-average-pool' });
        } else {
          this.layers.push(
            { op: 'global-average-pool', id: `${out}.pooled`, inputs: [this.resolve(at(0))] },
            { op: 'flatten', id: out, inputs: [`${out}.pooled`] },
          );
        }
        return;
      }
      case 'Reshape': {
        const listed = this.known.of(at(0));
        if (listed) {
          this.known.set(out, reshaped(listed, this.known.numbers(at(1))));
          return;
        }
        if (this.groups.reshape(this.resolve(at(0)), at(1), out)) {
          return;
        }
        const shape = this.known.numbers(at(1));
        if (!shape || shape.slice(1).some((size) => size === undefined || size === 0)) {
          throw this.unsupported(node, 'a shape that is not known');
        }
        const rest = shape.slice(1) as number[];
        push(rest.length === 1 ? { op: 'flatten' } : { op: 'reshape', shape: rest });
        return;
      }
      case 'Transpose': {
        const weight = this.weights.get(at(0));
        const perm = attr.ints('perm') ?? [];
        const small = this.known.get(at(0));
        if (small?.shape.length === 2) {
          this.known.set(out, transposed(small));
          return;
        }
        if (weight?.tensor.dims.length === 2) {
          this.weights.set(out, { tensor: weight.tensor, transposed: !weight.transposed });
          return;
        }
        push({ op: 'transpose', order: perm });
        return;
      }
      case 'Squeeze':
      case 'Unsqueeze':
        if (this.pass(at(0), out)) {
          return;
        }
        if (node.opType === 'Squeeze') {
          // After pooling the spatial axes have size one.
          push({ op: 'flatten' });
          return;
        }
        throw this.unsupported(node, 'a computed value');
      case 'Add':
      case 'Mul':
      case 'Sub':
      case 'Div':
        this.arithmetic(node, out);
        return;
      case 'Concat': {
        const parts = node.input.map((name) => this.known.numbers(name));
        const length = parts.reduce((sum, part) => sum + (part?.length ?? Infinity), 0);
        if (parts.every((part) => part !== undefined) && length <= MOST_KNOWN) {
          this.known.list(out, parts.flat());
          return;
        }
        push(
          { op: 'concat', axis: attr.int('axis', 1) },
          node.input.map((name) => this.resolve(name)),
        );
        return;
      }
      case 'Pad': {
        const pads = attr.ints('pads') ?? this.known.numbers(at(1));
        const mode = attr.text('mode');
        const value = at(2) === '' ? 0 : this.known.numbers(at(2))?.[0];
        if (
          pads?.length !== 8 ||
          (mode !== '' && mode !== 'constant') ||
          value !== 0 ||
          [0, 1, 4, 5].some((axis) => pads[axis] !== 0)
        ) {
          throw this.unsupported(node, 'padding other than zeros around an image');
        }
        push({ op: 'pad', padding: [pads[2]!, pads[3]!, pads[6]!, pads[7]!] });
        return;
      }
      case 'Dropout':
      case 'Identity':
      case 'Cast':
      case 'CastLike': {
        if (!this.pass(at(0), out)) {
          this.aliases.set(out, this.resolve(at(0)));
        }
        return;
      }
      case 'Constant': {
        const tensor = attr.tensor('value');
        // Zeros are left out of the file.
        const isScalar = attr.raw('value_float') !== undefined || attr.raw('value_int') !== undefined;
        const scalar = isScalar ? attr.float('value_float', attr.int('value_int', 0)) : undefined;
        const list = attr.raw('value_ints')?.ints ?? (scalar === undefined ? undefined : [scalar]);
        if (tensor) {
          this.weights.set(out, { tensor: { ...tensor, name: out }, transposed: false });
        } else if (list) {
          this.known.list(out, list);
        } else {
          throw this.unsupported(node, 'a value that is not a number');
        }
        return;
      }
      case 'Expand': {
        const values = this.known.numbers(at(0));
        const sizes = this.known.numbers(at(1));
        const [size] = sizes ?? [];
        if (values?.length === 1 && values[0] === 0) {
          this.zeros.add(out);
        }
        const isLength = size !== undefined && Number.isInteger(size) && size > 0 && size <= MOST_KNOWN;
        if (values?.length === 1 && sizes?.length === 1 && isLength) {
          this.known.list(out, new Array<number | undefined>(size).fill(values[0]));
        } else if (!this.zeros.has(out)) {
          throw this.unsupported(node, 'a value other than zero', index);
        }
        return;
      }
      case 'Shape':
        this.groups.shape(this.aliases.get(at(0)) ?? at(0), out);
        this.known.list(out, new Array<undefined>(8).fill(undefined));
        return;
      case 'ConstantOfShape': {
        const size = this.known.numbers(at(0))?.[0];
        const fill = attr.tensor('value');
        if (size === undefined || !Number.isInteger(size) || size < 0 || size > 64) {
          throw this.unsupported(node, 'a size that is not known');
        }
        this.known.list(out, new Array<number>(size).fill(fill ? (this.onnx.values(fill)[0] ?? 0) : 0));
        return;
      }
      case 'Gather': {
        const source = this.known.numbers(at(0));
        const position = this.known.numbers(at(1))?.[0];
        if (!source || position === undefined) {
          throw this.unsupported(node, 'a computed value');
        }
        this.known.list(out, [source.at(position)]);
        return;
      }
      case 'Slice': {
        const source = this.known.of(at(0));
        if (!source) {
          throw this.unsupported(node, 'a computed value');
        }
        const [start, end, step = 1] = [1, 2, 4].map((input) => this.known.numbers(at(input))?.[0]);
        if (!Number.isInteger(step) || step === 0) {
          throw this.unsupported(node, `steps of ${step}`);
        }
        this.known.set(out, sliceRows(source, start, end, step));
        return;
      }
      default:
        throw this.unsupported(node, undefined, index);
    }
  }

  private linear(node: OnnxNode, x: string, weight: string, bias: string, transB: boolean, out: string): void {
    const found = this.weight(node, weight, 2);
    const rows = transB !== found.transposed;
    this.layers.push({
      op: 'linear',
      weight: found.name,
      ...(bias === '' ? {} : { bias: this.weight(node, bias, 1).name }),
      layout: rows ? 'kxd' : 'dxk',
      id: out,
      inputs: [this.resolve(x)],
    });
  }

  private arithmetic(node: OnnxNode, out: string): void {
    const [left = '', right = ''] = node.input;
    const scaled = this.groups.affine(node.opType, this.resolve(left), right);
    if (scaled !== undefined) {
      this.aliases.set(out, scaled);
      return;
    }
    if (this.known.numbers(left) && this.known.numbers(right) && !this.weights.has(left)) {
      this.known.list(out, [undefined]);
      return;
    }
    const inverse = node.opType === 'Sub' || node.opType === 'Div';
    const op = node.opType === 'Add' || node.opType === 'Sub' ? 'add' : 'mul';
    if (inverse && !this.weights.has(right) && !this.known.has(right)) {
      throw this.unsupported(node, 'a second computed value');
    }
    const operand = (name: string, inverted: boolean): string => {
      if (!this.weights.has(name) && !this.known.has(name)) {
        return this.resolve(name);
      }
      const id = `${out}.${this.counter++}`;
      const weight = this.weights.get(name);
      const trained = weight && this.weights.inCheckpoint(weight);
      if (trained && !inverted) {
        this.layers.push({ op: 'parameter', name: trained.name, id });
        return id;
      }
      const values = weight
        ? this.weights.values(weight)
        : Float64Array.from(this.known.numbers(name) ?? [], (own) => own ?? NaN);
      const applied = !inverted ? values : values.map((own) => (op === 'add' ? -own : 1 / own));
      this.layers.push({ op: 'constant', values: [...applied], shape: weight ? [...weight.tensor.dims] : [], id });
      return id;
    };
    const inputs = [operand(left, false), operand(right, inverse)];
    this.layers.push({ op, id: out, inputs });
  }

  /** @throws UnusableInputError when it depends on what could not be imported */
  resolve(name: string): string {
    const failure = this.failures.get(name);
    if (failure) {
      throw failure;
    }
    return this.aliases.get(name) ?? name;
  }

  /** The output is the input, if that is a known number or an initializer. */
  private pass(from: string, to: string): boolean {
    const known = this.known.get(from);
    const weight = this.weights.get(from);
    if (known) {
      this.known.set(to, known);
    } else if (weight) {
      this.weights.set(to, weight);
    }
    return known !== undefined || weight !== undefined;
  }

  private weight(node: OnnxNode, name: string, rank?: number) {
    const failure = this.failures.get(name);
    if (failure) {
      throw failure;
    }
    return this.weights.named(node, name, rank);
  }

  private unsupported(node: OnnxNode, what?: string, index?: number): UnusableInputError {
    return unsupported(this.file, node, what, index);
  }
}
