import type { Matching } from '../../facts/matching.js';
import type { TensorFile } from '../../formats/tensor-file.js';
import type { TensorGraph, TensorNode } from '../../graph/tensor-graph.js';
import type { Adapter, Adapters } from '../../network/transformers/adapters.js';
import type { Block, Projection, Transformer } from '../../network/transformers/transformer.js';
import { matrixProduct, transposed } from '../../recovery/linear-algebra.js';
import { Tensors } from './first-block.js';

/** The numbers of a transformer whose weights have adapters: read as W + scale B A, and differentiated by A and B. */
export class AdaptedTensors extends Tensors {
  private readonly storedByInputs: ReadonlySet<string>;

  constructor(
    private readonly file: TensorFile,
    gradients: TensorFile,
    matching: Matching,
    sign: number,
    private readonly adapters: Adapters,
    transformer: Transformer,
  ) {
    const storedByInputs = new Set(
      transformer.blocks
        .flatMap(projectionsOf)
        .filter((own) => own.transposed)
        .map(({ weight }) => weight),
    );
    super(effective(file, adapters, storedByInputs), gradients, matching, sign);
    this.storedByInputs = storedByInputs;
  }

  /** The adapters of some maps, each once, of those that have a gradient. */
  adaptersOf(projections: readonly Projection[]): Adapter[] {
    const weights = new Set(projections.map(({ weight }) => weight));
    return [...weights].flatMap((weight) => {
      const own = this.adapters.byWeight.get(weight);
      return own && (this.hasGradient(own.a) || this.hasGradient(own.b)) ? [own] : [];
    });
  }

  /** Names of the factors that have a gradient, of the adapters of some blocks. */
  factorsOf(blocks: readonly Block[]): string[] {
    return this.adaptersOf(blocks.flatMap(projectionsOf))
      .flatMap(({ a, b }) => [a, b])
      .filter((name) => this.hasGradient(name));
  }

  /**
   * A tensor as a node, the factors of its adapter being parameters of their own.
   *
   * @param known nodes by name, to which those that are new are added
   */
  nodeOf(graph: TensorGraph, name: string, known: Map<string, TensorNode>): TensorNode {
    const found = known.get(name);
    if (found) {
      return found;
    }
    const adapter = this.adapters.byWeight.get(name);
    const node = adapter
      ? this.adaptedNode(graph, adapter, known)
      : graph.parameter(name, this.value(name), this.shape(name));
    known.set(name, node);
    return node;
  }

  private adaptedNode(
    graph: TensorGraph,
    { weight, base, a, b, scale }: Adapter,
    known: Map<string, TensorNode>,
  ): TensorNode {
    const [first, second] = [this.nodeOf(graph, a, known), this.nodeOf(graph, b, known)];
    const product = this.storedByInputs.has(weight)
      ? graph.matmul(first, second, true, true)
      : graph.matmul(second, first);
    const plain = graph.parameter(weight, this.file.read(base).data, this.shape(weight));
    return graph.add(plain, graph.scale(product, scale ?? 1));
  }
}

function projectionsOf({ query, key, value, output, gate, up, down }: Block): Projection[] {
  return [query, key, value, output, ...(gate ? [gate] : []), up, down];
}

/** The checkpoint with its names and numbers as if adapters were merged. */
function effective(file: TensorFile, { byWeight, stored }: Adapters, storedByInputs: ReadonlySet<string>): TensorFile {
  const names = new Map([...stored].map(([name, own]) => [own, name]));
  return {
    ...file,
    entries: file.entries.map((entry) => ({ ...entry, name: names.get(entry.name) ?? entry.name })),
    read(name, range) {
      const adapter = byWeight.get(name);
      if (!adapter) {
        return file.read(stored.get(name) ?? name, range);
      }
      const plain = file.read(adapter.base);
      const { rank, inputs, outputs } = adapter;
      const [a, b] = [file.read(adapter.a).data, file.read(adapter.b).data];
      const product = matrixProduct(b, a, outputs, rank, inputs);
      const added = storedByInputs.has(name) ? transposed(product, outputs, inputs) : product;
      const data = plain.data.map((value, at) => value + (adapter.scale ?? 1) * added[at]!);
      return { ...plain, data: range ? data.slice(range.start, range.end) : data };
    },
  };
}
