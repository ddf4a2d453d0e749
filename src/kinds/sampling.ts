import { type Dtype, type TensorEntry, type TensorFile, elementCount } from '../formats/tensor-file.js';

/** Reading enough of two files to tell what they are, and no more. */

export interface MatchedEntries {
  readonly gradient: TensorEntry;
  readonly parameter: TensorEntry;
}

/** The same tensor, or the same first rows of it, out of both files. */
export interface SampledPair {
  readonly name: string;
  /** Rows, columns: outputs x everything else as PyTorch stores it, for vectors n x 1. */
  readonly rows: number;
  readonly columns: number;
  /** True for vectors. */
  readonly vector: boolean;
  /** Sizes of the kernel of a convolution, 1 otherwise. */
  readonly kernel: number;
  /** rows x columns numbers, row-major. */
  readonly gradient: Float64Array;
  readonly parameter: Float64Array;
  readonly gradientType: Dtype;
  readonly parameterType: Dtype;
}

/** Elements that are read of each file, the last matrix aside. */
const MOST_ELEMENTS = 2 ** 20;
/** Sums over classes need all of them: the head of 1000 classes and 2048 features is read whole. */
const MOST_OF_HEAD = 2 ** 21;
/** Of any other tensor, so that one large layer does not stand for the file. */
const MOST_OF_OTHERS = 2 ** 17;

/**
 * About 2^20 elements of each file and the last matrix, the last tensors first because the head tells most; in the
 * files' order. Tensors that cannot be read, are empty or hold a number that is not finite are left out: other checks
 * speak of them.
 */
export function samplePairs(
  checkpoint: TensorFile,
  gradients: TensorFile,
  pairs: readonly MatchedEntries[],
): SampledPair[] {
  const sampled: SampledPair[] = [];
  let left = MOST_ELEMENTS;
  let head = false;
  for (const pair of [...pairs].reverse()) {
    const isHead: boolean = !head && isMatrix(pair.parameter.shape);
    head ||= isHead;
    const most = isHead ? MOST_OF_HEAD : Math.min(left, MOST_OF_OTHERS);
    const one = readPair(checkpoint, gradients, pair, most);
    if (one) {
      left -= isHead ? 0 : one.gradient.length;
      sampled.push(one);
    }
  }
  return sampled.reverse();
}

function isMatrix(shape: readonly number[]): boolean {
  return shape.filter((size) => size > 1).length === 2;
}

function matrixShape(shape: readonly number[]): { rows: number; columns: number; kernel: number } {
  const [rows = 1, inputs = 1] = shape;
  const kernel = elementCount(shape.slice(2));
  return { rows, columns: shape.length < 2 ? 1 : inputs * kernel, kernel };
}

function readPair(
  checkpoint: TensorFile,
  gradients: TensorFile,
  { gradient, parameter }: MatchedEntries,
  most: number,
): SampledPair | undefined {
  const { rows, columns, kernel } = matrixShape(parameter.shape);
  const taken = Math.min(rows, Math.floor(most / columns));
  if (taken === 0 || columns === 0) {
    return undefined;
  }
  const range = { start: 0, end: taken * columns };
  try {
    const own = gradients.read(gradient.name, range).data;
    const other = checkpoint.read(parameter.name, range).data;
    return own.every(Number.isFinite) && other.every(Number.isFinite)
      ? {
          name: parameter.name,
          rows: taken,
          columns,
          vector: columns === 1,
          kernel,
          gradient: own,
          parameter: other,
          gradientType: gradient.dtype,
          parameterType: parameter.dtype,
        }
      : undefined;
  } catch {
    // A tensor that cannot be read is reported by whoever needs it.
    return undefined;
  }
}
