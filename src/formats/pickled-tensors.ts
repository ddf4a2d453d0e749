import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, memorySource } from './byte-source.js';
import { type ElementLayout, checkLayout, contiguousStrides } from './elements.js';
import {
  PickleDict,
  PickleGlobal,
  PickleList,
  PickleObject,
  PicklePersistent,
  type PickleValue,
  PickleSet,
  PickleTuple,
} from './pickle-values.js';
import type { LocatedTensor } from './located-file.js';
import { parseNumpyDtype } from './npy.js';
import { type Dtype, type TensorEntry, type TensorRole, dtypeBytes, elementCount } from './tensor-file.js';

/**
 * Finds the tensors in a parsed pickle: what PyTorch's and numpy's rebuild functions would have made,
 * in dicts, lists, modules (`_parameters`, `_buffers`, `_modules`) and attributes of unknown classes.
 */

/** A storage that a pickle refers to; `open` gives its bytes when they are wanted. */
export interface Storage {
  readonly dtype: Dtype | undefined;
  readonly bytes: number;
  readonly littleEndian: boolean;
  readonly open: () => ByteSource;
}

/** Resolves a persistent id; undefined when it is not a storage that the file holds. */
export type StorageResolver = (id: PickleValue) => Storage | undefined;

export interface CollectedTensors {
  readonly tensors: readonly LocatedTensor[];
  readonly notes: readonly string[];
}

const MAX_DEPTH = 200;
const MAX_VISITS = 4_000_000;
const MAX_NOTES = 20;
const MAX_TENSORS = 2 ** 17;
/** Of a key, and of all keys on the way to a tensor. */
const MAX_KEY = 4096;
/** Of all names together: characters. */
const MAX_NAMES = 2 ** 25;

const STORAGE_DTYPES = new Map(
  Object.entries<Dtype>({
    DoubleStorage: 'float64',
    FloatStorage: 'float32',
    HalfStorage: 'float16',
    BFloat16Storage: 'bfloat16',
    LongStorage: 'int64',
    IntStorage: 'int32',
    ShortStorage: 'int16',
    CharStorage: 'int8',
    ByteStorage: 'uint8',
    BoolStorage: 'bool',
    ComplexFloatStorage: 'complex64',
    ComplexDoubleStorage: 'complex128',
  }),
);

const TORCH_DTYPES = new Map(
  Object.entries<Dtype>({
    float64: 'float64',
    double: 'float64',
    float32: 'float32',
    float: 'float32',
    float16: 'float16',
    half: 'float16',
    bfloat16: 'bfloat16',
    float8_e4m3fn: 'float8_e4m3fn',
    float8_e5m2: 'float8_e5m2',
    int64: 'int64',
    int32: 'int32',
    int16: 'int16',
    int8: 'int8',
    uint64: 'uint64',
    uint32: 'uint32',
    uint16: 'uint16',
    uint8: 'uint8',
    bool: 'bool',
    complex64: 'complex64',
    complex128: 'complex128',
  }),
);

/** The element type of a `torch.FloatStorage`-like global; undefined for an untyped or unknown storage. */
export function storageDtype(storageType: PickleValue | undefined): Dtype | undefined {
  return storageType instanceof PickleGlobal ? STORAGE_DTYPES.get(storageType.name) : undefined;
}

/**
 * @throws UnusableInputError (`pickle-limit`) when the object nests too deep or refers to itself without end
 */
export function collectTensors(path: string, root: PickleValue, resolve: StorageResolver): CollectedTensors {
  const collector = new Collector(path, resolve);
  collector.visit(root, { group: '', key: '', positional: false, role: 'unknown' }, 0);
  return { tensors: collector.tensors, notes: collector.notes };
}

interface Place {
  readonly group: string;
  readonly key: string;
  readonly positional: boolean;
  readonly role: TensorRole;
}

class Collector {
  readonly tensors: LocatedTensor[] = [];
  readonly notes: string[] = [];
  /** How many tensors had each name before copies were numbered. */
  private readonly names = new Map<string, number>();
  private characters = 0;
  private readonly onPath = new Set<PickleValue>();
  private visits = 0;

  constructor(
    private readonly path: string,
    private readonly resolve: StorageResolver,
  ) {}

