import { UnusableInputError } from '../protocol/errors.js';
import type { OnnxNode, OnnxTensor } from '../formats/onnx-protobuf.js';
import type { Extent, Padding } from './layers/recipe.js';

/** What a node of an ONNX graph says of itself. */

export class Attributes {
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

export function pair(list: number[] | undefined): Extent | undefined {
  return list?.length === 2 ? (list as [number, number]) : undefined;
}

/**
 * @param file named in the message
 * @param what it is about the node that is not supported; undefined for the operation itself
 * @param index position in the graph, for nodes without a name
 */
export function unsupported(file: string, node: OnnxNode, what?: string, index?: number): UnusableInputError {
  const name = node.name ? ` (node "${node.name}")` : index === undefined ? '' : ` (node ${index})`;
  return new UnusableInputError({
    code: 'unsupported-operation',
    file,
    found: `the operation ${node.opType}${name}${what === undefined ? '' : ` with ${what}`}`,
    expected: 'operations of image classifiers, such as Conv, Gemm, BatchNormalization, Relu, MaxPool',
    advice: 'Describe the network by a recipe instead, or audit labels only.',
  });
}
