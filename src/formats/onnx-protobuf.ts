import protobuf from 'protobufjs/light.js';

/** The part of ONNX's protobuf schema (onnx.proto3, IR version 10) that models of networks use. */

export interface OnnxModel {
  irVersion: number;
  producerName?: string;
  graph: OnnxGraph;
  opsetImport: { domain?: string; version: number }[];
  /** Functions local to the model, as some exporters of PyTorch write them. */
  functions?: { name: string; domain?: string }[];
}

export interface OnnxGraph {
  name?: string;
  node: OnnxNode[];
  initializer: OnnxTensor[];
  input: OnnxValue[];
  output: OnnxValue[];
  valueInfo?: OnnxValue[];
}

export interface OnnxNode {
  name?: string;
  opType: string;
  domain?: string;
  input: string[];
  output: string[];
  attribute?: OnnxAttribute[];
}

export interface OnnxAttribute {
  name: string;
  type: number;
  f?: number;
  i?: number;
  s?: Uint8Array;
  t?: OnnxTensor;
  floats?: number[];
  ints?: number[];
}

export interface OnnxTensor {
  name?: string;
  dims: number[];
  dataType: number;
  rawData?: Uint8Array;
  floatData?: number[];
  int32Data?: number[];
  int64Data?: number[];
  doubleData?: number[];
  externalData?: { key: string; value: string }[];
  /** 1 when the data is in another file. */
  dataLocation?: number;
}

export interface OnnxValue {
  name: string;
  type?: { tensorType?: { elemType: number; shape?: { dim: { dimValue?: number; dimParam?: string }[] } } };
}

export const ONNX_TYPE = { float: 1, int32: 6, int64: 7, bool: 9, float16: 10, double: 11, bfloat16: 16 } as const;
export const ONNX_ATTRIBUTE = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7 } as const;

type Field = [name: string, id: number, type: string, rule?: 'repeated'];

function message(...fields: Field[]): protobuf.IType {
  return {
    fields: Object.fromEntries(fields.map(([name, id, type, rule]) => [name, { id, type, ...(rule ? { rule } : {}) }])),
  };
}

const root = protobuf.Root.fromJSON({
  nested: {
    Model: message(
      ['irVersion', 1, 'int64'],
      ['producerName', 2, 'string'],
      ['graph', 7, 'Graph'],
      ['opsetImport', 8, 'Opset', 'repeated'],
      ['functions', 25, 'LocalFunction', 'repeated'],
    ),
    Opset: message(['domain', 1, 'string'], ['version', 2, 'int64']),
    LocalFunction: message(['name', 1, 'string'], ['domain', 10, 'string']),
    Graph: message(
      ['node', 1, 'Node', 'repeated'],
      ['name', 2, 'string'],
      ['initializer', 5, 'Tensor', 'repeated'],
      ['input', 11, 'Value', 'repeated'],
      ['output', 12, 'Value', 'repeated'],
      ['valueInfo', 13, 'Value', 'repeated'],
    ),
    Node: message(
      ['input', 1, 'string', 'repeated'],
      ['output', 2, 'string', 'repeated'],
      ['name', 3, 'string'],
      ['opType', 4, 'string'],
      ['attribute', 5, 'Attribute', 'repeated'],
      ['domain', 7, 'string'],
    ),
    Attribute: message(
      ['name', 1, 'string'],
      ['f', 2, 'float'],
      ['i', 3, 'int64'],
      ['s', 4, 'bytes'],
      ['t', 5, 'Tensor'],
      ['floats', 7, 'float', 'repeated'],
      ['ints', 8, 'int64', 'repeated'],
      ['type', 20, 'int32'],
    ),
    Tensor: message(
      ['dims', 1, 'int64', 'repeated'],
      ['dataType', 2, 'int32'],
      ['floatData', 4, 'float', 'repeated'],
      ['int32Data', 5, 'int32', 'repeated'],
      ['int64Data', 7, 'int64', 'repeated'],
      ['name', 8, 'string'],
      ['rawData', 9, 'bytes'],
      ['doubleData', 10, 'double', 'repeated'],
      ['externalData', 13, 'Entry', 'repeated'],
      ['dataLocation', 14, 'int32'],
    ),
    Entry: message(['key', 1, 'string'], ['value', 2, 'string']),
    Value: message(['name', 1, 'string'], ['type', 2, 'Type']),
    Type: message(['tensorType', 1, 'TensorType']),
    TensorType: message(['elemType', 1, 'int32'], ['shape', 2, 'Shape']),
    Shape: message(['dim', 1, 'Dimension', 'repeated']),
    Dimension: message(['dimValue', 1, 'int64'], ['dimParam', 2, 'string']),
  },
});
const modelType = root.lookupType('Model');

/** @throws Error when the bytes are not such a message */
export function decodeOnnx(bytes: Uint8Array): OnnxModel {
  // Absent fields stay absent but lists are always there; int64 as numbers: no size or axis exceeds 2^53.
  return modelType.toObject(modelType.decode(bytes), { longs: Number, arrays: true }) as OnnxModel;
}

export function encodeOnnx(model: OnnxModel): Uint8Array {
  return modelType.encode(modelType.create(model)).finish();
}