  visit(value: PickleValue, place: Place, depth: number): void {
    if (value === null || typeof value !== 'object' || this.onPath.has(value)) {
      return;
    }
    if (depth > MAX_DEPTH || ++this.visits > MAX_VISITS) {
      throw this.limit(
        depth > MAX_DEPTH ? `objects nested deeper than ${MAX_DEPTH}` : 'objects that refer to one another without end',
        'the nesting of a checkpoint or a gradient dump',
      );
    }
    if (place.key.length + place.group.length > MAX_KEY) {
      throw this.limit(`a name of more than ${MAX_KEY} characters`, 'the names of a checkpoint or a gradient dump');
    }
    this.onPath.add(value);
    this.visitObject(value, place, depth + 1);
    this.onPath.delete(value);
  }

  private visitObject(value: PickleValue, place: Place, depth: number): void {
    if (value instanceof PickleDict) {
      this.visitPairs(value.pairs, childGroup(place), depth, place.role);
    } else if (value instanceof PickleList || value instanceof PickleTuple || value instanceof PickleSet) {
      const group = childGroup(place);
      value.items.forEach((item, index) => {
        this.visit(item, { group, key: String(index), positional: true, role: place.role }, depth);
      });
    } else if (value instanceof PickleObject) {
      this.visitCall(value, place, depth);
    }
  }

  private visitPairs(
    pairs: readonly (readonly [PickleValue, PickleValue])[],
    group: string,
    depth: number,
    role: TensorRole,
  ): void {
    for (const [key, value] of pairs) {
      const text = keyText(key);
      if (text !== undefined) {
        this.visit(value, { group, key: text, positional: false, role }, depth);
      }
    }
  }

  private visitCall(object: PickleObject, place: Place, depth: number): void {
    const name = object.callee instanceof PickleGlobal ? `${object.callee.module}.${object.callee.name}` : '';
    const args = object.args instanceof PickleTuple ? object.args.items : [];
    const rebuild = REBUILDERS[name];
    if (rebuild) {
      try {
        rebuild(this, args, object, place, depth);
      } catch (error) {
        // A tensor that lies about its size must not hide the others; it is named and left out.
        if (!(error instanceof UnusableInputError) || error.code === 'pickle-limit') {
          throw error;
        }
        this.note(`${error.parts.found} is left out (expected ${error.parts.expected}).`);
      }
      return;
    }
    if (name.startsWith('torch._utils._rebuild_') || name === 'torch.jit._pickle.build_tensor_from_id') {
      this.note(`Tensor "${fullName(place)}" is of a kind that is not read (${name}).`);
      return;
    }
    this.visitAttributes(object, args, place, depth);
  }

  /** Containers such as OrderedDict, and instances of classes that we only know by name. */
  private visitAttributes(object: PickleObject, args: readonly PickleValue[], place: Place, depth: number): void {
    const group = childGroup(place);
    this.visitPairs(object.pairs, group, depth, place.role);
    if (
      object.callee instanceof PickleGlobal &&
      object.callee.name === 'OrderedDict' &&
      args[0] instanceof PickleList
    ) {
      // Protocol 0 and 1 pass the items as a list of two-item lists.
      const pairs = args[0].items.flatMap((item): [PickleValue, PickleValue][] =>
        item instanceof PickleList || item instanceof PickleTuple
          ? [[item.items[0] ?? null, item.items[1] ?? null]]
          : [],
      );
      this.visitPairs(pairs, group, depth, place.role);
    }
    const items = new PickleTuple(object.items);
    this.visitObject(items, place, depth);
    const state = object.state instanceof PickleTuple ? object.state.items : [object.state ?? null];
    for (const part of state) {
      if (part instanceof PickleDict) {
        this.visitState(part, group, depth);
      }
    }
  }

  private visitState(state: PickleDict, group: string, depth: number): void {
    for (const [key, value] of state.pairs) {
      const text = keyText(key);
      if (text === undefined) {
        continue;
      }
      if (text === '_parameters' || text === '_buffers' || text === '_modules') {
        const role = text === '_parameters' ? 'parameter' : text === '_buffers' ? 'buffer' : 'unknown';
        this.visitPairs(pairsOf(value), group, depth, role);
      } else if (!MODULE_INTERNALS.has(text)) {
        this.visit(value, { group, key: text, positional: false, role: 'unknown' }, depth);
      }
    }
  }

