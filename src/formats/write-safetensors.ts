import { type Dtype, dtypeBytes } from './tensor-file.js';

/** Tensors as a safetensors file (https://huggingface.co/docs/safetensors). */

export interface WrittenTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Types without a writer are stored as float32, or as int64 where they are whole numbers. */
  readonly dtype: Dtype;
  /** Row-major; rounded to the type. */
  readonly data: Float64Array;
}

type StoredType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64';

/** The whole file. */
export function encodeSafetensors(tensors: readonly WrittenTensor[]): Uint8Array {
  const header: Record<string, unknown> = {};
  let offset = 0;
  const stored = tensors.map(({ name, shape, dtype, data }) => {
    const type = storedType(dtype);
    const bytes = data.length * widthOf(type);
    header[name] = { dtype: type, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
    return { type, data };
  });
  const json = new TextEncoder().encode(JSON.stringify(header));
  const start = 8 * Math.ceil((8 + json.length) / 8);
  const bytes = new Uint8Array(start + offset).fill(0x20, 8, start);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(start - 8), true);
  bytes.set(json, 8);
  let at = start;
  for (const { type, data } of stored) {
    for (const value of data) {
      at += write(view, at, type, value);
    }
  }
  return bytes;
}

function storedType(dtype: Dtype): StoredType {
  switch (dtype) {
    case 'float64':
      return 'F64';
    case 'float16':
      return 'F16';
    case 'bfloat16':
      return 'BF16';
    case 'int64':
    case 'int32':
    case 'int16':
    case 'int8':
    case 'uint64':
    case 'uint32':
    case 'uint16':
    case 'uint8':
    case 'bool':
      return 'I64';
    case 'float32':
    case 'float8_e4m3fn':
    case 'float8_e5m2':
    case 'complex64':
    case 'complex128':
      return 'F32';
  }
}

function widthOf(type: StoredType): number {
  return type === 'F64' || type === 'I64' ? 8 : type === 'F32' ? dtypeBytes('float32') : 2;
}

function write(view: DataView, at: number, type: StoredType, value: number): number {
  switch (type) {
    case 'F64':
      view.setFloat64(at, value, true);
      break;
    case 'F32':
      view.setFloat32(at, value, true);
      break;
    case 'I64':
      view.setBigInt64(at, BigInt(Math.round(value) || 0), true);
      break;
    case 'BF16':
      view.setUint16(at, bfloat16Bits(value), true);
      break;
    case 'F16':
      view.setUint16(at, float16Bits(value), true);
      break;
  }
  return widthOf(type);
}

const SCRATCH = new DataView(new ArrayBuffer(4));

/** Nearest, ties to even. */
function bfloat16Bits(value: number): number {
  SCRATCH.setFloat32(0, value);
  const bits = SCRATCH.getUint32(0);
  return Number.isNaN(value) ? 0x7fc0 : ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** Nearest, ties to even, from IEEE 754: 5 bits of exponent, 10 of fraction. */
function float16Bits(value: number): number {
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) {
    return 0x7e00;
  }
  if (size >= 65520) {
    return sign | 0x7c00;
  }
  const exponent = size === 0 ? -14 : Math.max(Math.floor(Math.log2(size)), -14);
  const steps = size / 2 ** (exponent - 10);
  const floor = Math.floor(steps);
  const rest = steps - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  // A fraction that overflows carries into the exponent, which is what the next number is.
  return sign | (rounded < 1024 ? rounded : rounded - 1024 + ((exponent + 15) << 10));
}
