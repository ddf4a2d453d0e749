import { UnusableInputError } from '../protocol/errors.js';
import type { ByteSource } from './byte-source.js';
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

/**
 * Reads elements in row-major order as float64; only the bytes between the first and the last of them are read.
 *
 * @param range row-major element range; the whole tensor when left out
 * @throws UnusableInputError when the range is too large or outside, or the dtype has no real values
 */
export function readElements(
  source: ByteSource,
  name: string,
  layout: ElementLayout,
  range: ElementRange = { start: 0, end: elementCount(layout.shape) },
): Float64Array {
  const { dtype, shape, strides, offset } = layout;
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
  const out = new Float64Array(count);
  if (count === 0) {
    return out;
  }
  const decode = decoderOf(dtype, layout.littleEndian, source.path, name);
  const width = dtypeBytes(dtype);
  if (isContiguous(shape, strides)) {
    // Pages keep the raw bytes of a large tensor from standing in memory beside its float64 copy.
    const page = Math.max(1, Math.floor((4 * 2 ** 20) / width));
    for (let done = 0; done < count; done += page) {
      const length = Math.min(page, count - done);
      decode(source.read((offset + range.start + done) * width, length * width), out.subarray(done, done + length));
    }
    return out;
  }
  const [lowest, highest] = spanOf(source.path, name, layout, range);
  const raw = new Float64Array(highest - lowest + 1);
  decode(source.read(lowest * width, raw.length * width), raw);
  visitOffsets(layout, range, (at, index) => {
    out[index] = raw[at - lowest] ?? NaN;
  });
  return out;
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  const expected = contiguousStrides(shape);
  return shape.every((size, axis) => size <= 1 || strides[axis] === expected[axis]);
}

function visitOffsets(layout: ElementLayout, range: ElementRange, visit: (at: number, index: number) => void): void {
  const { shape, strides } = layout;
  const position = new Array<number>(shape.length).fill(0);
  let rest = range.start;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] ?? 1;
    position[axis] = rest % size;
    rest = Math.floor(rest / size);
  }
  let at = position.reduce((sum, index, axis) => sum + index * (strides[axis] ?? 0), layout.offset);
  for (let index = 0; index < range.end - range.start; index++) {
    visit(at, index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const stride = strides[axis] ?? 0;
      const next = (position[axis] ?? 0) + 1;
      if (next < (shape[axis] ?? 1)) {
        position[axis] = next;
        at += stride;
        break;
      }
      at -= (next - 1) * stride;
      position[axis] = 0;
    }
  }
}

function spanOf(path: string, name: string, layout: ElementLayout, range: ElementRange): [number, number] {
  let lowest = Infinity;
  let highest = -Infinity;
  visitOffsets(layout, range, (at) => {
    lowest = Math.min(lowest, at);
    highest = Math.max(highest, at);
  });
  if (highest - lowest >= MAX_READ_ELEMENTS) {
    // A hostile stride can spread few elements over a huge storage; reading them one by one is never needed.
    throw lie(path, name, `elements spread over ${highest - lowest} others by its strides`, 'strides of a view');
  }
  return [lowest, highest];
}

type Decoder = (bytes: Uint8Array<ArrayBuffer>, out: Float64Array) => void;

function decoderOf(dtype: Dtype, littleEndian: boolean, path: string, name: string): Decoder {
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
  if (littleEndian && dtype === 'float32') {
    return (bytes, out) => out.set(new Float32Array(bytes.buffer, bytes.byteOffset, out.length));
  }
  if (littleEndian && dtype === 'float64') {
    return (bytes, out) => out.set(new Float64Array(bytes.buffer, bytes.byteOffset, out.length));
  }
  const width = dtypeBytes(dtype);
  return (bytes, out) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let index = 0; index < out.length; index++) {
      out[index] = get(view, index * width, littleEndian);
    }
  };
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
