import type { OnnxWeights } from './onnx-weights.js';

/** Shapes, paddings and axes, which exporters compute in the graph and an import has to know. */

/** Small tensors of shapes and paddings that are known while importing; undefined entries depend on the batch. */
export interface Known {
  readonly values: readonly (number | undefined)[];
  readonly shape: readonly number[];
}

export type Numbers = Known['values'];

const MOST_CHANNELS = 2 ** 16;

export class OnnxConstants {
  private readonly computed = new Map<string, Known>();

  constructor(private readonly weights: OnnxWeights) {}

  /** True for what was computed while importing; initializers are not looked at. */
  has(name: string): boolean {
    return this.computed.has(name);
  }

  /** What was computed while importing; initializers are not looked at. */
  get(name: string): Known | undefined {
    return this.computed.get(name);
  }

  set(name: string, known: Known): void {
    this.computed.set(name, known);
  }

  numbers(name: string): Numbers | undefined {
    return this.of(name)?.values;
  }

  /** What was computed while importing, or a short initializer. */
  of(name: string): Known | undefined {
    const known = this.computed.get(name);
    if (known) {
      return known;
    }
    const weight = this.weights.get(name);
    if (!weight || weight.tensor.dims.length > 1 || (weight.tensor.dims[0] ?? 1) > 16) {
      return undefined;
    }
    return { values: [...this.weights.values(weight)], shape: weight.tensor.dims };
  }

  /** The same with initializers as long as a layer has channels. */
  vector(name: string): Numbers | undefined {
    const weight = this.weights.get(name);
    const [length = 1, ...rest] = weight?.tensor.dims ?? [];
    return (
      this.numbers(name) ??
      (weight && rest.length === 0 && length <= MOST_CHANNELS ? [...this.weights.values(weight)] : undefined)
    );
  }

  list(name: string, values: Numbers): void {
    this.computed.set(name, { values, shape: [values.length] });
  }
}

/** The shape of a reshaped small tensor; one unknown size is what the others leave. */
export function reshaped({ values }: Known, sizes: Numbers | undefined): Known {
  const wanted = sizes?.map((size) => size ?? -1) ?? [-1];
  const fixed = wanted.filter((size) => size > 0).reduce((product, size) => product * size, 1);
  return {
    values,
    shape: wanted.map((size) => (size > 0 ? size : values.length / fixed)),
  };
}

/** A small matrix, its rows as columns. */
export function transposed({ values, shape }: Known): Known {
  const [rows = 1, cols = 1] = shape;
  return {
    values: values.map((_, index) => values[(index % rows) * cols + Math.floor(index / rows)]),
    shape: [cols, rows],
  };
}

/**
 * Rows of a small tensor from `start` to `end`, as ONNX's Slice counts them along the first axis.
 *
 * @param step another whole number than zero: with anything else rows would never end
 */
export function sliceRows({ values, shape }: Known, start = 0, end = Infinity, step = 1): Known {
  const [named = 0, ...rest] = shape;
  // Shapes come from the file too, and may name more rows than there are numbers.
  const rows = Math.min(named, values.length);
  const width = rest.reduce((product, size) => product * size, 1);
  const bound = (at: number, least: number, most: number): number =>
    Math.min(Math.max(at < 0 ? at + rows : at, least), most);
  const picked: number[] = [];
  if (step > 0) {
    for (let row = bound(start, 0, rows); row < bound(end, 0, rows); row += step) {
      picked.push(row);
    }
  } else {
    for (let row = bound(start, 0, rows - 1); row > (end < -rows ? -1 : bound(end, -1, rows - 1)); row += step) {
      picked.push(row);
    }
  }
  return {
    values: picked.flatMap((row) => values.slice(row * width, (row + 1) * width)),
    shape: [picked.length, ...rest],
  };
}
