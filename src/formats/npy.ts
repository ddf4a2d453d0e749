import { UnusableInputError } from '../protocol/errors.js';
import { type ByteSource, malformed, windowSource } from './byte-source.js';
import { type ElementLayout, checkLayout, contiguousStrides } from './elements.js';
import { locatedFile } from './located-file.js';
import { type Dtype, type TensorEntry, type TensorFile, dtypeBytes, elementCount } from './tensor-file.js';

/** numpy's `.npy` format, versions 1 to 3 (numpy.lib.format). Arrays of Python objects are refused: they are pickles. */

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
/** Records have longer ones, and are not read; in an archive a header may inflate a thousandfold. */
const MAX_HEADER_BYTES = 1 << 16;

/** A map, because files name the keys: an object has more names than its own. */
const NUMPY_DTYPES = new Map(
  Object.entries<Dtype>({
    f8: 'float64',
    f4: 'float32',
    f2: 'float16',
    i8: 'int64',
    i4: 'int32',
    i2: 'int16',
    i1: 'int8',
    u8: 'uint64',
    u4: 'uint32',
    u2: 'uint16',
    u1: 'uint8',
    b1: 'bool',
    c8: 'complex64',
    c16: 'complex128',
  }),
);

export interface NpyHeader {
  readonly layout: ElementLayout;
  /** Offset of the first element in the file. */
  readonly dataOffset: number;
}

/** True when the bytes begin like an `.npy` file. */
export function looksLikeNpy(head: Uint8Array): boolean {
  return MAGIC.every((byte, index) => head[index] === byte);
}

/** The element type of a numpy type string such as `<f4`; undefined when it has none here. */
export function parseNumpyDtype(description: string): { dtype: Dtype; littleEndian: boolean } | undefined {
  const dtype = NUMPY_DTYPES.get(description.replace(/^[<>|=]/, ''));
  return dtype && { dtype, littleEndian: !description.startsWith('>') };
}

/**
 * Bytes of the header that begins with `head` (12 bytes of the file, fewer where it ends before).
 *
 * @throws UnusableInputError when it breaks off, or is of a version or size that numpy does not write
 */
export function npyHeaderLength(path: string, head: Uint8Array): number {
  const major = head[6] ?? 0;
  if (head.length < (major === 1 ? 10 : 12)) {
    throw malformed(path, `an npy file of ${head.length} bytes`, 'a whole npy header');
  }
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const length = major === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  if (major < 1 || major > 3 || length > MAX_HEADER_BYTES) {
    throw malformed(path, `an npy header of version ${major} and ${length} bytes`, 'version 1 to 3 and a short header');
  }
  return length;
}

/**
 * Parses a header that is complete in `head`.
 *
 * @throws UnusableInputError when it is malformed, or describes Python objects or records
 */
export function parseNpyHeader(path: string, head: Uint8Array): NpyHeader {
  const dataOffset = npyHeaderLength(path, head);
  const text = new TextDecoder('latin1').decode(head.subarray(head[6] === 1 ? 10 : 12, dataOffset));
  const description = /'descr'\s*:\s*('([^']*)'|\[)/.exec(text);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text);
  const shape = /'shape'\s*:\s*\(([\d\s,L]*)\)/.exec(text);
  if (!description || !order || !shape) {
    throw malformed(path, 'an npy header without descr, fortran_order and shape', "numpy's header");
  }
  const type = description[2] === undefined ? undefined : parseNumpyDtype(description[2]);
  if (!type) {
    throw new UnusableInputError({
      code: 'unsupported-tensor',
      file: path,
      found: `an array of type ${description[2] ?? 'record'}${description[2]?.includes('O') ? ' (pickled Python objects, never executed here)' : ''}`,
      expected: 'an array of numbers',
      advice: 'Save the numbers alone, for example with np.savez(path, **{name: gradient}).',
    });
  }
  const sizes = (shape[1] ?? '')
    .split(',')
    .map((size) => size.replace('L', '').trim())
    .filter(Boolean)
    .map(Number);
  const strides = order[1] === 'True' ? contiguousStrides([...sizes].reverse()).reverse() : contiguousStrides(sizes);
  return { layout: { ...type, shape: sizes, strides, offset: 0 }, dataOffset };
}

/** An entry for an array that stands alone or in an archive. */
export function npyEntry(name: string, layout: ElementLayout): TensorEntry {
  return {
    name,
    group: '',
    key: name,
    positional: false,
    role: 'unknown',
    shape: layout.shape,
    dtype: layout.dtype,
    bytes: elementCount(layout.shape) * dtypeBytes(layout.dtype),
  };
}

/** Opens a single `.npy` file; its one tensor is named `array`. */
export function openNpy(source: ByteSource): TensorFile {
  const head = source.read(0, Math.min(source.size, 12));
  const length = npyHeaderLength(source.path, head);
  const { layout, dataOffset } = parseNpyHeader(source.path, source.read(0, length));
  const data = windowSource(source, dataOffset, source.size - dataOffset);
  checkLayout(source.path, 'array', layout, data.size);
  return locatedFile(source, 'npy', [{ entry: npyEntry('array', layout), layout, open: () => data }]);
}
