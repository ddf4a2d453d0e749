import type { OnnxFile } from '../formats/onnx.js';
import type { OnnxNode, OnnxTensor } from '../formats/onnx-protobuf.js';
import type { NamedShape } from './built-in.js';
import type { StoredTensor } from './network-graph.js';
import { unsupported } from './onnx-node.js';

/** Initializers of an ONNX graph, and which of the checkpoint's tensors they are. */

export interface CheckpointView {
  readonly entries: readonly NamedShape[];
  read(name: string): Float64Array;
}

/** An initializer, possibly seen through a transposition that the exporter left in the graph. */
export interface Weight {
  readonly tensor: OnnxTensor;
  readonly transposed: boolean;
}

/** A tensor as a recipe names it; `transposed` when the graph uses it the other way round. */
interface NamedWeight {
  readonly name: string;
  readonly transposed: boolean;
}

export class OnnxWeights {
  /** Tensors that the checkpoint does not hold, by the graph's own names. */
  readonly own = new Map<string, StoredTensor>();
  private readonly weights = new Map<string, Weight>();
  private readonly names = new Map<string, NamedWeight>();

  constructor(
    private readonly onnx: OnnxFile,
    private readonly file: string,
    private readonly checkpoint: CheckpointView,
  ) {
    for (const tensor of onnx.model.graph.initializer) {
      this.weights.set(tensor.name ?? '', { tensor, transposed: false });
    }
  }

  has(name: string): boolean {
    return this.weights.has(name);
  }

  get(name: string): Weight | undefined {
    return this.weights.get(name);
  }

  set(name: string, weight: Weight): void {
    this.weights.set(name, weight);
  }

  /** @throws UnusableInputError for types that are not numbers */
  values({ tensor }: Weight): Float64Array {
    return this.onnx.values(tensor);
  }

  /**
   * The checkpoint's name of an initializer, or its own when the checkpoint does not hold it.
   *
   * @param rank number of axes that the node wants
   * @throws UnusableInputError when it is computed, or of another rank
   */
  named(node: OnnxNode, name: string, rank?: number): NamedWeight & { readonly rank: number } {
    const weight = this.weights.get(name);
    if (!weight || (rank !== undefined && weight.tensor.dims.length !== rank)) {
      throw unsupported(
        this.file,
        node,
        weight ? `"${name}" of ${weight.tensor.dims.length} axes` : `"${name}", which is computed`,
      );
    }
    const own = weight.tensor.name ?? name;
    const cached = this.names.get(own);
    const found = cached ?? this.inCheckpoint(weight) ?? { name: own, transposed: false };
    this.names.set(own, found);
    if (!this.checkpoint.entries.some((entry) => entry.name === found.name) && !this.own.has(found.name)) {
      this.own.set(found.name, { shape: weight.tensor.dims, data: this.onnx.values(weight.tensor) });
    }
    return { name: found.name, transposed: found.transposed !== weight.transposed, rank: weight.tensor.dims.length };
  }

  /**
   * @param taken names that others have: of equal tensors each is one
   * @returns undefined for a tensor that the checkpoint does not hold
   */
  inCheckpoint({ tensor }: Weight, taken: ReadonlySet<string> = new Set()): NamedWeight | undefined {
    const name = tensor.name ?? '';
    const { entries } = this.checkpoint;
    const fits = (shape: readonly number[]): boolean => shape.join() === tensor.dims.join();
    const named = entries.filter(
      (entry) => (entry.name === name || entry.name.endsWith(`.${name}`)) && fits(entry.shape),
    );
    if (named.length === 1) {
      return { name: named[0]!.name, transposed: false };
    }
    // Exporters rename and transpose the weights of products; their values give them away.
    const flipped = [...tensor.dims].reverse().join();
    const candidates = entries.filter(
      ({ name: own, shape }) =>
        !taken.has(own) && (shape.join() === tensor.dims.join() || (shape.length === 2 && shape.join() === flipped)),
    );
    if (candidates.length === 0 || tensor.dims.length === 0) {
      return undefined;
    }
    const values = this.onnx.values(tensor);
    for (const { name: own, shape } of candidates) {
      const stored = this.checkpoint.read(own);
      if (fits(shape) && stored.every((value, at) => value === values[at])) {
        return { name: own, transposed: false };
      }
      const [rows = 0, cols = 0] = shape;
      if (
        shape.length === 2 &&
        stored.every((value, at) => value === values[(at % cols) * rows + Math.floor(at / cols)])
      ) {
        return { name: own, transposed: true };
      }
    }
    return undefined;
  }
}
