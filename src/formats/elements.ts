import { UnusableInputError } from '../protocol/errors.js';
import type { ByteSource } from './byte-source.js';
import { requireMemory, takeNumbers } from './memory.js';
import { type Dtype, type ElementRange, MAX_READ_ELEMENTS, dtypeBytes, elementCount } from './tensor-file.js';

/** Where a tensor's elements lie: `offset + sum(index * stride)` elements into `bytes`. */
export interface ElementLayout {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** In elements, never negative. */
  readonly strides: readonly number[];
  readonly offset: number;
  readonly littleEndian: boolean;
}

/** Row-major strides in elements. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] ?? 1) * Math.max(shape[axis + 1] ?? 1, 1);
  }
  return strides;
}

/** Strides of zero repeat elements: gradients of sums have some, but not of this size... */
const MOST_REPEATED = 2 ** 22;
/** ...or more often than this. */
const MOST_REPETITIONS = 16;

/** True for a tensor that shows few stored elements so often that its size is no longer bounded by the file's. */
export function repeatsTooOften({ shape, strides }: ElementLayout): boolean {
  const total = elementCount(shape);
  if (total <= MOST_REPEATED) {
    return false;
  }
  const stored = shape.reduce((sum, size, axis) => sum + (size - 1) * (strides[axis] ?? 0), 1);
  return total > MOST_REPETITIONS * stored;
}

/**
 * Checks that every element lies inside `bytes` bytes.
 *
 * @throws UnusableInputError naming the tensor when it reaches outside or its numbers make no sense
 */
