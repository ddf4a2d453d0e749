import { dirname, join } from 'node:path';
import { UnusableInputError, messageOf } from '../protocol/errors.js';
import { type ByteSource, isFileName, openFile } from './byte-source.js';
import { readBounded } from './json-file.js';
import { ONNX_TYPE, type OnnxModel, type OnnxTensor, decodeOnnx } from './onnx-protobuf.js';

/** ONNX files: the graph, and tensors on demand. Nothing in them is run. */

export interface OnnxFile {
  readonly model: OnnxModel;
  /** @throws UnusableInputError for a type that is not numbers, or data that are not there */
  values(tensor: OnnxTensor): Float64Array;
}

/** Protobuf messages cannot be larger; bigger models keep their tensors in a second file. */
const MAX_ONNX_BYTES = 2 ** 31;
const MAX_VALUES = 2 ** 29;

/** @throws UnusableInputError when it is no ONNX model */
export function readOnnx(path: string): OnnxFile {
  const bad = (found: string): UnusableInputError =>
    new UnusableInputError({
      code: 'malformed-file',
      file: path,
      found,
      expected: 'an ONNX model',
      advice: 'Export the network again with torch.onnx.export.',
    });
  let model: OnnxModel;
  try {
    model = decodeOnnx(readBounded(path, MAX_ONNX_BYTES));
  } catch (error) {
    throw bad(messageOf(error));
  }
  if (!(model.graph as unknown) || model.graph.node.length === 0) {
    throw bad('no graph');
  }
  return {
    model,
    values: (tensor) => valuesOf(tensor, path, bad),
  };
}

function valuesOf(tensor: OnnxTensor, path: string, bad: (found: string) => UnusableInputError): Float64Array {
  const size = tensor.dims.reduce((product, own) => product * own, 1);
  const name = `the tensor "${tensor.name ?? ''}"`;
  if (!Number.isSafeInteger(size) || size < 0 || size > MAX_VALUES) {
    throw bad(`${name} of shape [${tensor.dims.join(', ')}]`);
  }
  const lists = [tensor.floatData, tensor.doubleData, tensor.int64Data, tensor.int32Data];
  const list = lists.find((own) => own && own.length > 0);
  if (list && tensor.dataType !== ONNX_TYPE.float16) {
    if (list.length !== size) {
      throw bad(`${name} with ${list.length} numbers for shape [${tensor.dims.join(', ')}]`);
    }
    return Float64Array.from(list);
  }
  const width = WIDTHS[tensor.dataType];
  if (width === undefined) {
    throw bad(`${name} of the unsupported type ${tensor.dataType}`);
  }
  const raw =
    tensor.dataLocation === 1 ? externalBytes(tensor, path, size * width, bad) : (tensor.rawData ?? new Uint8Array());
  if (raw.byteLength !== size * width) {
    throw bad(`${name} with ${raw.byteLength} bytes for shape [${tensor.dims.join(', ')}]`);
  }
  return decode(raw, tensor.dataType, size);
}

const WIDTHS: Readonly<Record<number, number>> = {
  [ONNX_TYPE.float]: 4,
  [ONNX_TYPE.double]: 8,
  [ONNX_TYPE.int64]: 8,
  [ONNX_TYPE.int32]: 4,
  [ONNX_TYPE.bool]: 1,
};

function decode(raw: Uint8Array, type: number, size: number): Float64Array {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Float64Array.from({ length: size }, (_, at) => {
    switch (type) {
      case ONNX_TYPE.float:
        return view.getFloat32(4 * at, true);
      case ONNX_TYPE.double:
        return view.getFloat64(8 * at, true);
      case ONNX_TYPE.int64:
        return Number(view.getBigInt64(8 * at, true));
      case ONNX_TYPE.int32:
        return view.getInt32(4 * at, true);
      default:
        return view.getUint8(at);
    }
  });
}

/** Tensors of large models lie in a file beside it; a location outside of its folder is refused. */
function externalBytes(
  tensor: OnnxTensor,
  path: string,
  length: number,
  bad: (found: string) => UnusableInputError,
): Uint8Array {
  const entry = (key: string): string | undefined => tensor.externalData?.find((own) => own.key === key)?.value;
  const location = entry('location') ?? '';
  if (!isFileName(location)) {
    throw bad(`a tensor stored in "${location}", outside of the model's folder`);
  }
  const offset = Number(entry('offset') ?? 0);
  let source: ByteSource;
  try {
    source = openFile(join(dirname(path), location));
  } catch (error) {
    throw bad(messageOf(error));
  }
  try {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > source.size) {
      throw bad(`a tensor beyond the end of "${location}"`);
    }
    return source.read(offset, length);
  } finally {
    source.close();
  }
}
