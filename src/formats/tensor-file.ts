/** The one interface that every reader of a tensor file implements; nothing here knows of attacks. */

export type Dtype =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'float8_e4m3fn'
  | 'float8_e5m2'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'bool'
  | 'complex64'
  | 'complex128';

export type FormatName =
  | 'torch-zip'
  | 'torch-legacy'
  | 'torch-sharded'
  | 'torchscript'
  | 'pickle'
  | 'safetensors'
  | 'safetensors-sharded'
  | 'npz'
  | 'npy';

/** How sure the file itself is that a tensor is trained; buffers are not differentiated. */
export type TensorRole = 'parameter' | 'buffer' | 'unknown';

export interface TensorEntry {
  /** Full path inside the file, unique in it: `state_dict.fc.weight`. */
  readonly name: string;
  /** Path of the dict, list or module tree that the tensor was found in: `state_dict`. */
  readonly group: string;
  /** Name within the group: `fc.weight`; a position such as `3` when the group is a list. */
  readonly key: string;
  /** True when the group is a list or tuple, so the key is only a position. */
  readonly positional: boolean;
  readonly role: TensorRole;
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  /** Bytes of the tensor's own elements (not of a shared storage behind it). */
  readonly bytes: number;
  /** Set where so few stored elements are repeated so often that only a part can be read. */
  readonly isRepeated?: true;
  /** Set where elements that follow each other are apart in the file, as in a transposed matrix: each read goes through all of it. */
  readonly isScattered?: true;
}

/** A name that a pickle would import when loaded by Python. Never imported or run here. */
export interface ForeignGlobal {
  readonly module: string;
  readonly name: string;
  /** True when the pickle also calls it, so loading would run it. */
  readonly called: boolean;
  /** `dangerous`: runs commands or code; `unknown`: a function we do not know; `class`: rebuilt as an inert stub. */
  readonly risk: 'dangerous' | 'unknown' | 'class';
}

export interface Tensor {
  readonly shape: readonly number[];
  readonly dtype: Dtype;
  /** Row-major. Integers beyond 2^53 lose their last digits. */
  readonly data: Float64Array;
}

export interface ElementRange {
  /** First element, counted row-major. */
  readonly start: number;
  /** One past the last element. */
  readonly end: number;
}

export interface TensorFile {
  readonly path: string;
  readonly format: FormatName;
  readonly entries: readonly TensorEntry[];
  readonly foreignGlobals: readonly ForeignGlobal[];
  /** What could not be listed and why, one sentence each. */
  readonly notes: readonly string[];
  /**
   * Reads one tensor, or a row-major range of it, converted to float64.
   *
   * @throws UnusableInputError when the name is unknown, the data lies outside the file, or the size
   *   exceeds {@link MAX_READ_ELEMENTS}.
   */
  read(name: string, range?: ElementRange): Tensor;
  close(): void;
}

/** 2 GiB of float64: more than any classifier head, less than what would end a process. */
export const MAX_READ_ELEMENTS = 2 ** 28;

const DTYPE_BYTES: Record<Dtype, number> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
  complex64: 8,
  complex128: 16,
};

/** Bytes of one element. */
export function dtypeBytes(dtype: Dtype): number {
  return DTYPE_BYTES[dtype];
}

/** True for the floating-point types, the only ones that can carry a gradient. */
export function isFloating(dtype: Dtype): boolean {
  return dtype.startsWith('float') || dtype === 'bfloat16';
}

/** Number of elements of a shape; 1 for a 0-d tensor. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
