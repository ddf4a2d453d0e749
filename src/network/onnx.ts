import { UnusableInputError } from '../protocol/errors.js';
import type { OnnxFile } from '../formats/onnx.js';
import { type OnnxNode, type OnnxTensor } from '../formats/onnx-protobuf.js';
import type { NamedShape } from './built-in.js';
import type { StoredTensor } from './network-graph.js';
import type { Extent, Layer, Padding, Recipe } from './recipe.js';

/** ONNX graphs as recipes: both of PyTorch's exporters, opsets 11 to 21. */

export interface ImportedOnnx {
  readonly recipe: Recipe;
  /** Initializers that are not in the checkpoint. */
  readonly own: ReadonlyMap<string, StoredTensor>;
  /** What a reader should know of the import, one sentence each. */
  readonly notes: readonly string[];
}

export interface CheckpointView {
  readonly entries: readonly NamedShape[];
  read(name: string): Float64Array;
}

/**
 * @param file named in messages
 * @param checkpoint initializers are matched to its tensors, by name, else by values
 * @throws UnusableInputError naming the operation and node that is not supported
 */
export function importOnnx(onnx: OnnxFile, file: string, checkpoint: CheckpointView): ImportedOnnx {
  return new OnnxImporter(onnx, file, checkpoint).run();
}

/** An initializer, possibly seen through a transposition that the exporter left in the graph. */
interface Weight {
  readonly tensor: OnnxTensor;
  readonly transposed: boolean;
}

/** Small tensors of shapes and paddings that are known while importing; undefined entries depend on the batch. */
interface Known {
  readonly values: readonly (number | undefined)[];
  readonly shape: readonly number[];
}

type Numbers = Known['values'];

class OnnxImporter {
  private readonly weights = new Map<string, Weight>();
  private readonly known = new Map<string, Known>();
  private readonly layers: Layer[] = [];
  /** Values that are the same as another: dropout, identity, casts. */
  private readonly aliases = new Map<string, string>();
  private readonly own = new Map<string, StoredTensor>();
  private readonly names = new Map<string, { name: string; transposed: boolean }>();
  private readonly notes: string[] = [];
  /** Values that could not be imported, with the reason. */
  private readonly failures = new Map<string, UnusableInputError>();
  private readonly zeros = new Set<string>();
  private counter = 0;

  constructor(
    private readonly onnx: OnnxFile,
    private readonly file: string,
    private readonly checkpoint: CheckpointView,
  ) {}

  run(): ImportedOnnx {
    const { graph, functions } = this.onnx.model;
    if (functions && functions.length > 0) {
      throw this.bad(
        `functions local to the model, such as "${functions[0]?.name ?? ''}"`,
        'a graph of standard operations',
        'Export with a newer PyTorch, or with torch.onnx.export(..., dynamo=False).',
      );
    }
    for (const tensor of graph.initializer) {
      this.weights.set(tensor.name ?? '', { tensor, transposed: false });
    }
    const input = graph.input.find(({ name }) => !this.weights.has(name));
    const dims = input?.type?.tensorType?.shape?.dim.slice(1).map(({ dimValue }) => dimValue);
    if (!input || !dims || dims.length === 0 || dims.some((size) => size === undefined || size < 1)) {
      throw this.bad(
        'an input whose shape is not fixed',
        'one input of fixed size, with the batch as its first axis',
        'Export with an example input and without dynamic image sizes.',
      );
    }
    this.aliases.set(input.name, 'input');
    graph.node.forEach((node, index) => {
      try {
        this.node(node, index);
      } catch (error) {
        if (!(error instanceof UnusableInputError)) {
          throw error;
        }
        // Exporters leave dead nodes behind: what is not supported matters once something depends on it.
        for (const output of node.output) {
          this.failures.set(output, error);
        }
      }
    });
    const output = this.resolve(graph.output[0]?.name ?? '');
    const last = this.layers.findIndex(({ id }) => id === output);
    if (last < 0) {
      throw this.bad('an output that no layer computes', 'logits as the first output', 'Export the model itself.');
    }
    // What comes after the logits, or feeds other outputs, is of no use here.
    this.layers.length = last + 1;
    this.trimSoftmax();
    this.noteFolding();
    return {
      recipe: {
        schemaVersion: 1,
        name: `ONNX graph${this.onnx.model.producerName ? ` by ${this.onnx.model.producerName}` : ''}`,
        input: dims as number[],
        layers: this.layers,
      },
      own: this.own,
      notes: this.notes,
    };
  }