export function checkLayout(path: string, name: string, layout: ElementLayout, bytes: number): void {
  const { shape, strides, offset, dtype } = layout;
  const sane =
    shape.length === strides.length &&
    shape.length <= 64 &&
    shape.every(isCount) &&
    strides.every(isCount) &&
    isCount(offset);
  if (!sane || !Number.isSafeInteger(elementCount(shape) * dtypeBytes(dtype))) {
    throw lie(
      path,
      name,
      `shape [${shape.join(', ')}] with strides [${strides.join(', ')}]`,
      'whole numbers from 0 up',
    );
  }
  if (elementCount(shape) === 0) {
    return;
  }
  const last = shape.reduce((sum, size, axis) => sum + (size - 1) * (strides[axis] ?? 0), offset);
  const needed = (last + 1) * dtypeBytes(dtype);
  if (needed > bytes) {
    throw lie(
      path,
      name,
      `${dtype} elements of shape [${shape.join(', ')}] that need ${needed} bytes`,
      `at most ${bytes} bytes, which is what the file holds for it`,
    );
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Bytes that are read at once; raw numbers of no more than this stand in memory beside what they are widened to. */
const PAGE_BYTES = 4 * 2 ** 20;

/**
 * Reads elements in row-major order as float64; only the bytes between the first and the last of them are read, page by page.
 *
 * @param range row-major element range; the whole tensor when left out
 * @throws UnusableInputError when the range is too large for the reader or for the memory, or the dtype has no real values
 */
export function readElements(
  source: ByteSource,
  name: string,
  layout: ElementLayout,
  range: ElementRange = { start: 0, end: elementCount(layout.shape) },
): Float64Array {
  const { dtype, shape, offset } = layout;
  checkLayout(source.path, name, layout, source.size);
  const total = elementCount(shape);
  const count = range.end - range.start;
  if (!(range.start >= 0 && count >= 0 && range.end <= total)) {
    throw new RangeError(`Elements ${range.start} to ${range.end} of tensor "${name}", which has ${total}.`);
  }
  const isRepeated = repeatsTooOften(layout);
  const most = isRepeated ? MOST_REPEATED : MAX_READ_ELEMENTS;
  if (count > most) {
    throw new UnusableInputError({
      code: 'tensor-too-large',
      file: source.path,
      found: `${count} elements of tensor "${name}" to be read at once${isRepeated ? `, which repeat the ${source.size} bytes that the file holds for them` : ''}`,
      expected: `at most ${most}`,
      advice: 'Name a smaller layer as the head.',
    });
  }
  const { path } = source;
  const what = `tensor "${name}" of ${count} numbers in float64`;
  // Who computes with them needs about as much again.
  requireMemory({ bytes: 2 * 8 * count, file: path, what: `${what} and as much to compute with,` });
  const out = takeNumbers(count, { file: path, what });
  if (count === 0) {
    return out;
  }
  if (isContiguous(layout)) {
    widenRun(source, offset + range.start, decoderOf(layout, path, name), dtypeBytes(dtype), out);
    return out;
  }
  const get = getterOf(dtype, path, name);
  let done = 0;
  for (const box of boxesOf(layout, range)) {
    gather(source, name, box, layout, get, out, done);
    done += elementCount(box.shape);
  }
  return out;
}

/** Elements that follow each other in the file. */
function widenRun(source: ByteSource, first: number, decode: Decoder, width: number, out: Float64Array): void {
  const page = PAGE_BYTES / width;
  const bytes = new Uint8Array(Math.min(page, out.length) * width);
  for (let done = 0; done < out.length; done += page) {
    const into = out.subarray(done, done + page);
    const own = bytes.subarray(0, into.length * width);
    source.readInto((first + done) * width, own);
    decode(own, into);
  }
}

/** Whether elements that follow each other do so in the file too. */
export function isContiguous({ shape, strides }: Pick<ElementLayout, 'shape' | 'strides'>): boolean {
  const expected = contiguousStrides(shape);
  return shape.every((size, axis) => size <= 1 || strides[axis] === expected[axis]);
}

/** A part of a layout that has all combinations of its indices. */
type Box = Pick<ElementLayout, 'shape' | 'strides' | 'offset'>;

/** A row-major range as at most two boxes for each axis and one more, in the range's order. */
function boxesOf({ shape, strides, offset }: Box, { start, end }: ElementRange): Box[] {
  const [size = 1, ...rest] = shape;
  const [stride = 0, ...inner] = strides;
  const rows = elementCount(rest);
  if (end <= start) {
    return [];
  }
  if (start === 0 && end === size * rows) {
    return [{ shape, strides, offset }];
  }
  const inRow = (row: number, from: number, to: number): Box[] =>
    boxesOf({ shape: rest, strides: inner, offset: offset + row * stride }, { start: from, end: to });
  const [first, last] = [Math.floor(start / rows), Math.floor(end / rows)];
  if (first === last) {
    return inRow(first, start - first * rows, end - first * rows);
  }
  const whole = Math.ceil(start / rows);
  return [
    ...(whole > first ? inRow(first, start - first * rows, rows) : []),
    ...(last > whole ? [{ shape: [last - whole, ...rest], strides, offset: offset + whole * stride }] : []),
    ...inRow(last, 0, end - last * rows),
  ];
}

interface Axis {
  readonly size: number;
  /** In elements of the file. */
  readonly stride: number;
  /** In elements of what is read. */
  readonly step: number;
}

/**
 * Elements of a view, such as a transposed matrix, visited in the order of the file, so that a page of it is enough at a time.
 *
 * @param out row-major; the box's own elements begin at `start`
 */
function gather(
  source: ByteSource,
  name: string,
  box: Box,
  { dtype, littleEndian }: Pick<ElementLayout, 'dtype' | 'littleEndian'>,
  get: Getter,
  out: Float64Array,
  start: number,
): void {
  const steps = contiguousStrides(box.shape);
  const axes = box.shape
    .map((size, axis): Axis => ({ size, stride: box.strides[axis] ?? 0, step: steps[axis] ?? 0 }))
    .filter(({ size }) => size > 1)
    .sort((one, other) => other.stride - one.stride);
  const reachOf = (some: readonly Axis[]): number =>
    some.reduce((sum, { size, stride }) => sum + (size - 1) * stride, 0);
  const span = reachOf(axes) + 1;
  if (span > MAX_READ_ELEMENTS) {
    // A hostile stride can spread few elements over a huge storage; reading them one by one is never needed.
    throw lie(source.path, name, `elements spread over ${span} others by its strides`, 'strides of a view');
  }
  const width = dtypeBytes(dtype);
  // Where axes overlap, the file is gone back in, and what was read before is needed again.
  const isAscending = axes.every(({ stride }, at) => stride >= reachOf(axes.slice(at + 1)));
  const page = isAscending ? Math.min(PAGE_BYTES / width, span) : span;
  requireMemory({ bytes: page * width, file: source.path, what: `tensor "${name}" whose rows overlap,` });
  const bytes = new Uint8Array(page * width);
  const view = new DataView(bytes.buffer);
  let [from, to] = [0, 0];
  const valueAt = (at: number): number => {
    if (at < from || at >= to) {
      from = at;
      to = Math.min(at + page, box.offset + span);
      source.readInto(from * width, bytes.subarray(0, (to - from) * width));
    }
    return get(view, (at - from) * width, littleEndian);
  };
  const visit = (axis: number, at: number, index: number): void => {
    const own = axes[axis];
    if (!own) {
      out[index] = valueAt(at);
      return;
    }
    const isLast = axis === axes.length - 1;
    for (let step = 0; step < own.size; step++) {
      const [nextAt, next] = [at + step * own.stride, index + step * own.step];
      if (isLast) {
        out[next] = valueAt(nextAt);
      } else {
        visit(axis + 1, nextAt, next);
      }
    }
  };
  visit(0, box.offset, start);
}

type Decoder = (bytes: Uint8Array<ArrayBuffer>, out: Float64Array) => void;

function decoderOf({ dtype, littleEndian }: ElementLayout, path: string, name: string): Decoder {
  const get = getterOf(dtype, path, name);
  if (littleEndian && dtype === 'float32') {
    return (bytes, out) => out.set(new Float32Array(bytes.buffer, bytes.byteOffset, out.length));
  }
  if (littleEndian && dtype === 'float64') {
    return (bytes, out) => out.set(new Float64Array(bytes.buffer, bytes.byteOffset, out.length));
  }
  if (dtype === 'float16' || dtype === 'bfloat16') {
    const values = valuesOfCodes(dtype);
    const [low, high] = littleEndian ? [0, 1] : [1, 0];
    return (bytes, out) => {
      for (let index = 0; index < out.length; index++) {
        const at = 2 * index;
        out[index] = values[((bytes[at + high] ?? 0) << 8) | (bytes[at + low] ?? 0)] ?? NaN;
      }
    };
  }
  const width = dtypeBytes(dtype);
  return (bytes, out) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let index = 0; index < out.length; index++) {
      out[index] = get(view, index * width, littleEndian);
    }
  };
}

