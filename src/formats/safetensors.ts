import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { type ByteSource, malformed, windowSource } from './byte-source.js';
import { checkLayout, contiguousStrides } from './elements.js';
import { parseJson } from './json-file.js';
import { type LocatedTensor, locatedFile } from './located-file.js';
import { type Dtype, type TensorFile, dtypeBytes, elementCount } from './tensor-file.js';

/** The safetensors format: 8-byte header length, JSON header, raw little-endian data. */

/** The bound of the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
/** The largest language models have less than a hundred thousand. */
const MAX_TENSORS = 2 ** 17;
/** A tensor is an object with two lists and three names, under its own; metadata are some names more. */
const HEADER_BOUNDS = { lists: 3 * MAX_TENSORS + 2, members: 4 * MAX_TENSORS + 2 ** 16 };

const DTYPES = new Map(
  Object.entries<Dtype>({
    F64: 'float64',
    F32: 'float32',
    F16: 'float16',
    BF16: 'bfloat16',
    F8_E4M3: 'float8_e4m3fn',
    F8_E5M2: 'float8_e5m2',
    I64: 'int64',
    I32: 'int32',
    I16: 'int16',
    I8: 'int8',
    U64: 'uint64',
    U32: 'uint32',
    U16: 'uint16',
    U8: 'uint8',
    BOOL: 'bool',
    C64: 'complex64',
  }),
);

/** True when the file begins with a plausible header length followed by a JSON object. */
export function looksLikeSafetensors(source: ByteSource): boolean {
  if (source.size < 10) {
    return false;
  }
  const head = source.read(0, 9);
  return new DataView(head.buffer).getUint32(4, true) === 0 && head[8] === 0x7b;
}

/** Opens one safetensors file; only its header is read. */
export function openSafetensors(source: ByteSource): TensorFile {
  const length = Number(new DataView(source.read(0, 8).buffer).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES || 8 + length > source.size) {
    throw new UnusableInputError({
      code: 'size-lie',
      file: source.path,
      found: `a header of ${length} bytes`,
      expected: `at most ${Math.min(MAX_HEADER_BYTES, source.size - 8)} bytes`,
      advice: 'The file is cut short or forged: copy or save it again.',
    });
  }
  const header = parseJsonObject(source.path, source.read(8, length));
  const dataSize = source.size - 8 - length;
  const described = Object.entries(header).filter(([name]) => name !== '__metadata__');
  if (described.length > MAX_TENSORS) {
    throw malformed(source.path, `${described.length} tensors`, `at most ${MAX_TENSORS}`);
  }
  const tensors = described.map(([name, description]) => locate(source, name, description, 8 + length, dataSize));
  // The header's JSON is sorted by whoever wrote it; the data's order is the order of saving.
  tensors.sort((one, other) => one.dataStart - other.dataStart);
  return locatedFile(source, 'safetensors', tensors);
}

function locate(
  source: ByteSource,
  name: string,
  description: unknown,
  dataOffset: number,
  dataSize: number,
): LocatedTensor & { dataStart: number } {
  const { dtype: dtypeName, shape, data_offsets: offsets } = asRecord(description) ?? {};
  const dtype = typeof dtypeName === 'string' ? DTYPES.get(dtypeName) : undefined;
  if (!dtype || !isNumbers(shape) || !isNumbers(offsets)) {
    throw malformed(
      source.path,
      `tensor "${name}" described by ${JSON.stringify(description).slice(0, 120)}`,
      'dtype, shape and data_offsets',
    );
  }
  const [start = 0, end = 0] = offsets;
  const layout = { dtype, shape, strides: contiguousStrides(shape), offset: 0, littleEndian: true };
  const bytes = elementCount(shape) * dtypeBytes(dtype);
  if (!(start >= 0 && start <= end && end <= dataSize) || end - start !== bytes) {
    throw new UnusableInputError({
      code: 'size-lie',
      file: source.path,
      found: `tensor "${name}" of ${bytes} bytes at ${start} to ${end}`,
      expected: `offsets inside the file's ${dataSize} bytes of data that fit its shape`,
      advice: 'The file is cut short or forged: copy or save it again.',
    });
  }
  checkLayout(source.path, name, layout, bytes);
  return {
    entry: { name, group: '', key: name, positional: false, role: 'unknown', shape, dtype, bytes },
    layout,
    open: () => windowSource(source, dataOffset + start, end - start),
    dataStart: start,
  };
}

function parseJsonObject(path: string, bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), HEADER_BOUNDS);
  } catch (error) {
    throw malformed(path, `a header that cannot be read (${messageOf(error)})`, 'a JSON object');
  }
  return asRecord(value) ?? failJson(path);
}

function failJson(path: string): never {
  throw malformed(path, 'a header that is not a JSON object', 'a JSON object');
}

function asRecord(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && Number(item) >= 0);
}