  /** Cross-entropy takes logits: a final softmax belongs to the loss. */
  private trimSoftmax(): void {
    if (this.layers[this.layers.length - 1]?.op === 'softmax') {
      this.layers.pop();
      this.notes.push('the softmax at the end of the graph was left to the loss');
    }
  }

  /** @throws UnusableInputError when the exporter has folded batch normalisation into the convolutions */
  private noteFolding(): void {
    const hasNorm = this.layers.some(({ op }) => op === 'batch-norm');
    if (!hasNorm && this.checkpoint.entries.some(({ name }) => name.endsWith('running_mean'))) {
      throw this.bad(
        'convolutions into which the exporter has folded batch normalisation, so that their gradients do not fit',
        'batch normalisation as layers of its own, as in the checkpoint',
        'Export with training=torch.onnx.TrainingMode.PRESERVE (dynamo=True: optimize=False), as gradleak_capture.py does.',
      );
    }
    if (this.own.size > 0) {
      this.notes.push(
        `${this.own.size} tensors of the ONNX file are not in the checkpoint (${[...this.own.keys()].slice(0, 3).join(', ')}) and were taken as they are`,
      );
    }
  }

  private node(node: OnnxNode, index: number): void {
    const [out = ''] = node.output;
    const attr = new Attributes(node);
    const at = (position: number): string => node.input[position] ?? '';
    const push = (layer: Layer, inputs: string[] = [this.resolve(at(0))]): void => {
      this.layers.push({ ...layer, id: out, inputs });
    };
    switch (node.opType) {
      case 'Conv': {
        const weight = this.weight(node, at(1), 4);
        // Exporters give convolutions without bias one of zeros.
        const bias = this.zeros.has(at(2)) ? '' : at(2);
        push({
          op: 'conv',
          weight: weight.name,
          ...(bias === '' ? {} : { bias: this.weight(node, bias, 1).name }),
          stride: pair(attr.ints('strides')) ?? 1,
          padding: attr.padding(() => this.unsupported(node, `auto_pad "${attr.text('auto_pad')}"`)),
          dilation: pair(attr.ints('dilations')) ?? 1,
          groups: attr.int('group', 1),
        });
        return;
      }
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
      case 'BatchNormalization':
        push({
          op: 'batch-norm',
          weight: this.weight(node, at(1), 1).name,
          bias: this.weight(node, at(2), 1).name,
          mean: this.weight(node, at(3), 1).name,
          variance: this.weight(node, at(4), 1).name,
          epsilon: attr.float('epsilon', 1e-5),
        });
        return;
      case 'LayerNormalization': {
        const weight = this.weight(node, at(1));
        push({
          op: 'layer-norm',
          weight: weight.name,
          ...(at(2) === '' ? {} : { bias: this.weight(node, at(2)).name }),
          epsilon: attr.float('epsilon', 1e-5),
          axes: weight.rank,
        });
        return;
      }
      case 'Relu':
      case 'Sigmoid':
      case 'Tanh':
      case 'Erf':
        push({ op: node.opType.toLowerCase() as 'relu' | 'sigmoid' | 'tanh' | 'erf' });
        return;
      case 'LeakyRelu':
        push({ op: 'leaky-relu', slope: attr.float('alpha', 0.01) });
        return;
      case 'Elu':
        push({ op: 'elu', alpha: attr.float('alpha', 1) });
        return;
      case 'Gelu':
        push({ op: 'gelu', approximate: attr.text('approximate') === 'tanh' });
        return;
      case 'Swish':
        push({ op: 'silu' });
        return;
      case 'Softmax':
      case 'LogSoftmax':
        push({ op: 'softmax', axis: attr.int('axis', -1) });
        return;
      case 'MaxPool':
      case 'AveragePool': {
        const kernel = pair(attr.ints('kernel_shape'));
        const dilated = attr.ints('dilations')?.some((own) => own !== 1) === true;
        if (kernel === undefined || dilated || attr.int('ceil_mode', 0) === 1) {
          throw this.unsupported(node, 'ceil_mode, dilations or a kernel that is not two-dimensional');
        }
        push({
          op: node.opType === 'MaxPool' ? 'max-pool' : 'average-pool',
          kernel,
          stride: pair(attr.ints('strides')) ?? 1,
          padding: attr.padding(() => this.unsupported(node, 'auto_pad')),
          ...(node.opType === 'AveragePool' ? { countPadding: attr.int('count_include_pad', 0) === 1 } : {}),
        });
        return;
      }
      case 'GlobalAveragePool':
        push({ op: 'global-average-pool' });
        return;
      case 'ReduceMean': {
        const axes = attr.ints('axes') ?? this.numbersOf(at(1));
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
      case 'Flatten':
        if (attr.int('axis', 1) !== 1) {
          throw this.unsupported(node, 'an axis other than 1');
        }
        push({ op: 'flatten' });
        return;
      case 'Reshape': {
        const listed = this.knownOf(at(0));
        if (listed) {
          const wanted = this.numbersOf(at(1))?.map((size) => size ?? -1) ?? [-1];
          const fixed = wanted.filter((size) => size > 0).reduce((product, size) => product * size, 1);
          this.known.set(out, {
            values: listed.values,
            shape: wanted.map((size) => (size > 0 ? size : listed.values.length / fixed)),
          });
          return;
        }
        const shape = this.numbersOf(at(1));
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
          const [rows = 1, cols = 1] = small.shape;
          this.known.set(out, {
            values: small.values.map((_, index) => small.values[(index % rows) * cols + Math.floor(index / rows)]),
            shape: [cols, rows],
          });
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
        const parts = node.input.map((name) => this.numbersOf(name));
        if (parts.every((part) => part !== undefined)) {
          this.list(out, parts.flat());
          return;
        }
        push(
          { op: 'concat', axis: attr.int('axis', 1) },
          node.input.map((name) => this.resolve(name)),
        );
        return;
      }
      case 'Pad': {
        const pads = attr.ints('pads') ?? this.numbersOf(at(1));
        const mode = attr.text('mode');
        const value = at(2) === '' ? 0 : this.onnxNumber(at(2));
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
        const scalar = attr.raw('value_float')?.f ?? attr.raw('value_int')?.i;
        const list = attr.raw('value_ints')?.ints ?? (scalar === undefined ? undefined : [scalar]);
        if (tensor) {
          this.weights.set(out, { tensor: { ...tensor, name: out }, transposed: false });
        } else if (list) {
          this.list(out, list);
        } else {
          throw this.unsupported(node, 'a value that is not a number');
        }
        return;
      }
      case 'Expand': {
        const values = this.numbersOf(at(0));
        if (values?.length === 1 && values[0] === 0) {
          this.zeros.add(out);
          return;
        }
        throw this.unsupported(node, 'a value other than zero', index);
      }
      case 'Shape':
        this.list(out, new Array<undefined>(8).fill(undefined));
        return;
      case 'ConstantOfShape': {
        const size = this.numbersOf(at(0))?.[0];
        const fill = attr.tensor('value');
        if (size === undefined || size > 64) {
          throw this.unsupported(node, 'a size that is not known');
        }
        this.list(out, new Array<number>(size).fill(fill ? (this.onnx.values(fill)[0] ?? 0) : 0));
        return;
      }
      case 'Gather': {
        const source = this.numbersOf(at(0));
        const position = this.numbersOf(at(1))?.[0];
        if (!source || position === undefined) {
          throw this.unsupported(node, 'a computed value');
        }
        this.list(out, [source.at(position)]);
        return;
      }
      case 'Slice': {
        const source = this.knownOf(at(0));
        if (!source) {
          throw this.unsupported(node, 'a computed value');
        }
        this.known.set(
          out,
          sliceRows(source, this.numbersOf(at(1))?.[0], this.numbersOf(at(2))?.[0], this.numbersOf(at(4))?.[0]),
        );
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
    if (this.numbersOf(left) && this.numbersOf(right) && !this.weights.has(left)) {
      this.list(out, [undefined]);
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
      const trained = weight && this.inCheckpoint(weight);
      if (trained && !inverted) {
        this.layers.push({ op: 'parameter', name: trained.name, id });
        return id;
      }
      const values = weight
        ? this.onnx.values(weight.tensor)
        : Float64Array.from(this.numbersOf(name) ?? [], (own) => own ?? NaN);
      const applied = !inverted ? values : values.map((own) => (op === 'add' ? -own : 1 / own));
      this.layers.push({ op: 'constant', values: [...applied], shape: weight ? [...weight.tensor.dims] : [], id });
      return id;
    };
    const inputs = [operand(left, false), operand(right, inverse)];
    this.layers.push({ op, id: out, inputs });
  }

  private resolve(name: string): string {
    const failure = this.failures.get(name);
    if (failure) {
      throw failure;
    }
    return this.aliases.get(name) ?? name;
  }

  private numbersOf(name: string): Numbers | undefined {
    return this.knownOf(name)?.values;
  }

  private knownOf(name: string): Known | undefined {
    const known = this.known.get(name);
    if (known) {
      return known;
    }
    const weight = this.weights.get(name);
    if (!weight || weight.tensor.dims.length > 1 || (weight.tensor.dims[0] ?? 1) > 16) {
      return undefined;
    }
    return { values: [...this.onnx.values(weight.tensor)], shape: weight.tensor.dims };
  }

  private list(name: string, values: Numbers): void {
    this.known.set(name, { values, shape: [values.length] });
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

  private onnxNumber(name: string): number | undefined {
    return this.numbersOf(name)?.[0];
  }

  /** The checkpoint's name of an initializer, or its own when the checkpoint does not hold it. */
  private weight(node: OnnxNode, name: string, rank?: number): { name: string; transposed: boolean; rank: number } {
    const weight = this.weights.get(name);
    const failure = this.failures.get(name);
    if (failure) {
      throw failure;
    }
    if (!weight || (rank !== undefined && weight.tensor.dims.length !== rank)) {
      throw this.unsupported(
        node,
        weight ? `"${name}" of ${weight.tensor.dims.length} axes` : `"${name}", which is computed`,
      );
    }
    const own = weight.tensor.name ?? name;
    const cached = this.names.get(own);
    const found = cached ?? this.inCheckpoint(weight) ?? { name: own, transposed: false };
    this.names.set(own, found);
    if (!this.checkpoint.entries.some((entry) => entry.name === found.name) && !this.own.has(found.name)) {
      this.own.set(found.name, { shape: weight.tensor.dims, data: this.onnx.values(weight.tensor) });
    }
    return { name: found.name, transposed: found.transposed !== weight.transposed, rank: weight.tensor.dims.length };
  }

  private inCheckpoint({ tensor }: Weight): { name: string; transposed: boolean } | undefined {
    const name = tensor.name ?? '';
    const { entries } = this.checkpoint;
    const fits = (shape: readonly number[]): boolean => shape.join() === tensor.dims.join();
    const named = entries.filter(
      (entry) => (entry.name === name || entry.name.endsWith(`.${name}`)) && fits(entry.shape),
    );
    if (named.length === 1) {
      return { name: named[0]!.name, transposed: false };
    }
    // Exporters rename and transpose the weights of products; their values give them away.
    const flipped = [...tensor.dims].reverse().join();
    const candidates = entries.filter(
      ({ shape }) => shape.join() === tensor.dims.join() || (shape.length === 2 && shape.join() === flipped),
    );
    if (candidates.length === 0 || tensor.dims.length === 0) {
      return undefined;
    }
    const values = this.onnx.values(tensor);
    for (const { name: own, shape } of candidates) {
      const stored = this.checkpoint.read(own);
      if (fits(shape) && stored.every((value, at) => value === values[at])) {
        return { name: own, transposed: false };
      }
      const [rows = 0, cols = 0] = shape;
      if (
        shape.length === 2 &&
        stored.every((value, at) => value === values[(at % cols) * rows + Math.floor(at / cols)])
      ) {
        return { name: own, transposed: true };
      }
    }
    return undefined;
  }

  private unsupported(node: OnnxNode, what?: string, index?: number): UnusableInputError {
    const name = node.name ? ` (node "${node.name}")` : index === undefined ? '' : ` (node ${index})`;
    return new UnusableInputError({
      code: 'unsupported-operation',
      file: this.file,
      found: `the operation ${node.opType}${name}${what === undefined ? '' : ` with ${what}`}`,
      expected: 'operations of image classifiers, such as Conv, Gemm, BatchNormalization, Relu, MaxPool',
      advice: 'Describe the network by a recipe instead, or audit with --attack none.',
    });
  }

  private bad(found: string, expected: string, advice: string): UnusableInputError {
    return new UnusableInputError({ code: 'bad-network', file: this.file, found, expected, advice });
  }
}

class Attributes {
  constructor(private readonly node: OnnxNode) {}

  raw(name: string) {
    return this.node.attribute?.find((own) => own.name === name);
  }

  int(name: string, fallback: number): number {
    return this.raw(name)?.i ?? fallback;
  }

  float(name: string, fallback: number): number {
    return this.raw(name)?.f ?? fallback;
  }

  ints(name: string): number[] | undefined {
    const list = this.raw(name)?.ints;
    return list && list.length > 0 ? list : undefined;
  }

  text(name: string): string {
    const bytes = this.raw(name)?.s;
    return bytes ? new TextDecoder().decode(bytes) : '';
  }

  tensor(name: string): OnnxTensor | undefined {
    return this.raw(name)?.t;
  }

  padding(fail: () => Error): Padding {
    const auto = this.text('auto_pad');
    if (auto === 'SAME_UPPER') {
      return 'same';
    }
    if (auto !== '' && auto !== 'NOTSET' && auto !== 'VALID') {
      throw fail();
    }
    const pads = this.ints('pads');
    return pads?.length === 4 ? (pads as [number, number, number, number]) : 0;
  }
}

function pair(list: number[] | undefined): Extent | undefined {
  return list?.length === 2 ? (list as [number, number]) : undefined;
}

/** Rows of a small tensor from `start` to `end`, as ONNX's Slice counts them along the first axis. */
function sliceRows({ values, shape }: Known, start = 0, end = Infinity, step = 1): Known {
  const [rows = 0, ...rest] = shape;
  const width = rest.reduce((product, size) => product * size, 1);
  const bound = (at: number, least: number, most: number): number =>
    Math.min(Math.max(at < 0 ? at + rows : at, least), most);
  const picked: number[] = [];
  if (step > 0) {
    for (let row = bound(start, 0, rows); row < bound(end, 0, rows); row += step) {
      picked.push(row);
    }
  } else {
    for (let row = bound(start, 0, rows - 1); row > (end < -rows ? -1 : bound(end, -1, rows - 1)); row += step) {
      picked.push(row);
    }
  }
  return {
    values: picked.flatMap((row) => values.slice(row * width, (row + 1) * width)),
    shape: [picked.length, ...rest],
  };
}