  addTorchTensor(storageRef: PickleValue, geometry: Geometry, place: Place, dtype?: Dtype): void {
    const storage = storageRef instanceof PicklePersistent ? this.resolve(storageRef.id) : undefined;
    const elementType = dtype ?? storage?.dtype;
    if (!storage || !elementType) {
      this.note(`Tensor "${fullName(place)}" refers to data that the file does not hold.`);
      return;
    }
    const { shape, strides, offset } = geometry;
    const { littleEndian, bytes, open } = storage;
    this.add(place, { dtype: elementType, shape, strides, offset, littleEndian }, bytes, open);
  }

  add(place: Place, layout: ElementLayout, bytes: number, open: () => ByteSource): void {
    const name = this.uniqueName(fullName(place));
    checkLayout(this.path, name, layout, bytes);
    const entry: TensorEntry = {
      name,
      group: place.group,
      key: place.key,
      positional: place.positional,
      role: place.role,
      shape: layout.shape,
      dtype: layout.dtype,
      bytes: elementCount(layout.shape) * dtypeBytes(layout.dtype),
    };
    if (this.tensors.length === MAX_TENSORS) {
      throw this.limit(`more than ${MAX_TENSORS} tensors`, 'as many as a checkpoint has');
    }
    this.tensors.push({ entry, layout, open });
  }

  addNumpyArray(object: PickleObject, place: Place): void {
    const state = object.state instanceof PickleTuple ? object.state.items : [];
    const [, shape, dtype, fortran, data] = state;
    const sizes = integers(shape);
    const type = numpyDtypeOf(dtype);
    const bytes = bytesOf(data);
    if (!sizes || !type || !bytes) {
      this.note(`numpy array "${fullName(place)}" is of a kind that is not read.`);
      return;
    }
    const strides = fortran === true ? contiguousStrides([...sizes].reverse()).reverse() : contiguousStrides(sizes);
    this.add(place, { ...type, shape: sizes, strides, offset: 0 }, bytes.length, () => memorySource(this.path, bytes));
  }

  note(text: string): void {
    if (this.notes.length < MAX_NOTES) {
      this.notes.push(text);
    }
  }

  private uniqueName(name: string): string {
    const copies = this.names.get(name);
    let unique = name;
    if (copies === undefined) {
      this.names.set(name, 0);
    } else {
      let copy = copies;
      while (this.names.has(unique)) {
        copy++;
        unique = `${name} (${copy + 1})`;
      }
      this.names.set(name, copy);
      this.names.set(unique, 0);
    }
    this.characters += unique.length;
    if (this.characters > MAX_NAMES) {
      throw this.limit(`names of more than ${MAX_NAMES} characters`, 'the names of a checkpoint or a gradient dump');
    }
    return unique;
  }

  private limit(found: string, expected: string): UnusableInputError {
    return new UnusableInputError({
      code: 'pickle-limit',
      file: this.path,
      found,
      expected,
      advice: 'No real checkpoint needs this: the file is damaged or hostile, do not load it anywhere.',
    });
  }
}

/** Attributes that every nn.Module has and that hold no parameters. */
const MODULE_INTERNALS = new Set([
  '_non_persistent_buffers_set',
  '_backward_hooks',
  '_backward_pre_hooks',
  '_forward_hooks',
  '_forward_pre_hooks',
  '_state_dict_hooks',
  '_load_state_dict_pre_hooks',
  '_load_state_dict_post_hooks',
]);

