import {
  type BinaryFunction,
  type TensorGraph,
  type TensorNode,
  type UnaryFunction,
  needed,
  sameShape,
  sizeOf,
} from './tensor-graph.js';

/** Reverse-mode differentiation that adds nodes to the graph, so its results can be differentiated again. */

/**
 * dy/dx for each of `xs`, as nodes of the shapes of `xs`; zeros where y does not depend on x.
 *
 * The ReLU's slope, a maximum's choice and the sign of an absolute value count as constants, as they are almost everywhere.
 *
 * @param y a scalar
 * @param held nodes that count as constants; what results depends on them as they are
 * @throws RangeError when y is not a scalar
 */
export function gradients(
  graph: TensorGraph,
  y: TensorNode,
  xs: readonly TensorNode[],
  held?: ReadonlySet<TensorNode>,
): TensorNode[] {
  if (y.shape.length !== 0) {
    throw new RangeError('Only a scalar has a gradient.');
  }
  return pulledBack(graph, y, graph.scalar(1), xs, held);
}

/**
 * Adjoints of `xs` when that of `y` is given: J^T seed for J = dy/dx, of the shapes of `xs`.
 *
 * @param seed of y's shape
 * @param held nodes that count as constants
 */
export function pulledBack(
  graph: TensorGraph,
  y: TensorNode,
  seed: TensorNode,
  xs: readonly TensorNode[],
  held?: ReadonlySet<TensorNode>,
): TensorNode[] {
  const order = needed([y]);
  const depends = dependents(order, xs, held);
  const adjoints = new Map<TensorNode, TensorNode>([[y, seed]]);
  for (const node of order.reverse()) {
    const d = adjoints.get(node);
    if (!d || !depends.has(node) || node.inputs.length === 0) {
      continue;
    }
    node.inputs.forEach((input, index) => {
      if (!depends.has(input)) {
        return;
      }
      const part = pullback(graph, node, d, index);
      if (part) {
        const earlier = adjoints.get(input);
        adjoints.set(input, earlier ? graph.add(earlier, part) : part);
      }
    });
  }
  return xs.map((x) => adjoints.get(x) ?? graph.zeros(x.shape));
}

/** The nodes of `order`, a topological one, that `xs` reach other than through `held` ones, and `xs` themselves. */
export function dependents(
  order: readonly TensorNode[],
  xs: Iterable<TensorNode>,
  held?: ReadonlySet<TensorNode>,
): Set<TensorNode> {
  const depends = new Set(xs);
  for (const node of order) {
    if (!held?.has(node) && node.inputs.some((input) => depends.has(input))) {
      depends.add(node);
    }
  }
  return depends;
}

/** What the adjoint `d` of a node contributes to the adjoint of one of its inputs. */
function pullback(g: TensorGraph, node: TensorNode, d: TensorNode, index: number): TensorNode | undefined {
  const { operation } = node;
  const [a, b] = node.inputs as [TensorNode, TensorNode];
  switch (operation.kind) {
    case 'variable':
    case 'parameter':
    case 'constant':
      return undefined;
    case 'unary': {
      const slope = slopeOf(g, operation.fn, a, node);
      return slope && g.mul(d, slope);
    }
    case 'binary': {
      const part = binaryPart(g, operation.fn, a, b, d, index);
      return unbroadcast(g, part, node.inputs[index]!.shape);
    }
    case 'reshape':
      return g.reshape(d, a.shape);
    case 'transpose': {
      const { perm } = operation;
      return g.transpose(
        d,
        perm.map((_, axis) => perm.indexOf(axis)),
      );
    }
    case 'expand':
      return unbroadcast(g, d, a.shape);
    case 'reduce':
      return operation.fn === 'sum' ? g.expand(d, a.shape) : undefined;
    case 'slice':
      return g.embed(d, operation.starts, a.shape, operation.steps);
    case 'embed':
      return g.slice(d, operation.starts, a.shape, operation.steps);
    case 'concat': {
      const input = node.inputs[index]!;
      const before = node.inputs.slice(0, index).reduce((sum, { shape }) => sum + shape[operation.axis]!, 0);
      return g.slice(
        d,
        d.shape.map((_, axis) => (axis === operation.axis ? before : 0)),
        input.shape,
      );
    }
    case 'matmul': {
      const { transposeA, transposeB } = operation;
      if (index === 0) {
        return transposeA ? g.matmul(b, d, transposeB, true) : g.matmul(d, b, false, !transposeB);
      }
      return transposeB ? g.matmul(d, a, true, transposeA) : g.matmul(a, d, !transposeA, false);
    }
    case 'conv':
      return index === 0
        ? g.convInput(d, b, operation.geometry, a.shape)
        : g.convFilter(a, d, operation.geometry, b.shape);
    case 'conv-input':
      return index === 0 ? g.conv(d, b, operation.geometry) : g.convFilter(d, a, operation.geometry, b.shape);
    case 'conv-filter':
      return index === 0 ? g.convInput(b, d, operation.geometry, a.shape) : g.conv(a, d, operation.geometry);
  }
}

/** The derivative of y = fn(a), entry by entry; undefined where it is zero everywhere. */
export function slopeOf(g: TensorGraph, fn: UnaryFunction, a: TensorNode, y: TensorNode): TensorNode | undefined {
  const one = g.scalar(1);
  switch (fn) {
    case 'neg':
      return g.scalar(-1);
    case 'exp':
      return y;
    case 'log':
      return g.unary('reciprocal', a);
    case 'sqrt':
      return g.scale(g.unary('reciprocal', y), 0.5);
    case 'reciprocal':
      return g.neg(g.square(y));
    case 'sigmoid':
      return g.mul(y, g.sub(one, y));
    case 'tanh':
      return g.sub(one, g.square(y));
    case 'erf':
      return g.scale(g.unary('exp', g.neg(g.square(a))), 2 / Math.sqrt(Math.PI));
    case 'relu':
      return g.unary('step', a);
    case 'abs':
      return g.unary('sign', a);
    case 'step':
    case 'sign':
      return undefined;
  }
}

function binaryPart(
  g: TensorGraph,
  fn: BinaryFunction,
  a: TensorNode,
  b: TensorNode,
  d: TensorNode,
  index: number,
): TensorNode {
  const first = index === 0;
  switch (fn) {
    case 'add':
      return d;
    case 'sub':
      return first ? d : g.neg(d);
    case 'mul':
      return g.mul(d, first ? b : a);
    case 'div':
      return first ? g.div(d, b) : g.neg(g.div(g.mul(d, a), g.square(b)));
    case 'max': {
      const second = g.unary('step', g.sub(b, a));
      return g.mul(d, first ? g.sub(g.scalar(1), second) : second);
    }
  }
}

/** Sums over the axes that broadcasting had added or stretched. */
function unbroadcast(g: TensorGraph, d: TensorNode, shape: readonly number[]): TensorNode {
  if (sameShape(d.shape, shape)) {
    return d;
  }
  const extra = d.shape.length - shape.length;
  const axes = d.shape.flatMap((size, axis) => ((shape[axis - extra] ?? 1) === 1 && size !== 1 ? [axis] : []));
  return sizeOf(shape) === 1 ? g.reshape(g.total(d), shape) : g.reshape(g.sum(d, axes), shape);
}
