import { dependents, pulledBack, slopeOf } from './derivative.js';
import { type BinaryFunction, type TensorGraph, type TensorNode, needed, sameShape } from './tensor-graph.js';

/**
 * Products with the Jacobian J = dy/dx of two nodes, as nodes again; J itself, sizeOf(y) x sizeOf(x), is never formed.
 * What counts as a constant to differentiation is what counts so in `gradients`, so both products are of the same J.
 */

/**
 * J^T u in reverse mode.
 *
 * @param u of y's shape
 * @returns a node of x's shape; zeros where y does not depend on x
 * @throws RangeError when u is of another shape than y
 */
export function vjp(graph: TensorGraph, y: TensorNode, x: TensorNode, u: TensorNode): TensorNode {
  requireShape(u, y);
  return pulledBack(graph, y, u, [x])[0]!;
}

/**
 * J v in forward mode: one rule per operation, at most two products for each product of the graph itself. Twice
 * differentiated reverse mode gives the same values by a walk there and back.
 *
 * @param v of x's shape
 * @returns a node of y's shape; zeros where y does not depend on x
 * @throws RangeError when v is of another shape than x
 */
export function jvp(graph: TensorGraph, y: TensorNode, x: TensorNode, v: TensorNode): TensorNode {
  requireShape(v, x);
  const order = needed([y]);
  const depends = dependents(order, [x]);
  const tangents = new Map<TensorNode, TensorNode>([[x, v]]);
  for (const node of order) {
    if (node !== x && depends.has(node)) {
      const tangent = pushforward(
        graph,
        node,
        node.inputs.map((input) => tangents.get(input)),
      );
      if (tangent) {
        tangents.set(node, tangent);
      }
    }
  }
  return tangents.get(y) ?? graph.zeros(y.shape);
}

function requireShape(direction: TensorNode, of: TensorNode): void {
  if (!sameShape(direction.shape, of.shape)) {
    throw new RangeError(
      `A direction of shape [${direction.shape.join(', ')}] is not one of [${of.shape.join(', ')}].`,
    );
  }
}

/** The tangent of a node from those of its inputs; undefined stands for zeros. */
function pushforward(
  g: TensorGraph,
  node: TensorNode,
  tangents: readonly (TensorNode | undefined)[],
): TensorNode | undefined {
  const { operation, shape } = node;
  const [a, b] = node.inputs as [TensorNode, TensorNode];
  const [ta, tb] = tangents;
  switch (operation.kind) {
    case 'variable':
    case 'parameter':
    case 'constant':
      return undefined;
    case 'unary': {
      const slope = ta && slopeOf(g, operation.fn, a, node);
      return slope && g.mul(ta, slope);
    }
    case 'binary': {
      const tangent = binaryTangent(g, operation.fn, node, ta, tb);
      return tangent && g.expand(tangent, shape);
    }
    case 'reshape':
      return ta && g.reshape(ta, shape);
    case 'transpose':
      return ta && g.transpose(ta, operation.perm);
    case 'expand':
      return ta && g.expand(ta, shape);
    case 'reduce':
      return ta && operation.fn === 'sum' ? g.sum(ta, operation.axes) : undefined;
    case 'slice':
      return ta && g.slice(ta, operation.starts, shape, operation.steps);
    case 'embed':
      return ta && g.embed(ta, operation.starts, shape, operation.steps);
    case 'concat':
      return tangents.some((own) => own)
        ? g.concat(
            node.inputs.map((input, at) => tangents[at] ?? g.zeros(input.shape)),
            operation.axis,
          )
        : undefined;
    case 'matmul':
      return bilinear(g, ta, tb, a, b, (one, other) =>
        g.matmul(one, other, operation.transposeA, operation.transposeB),
      );
    case 'conv':
      return bilinear(g, ta, tb, a, b, (one, other) => g.conv(one, other, operation.geometry));
    case 'conv-input':
      return bilinear(g, ta, tb, a, b, (one, other) => g.convInput(one, other, operation.geometry, shape));
    case 'conv-filter':
      return bilinear(g, ta, tb, a, b, (one, other) => g.convFilter(one, other, operation.geometry, shape));
  }
}

/** f(ta, b) + f(a, tb) */
function bilinear(
  g: TensorGraph,
  ta: TensorNode | undefined,
  tb: TensorNode | undefined,
  a: TensorNode,
  b: TensorNode,
  f: (a: TensorNode, b: TensorNode) => TensorNode,
): TensorNode | undefined {
  return sum(g, ta && f(ta, b), tb && f(a, tb));
}

function sum(g: TensorGraph, one: TensorNode | undefined, other: TensorNode | undefined): TensorNode | undefined {
  return one && other ? g.add(one, other) : (one ?? other);
}

function binaryTangent(
  g: TensorGraph,
  fn: BinaryFunction,
  node: TensorNode,
  ta: TensorNode | undefined,
  tb: TensorNode | undefined,
): TensorNode | undefined {
  const [a, b] = node.inputs as [TensorNode, TensorNode];
  switch (fn) {
    case 'add':
      return sum(g, ta, tb);
    case 'sub':
      return ta && tb ? g.sub(ta, tb) : (ta ?? (tb && g.neg(tb)));
    case 'mul':
      return bilinear(g, ta, tb, a, b, (one, other) => g.mul(one, other));
    case 'div': {
      const own = tb && g.mul(node, tb);
      const change = ta && own ? g.sub(ta, own) : (ta ?? (own && g.neg(own)));
      return change && g.div(change, b);
    }
    case 'max': {
      const second = g.unary('step', g.sub(b, a));
      return sum(g, ta && g.mul(ta, g.sub(g.scalar(1), second)), tb && g.mul(tb, second));
    }
  }
}