interface Geometry {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

type Rebuilder = (
  collector: Collector,
  args: readonly PickleValue[],
  object: PickleObject,
  place: Place,
  depth: number,
) => void;

const rebuildTensor: Rebuilder = (collector, args, _object, place) => {
  const geometry = geometryOf(args);
  if (geometry) {
    collector.addTorchTensor(args[0] ?? null, geometry, place);
  } else {
    collector.note(`Tensor "${fullName(place)}" has no readable shape.`);
  }
};

/** `_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)`: untyped storage, explicit dtype. */
const rebuildTypedTensor: Rebuilder = (collector, args, object, place, depth) => {
  const geometry = geometryOf(args);
  const dtype = args[6] instanceof PickleGlobal ? TORCH_DTYPES.get(args[6].name) : undefined;
  if (geometry && dtype) {
    collector.addTorchTensor(args[0] ?? null, geometry, place, dtype);
  } else {
    rebuildTensor(collector, args, object, place, depth);
  }
};

const rebuildParameter: Rebuilder = (collector, args, _object, place, depth) => {
  collector.visit(args[0] ?? null, { ...place, role: 'parameter' }, depth);
};

/** `_rebuild_from_type_v2(function, type, args, state)`: a tensor subclass around an ordinary rebuild. */
const rebuildFromType: Rebuilder = (collector, args, _object, place, depth) => {
  collector.visit(new PickleObject(args[0] ?? null, args[2] ?? null), place, depth);
};

const rebuildNumpy: Rebuilder = (collector, _args, object, place) => {
  collector.addNumpyArray(object, place);
};

/** `_rebuild_device_tensor_from_numpy(array, dtype, device, requires_grad)`. */
const rebuildFromNumpy: Rebuilder = (collector, args, _object, place, depth) => {
  collector.visit(args[0] ?? null, place, depth);
};

const REBUILDERS: Record<string, Rebuilder> = {
  'torch._utils._rebuild_tensor': rebuildTensor,
  'torch._utils._rebuild_tensor_v2': rebuildTensor,
  'torch._utils._rebuild_tensor_v3': rebuildTypedTensor,
  'torch._utils._rebuild_parameter': rebuildParameter,
  'torch._utils._rebuild_parameter_with_state': rebuildParameter,
  'torch._utils._rebuild_device_tensor_from_numpy': rebuildFromNumpy,
  'torch._utils._rebuild_device_tensor_from_cpu_tensor': rebuildFromNumpy,
  'torch.nn.parameter.Parameter': rebuildParameter,
  'torch._tensor._rebuild_from_type_v2': rebuildFromType,
  'torch._tensor._rebuild_from_type': rebuildFromType,
  'numpy.core.multiarray._reconstruct': rebuildNumpy,
  'numpy._core.multiarray._reconstruct': rebuildNumpy,
};

function geometryOf(args: readonly PickleValue[]): Geometry | undefined {
  const offset = args[1];
  const shape = integers(args[2]);
  const strides = integers(args[3]);
  return typeof offset === 'number' && shape && strides ? { offset, shape, strides } : undefined;
}

function integers(value: PickleValue | undefined): number[] | undefined {
  const list =
    value instanceof PickleObject && value.args instanceof PickleTuple ? value.args.items[0] : (value ?? null);
  if (!(list instanceof PickleTuple || list instanceof PickleList)) {
    return undefined;
  }
  const numbers: number[] = [];
  for (const item of list.items) {
    if (typeof item !== 'number') {
      return undefined;
    }
    numbers.push(item);
  }
  return numbers;
}

function numpyDtypeOf(value: PickleValue | undefined): { dtype: Dtype; littleEndian: boolean } | undefined {
  if (!(value instanceof PickleObject) || !(value.args instanceof PickleTuple)) {
    return undefined;
  }
  const code = value.args.items[0];
  const order = value.state instanceof PickleTuple ? value.state.items[1] : '<';
  return typeof code === 'string' ? parseNumpyDtype(`${order === '>' ? '>' : '<'}${code}`) : undefined;
}

/** Raw bytes, or the `_codecs.encode(text, 'latin1')` by which protocol 2 carries them. */
function bytesOf(value: PickleValue | undefined): Uint8Array | undefined {
  if (value instanceof Uint8Array) {
    return value;
  }
  if (value instanceof PickleObject && value.args instanceof PickleTuple && typeof value.args.items[0] === 'string') {
    return Uint8Array.from(value.args.items[0], (character) => character.charCodeAt(0));
  }
  return undefined;
}

function pairsOf(value: PickleValue): readonly (readonly [PickleValue, PickleValue])[] {
  return value instanceof PickleDict || value instanceof PickleObject ? value.pairs : [];
}

function keyText(key: PickleValue): string | undefined {
  return typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint' ? String(key) : undefined;
}

function fullName(place: Place): string {
  return childGroup(place) || 'tensor';
}

/** Modules join their parent's group so that names read as in a state dict: `layer1.0.conv1.weight`. */
function childGroup({ group, key }: Place): string {
  return group === '' || key === '' ? group || key : `${group}.${key}`;
}
