import type { TensorNode } from '../graph/tensor-graph.js';

export interface SquaredSum {
  /** What is squared. */
  readonly root: TensorNode;
  /** The shape that its squares are summed in. */
  readonly shape: readonly number[];
  readonly axes: readonly number[];
  /** Nodes that nothing else takes. */
  readonly between: readonly TensorNode[];
}

/** Sums of squares in a graph: the squares themselves, as large as all gradients, need not be written to memory. */
export function squaredSums(nodes: readonly TensorNode[], outputs: readonly TensorNode[]): Map<TensorNode, SquaredSum> {
  const uses = new Map<TensorNode, number>();
  for (const used of [...outputs, ...nodes.flatMap(({ inputs }) => [...new Set(inputs)])]) {
    uses.set(used, (uses.get(used) ?? 0) + 1);
  }
  const found = new Map<TensorNode, SquaredSum>();
  for (const node of nodes) {
    const { operation } = node;
    if (operation.kind !== 'reduce' || operation.fn !== 'sum') {
      continue;
    }
    const summed = node.inputs[0]!;
    const product = summed.operation.kind === 'reshape' ? summed.inputs[0]! : summed;
    const [root, other] = product.inputs;
    const isSquare = product.operation.kind === 'binary' && product.operation.fn === 'mul' && root === other;
    const between = [...new Set([summed, product])];
    if (isSquare && between.every((own) => uses.get(own) === 1)) {
      found.set(node, { root: root!, shape: summed.shape, axes: operation.axes, between });
    }
  }
  return found;
}