function getterOf(dtype: Dtype, path: string, name: string): Getter {
  const get = ELEMENT_GETTERS[dtype];
  if (!get) {
    throw new UnusableInputError({
      code: 'unsupported-tensor',
      file: path,
      found: `tensor "${name}" of type ${dtype}`,
      expected: 'real numbers',
      advice: 'Save its real part, or name another layer as the head.',
    });
  }
  return get;
}

const tables = new Map<Dtype, Float64Array>();

/** The number of each of the 65,536 codes of a type of 16 bits: computed once, and looked up for each element. */
function valuesOfCodes(dtype: 'float16' | 'bfloat16'): Float64Array {
  const known = tables.get(dtype);
  if (known) {
    return known;
  }
  const [exponentBits, mantissaBits] = dtype === 'float16' ? [5, 10] : [8, 7];
  const values = Float64Array.from({ length: 2 ** 16 }, (_, code) => smallFloat(code, exponentBits, mantissaBits));
  tables.set(dtype, values);
  return values;
}

type Getter = (view: DataView, at: number, littleEndian: boolean) => number;

const ELEMENT_GETTERS: Partial<Record<Dtype, Getter>> = {
  float64: (view, at, little) => view.getFloat64(at, little),
  float32: (view, at, little) => view.getFloat32(at, little),
  float16: (view, at, little) => smallFloat(view.getUint16(at, little), 5, 10),
  bfloat16: (view, at, little) => smallFloat(view.getUint16(at, little), 8, 7),
  float8_e5m2: (view, at) => smallFloat(view.getUint8(at), 5, 2),
  float8_e4m3fn: (view, at) => float8e4m3fn(view.getUint8(at)),
  int64: (view, at, little) => Number(view.getBigInt64(at, little)),
  int32: (view, at, little) => view.getInt32(at, little),
  int16: (view, at, little) => view.getInt16(at, little),
  int8: (view, at) => view.getInt8(at),
  uint64: (view, at, little) => Number(view.getBigUint64(at, little)),
  uint32: (view, at, little) => view.getUint32(at, little),
  uint16: (view, at, little) => view.getUint16(at, little),
  uint8: (view, at) => view.getUint8(at),
  bool: (view, at) => (view.getUint8(at) === 0 ? 0 : 1),
};

/** A binary float with the given widths, as IEEE 754 defines half precision. */
function smallFloat(bits: number, exponentBits: number, mantissaBits: number): number {
  const top = 2 ** exponentBits - 1;
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >> (exponentBits + mantissaBits) ? -1 : 1;
  const exponent = (bits >> mantissaBits) & top;
  const fraction = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  if (exponent === top) {
    return fraction === 0 ? sign * Infinity : NaN;
  }
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

/** The OCP 8-bit float without infinities: only the largest code is NaN, so its top exponent holds numbers. */
function float8e4m3fn(bits: number): number {
  if ((bits & 0x7f) === 0x7f) {
    return NaN;
  }
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >> 3) & 15;
  const fraction = (bits & 7) / 8;
  return sign * (exponent === 0 ? fraction * 2 ** -6 : (1 + fraction) * 2 ** (exponent - 7));
}

function lie(path: string, name: string, found: string, expected: string): UnusableInputError {
  return new UnusableInputError({
    code: 'size-lie',
    file: path,
    found: `tensor "${name}": ${found}`,
    expected,
    advice: 'The file is cut short or forged: copy or save it again.',
  });
}
