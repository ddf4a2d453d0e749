import { gradients } from '../src/graph/derivative.js';
import { foldConstant } from '../src/graph/evaluate.js';
import { TensorGraph, type TensorNode } from '../src/graph/tensor-graph.js';
import { hashed } from './networks.js';

/** Every operation of the graph, and functions of it whose derivatives reach what the operations' own derivatives need. */

type Build = (g: TensorGraph, a: TensorNode, b: TensorNode) => TensorNode;

const GEOMETRY = { strides: [2, 1], pads: [1, 0, 0, 2], dilations: [1, 2], groups: 2 } as const;
const PLAIN = { strides: [2, 2], pads: [2, 2, 2, 2], dilations: [1, 1], groups: 1 } as const;

/** a is 2 x 4 x 5 x 6, b 4 x 2 x 3 x 2. */
export const OPERATIONS: Record<string, Build> = {
  neg: (g, a) => g.neg(a),
  exp: (g, a) => g.unary('exp', a),
  log: (g, a) => g.unary('log', g.add(a, g.scalar(2))),
  sqrt: (g, a) => g.unary('sqrt', g.add(a, g.scalar(2))),
  reciprocal: (g, a) => g.unary('reciprocal', g.add(a, g.scalar(2))),
  sigmoid: (g, a) => g.unary('sigmoid', a),
  tanh: (g, a) => g.unary('tanh', a),
  erf: (g, a) => g.unary('erf', a),
  relu: (g, a) => g.mul(g.unary('relu', a), a),
  abs: (g, a) => g.mul(g.unary('abs', a), a),
  'add with broadcasting': (g, a, b) => g.add(a, g.reshape(g.slice(b, [0, 0, 0, 0], [4, 1, 1, 1]), [4, 1, 1])),
  'sub with broadcasting': (g, a, b) => g.sub(g.slice(b, [0, 0, 0, 0], [1, 1, 1, 1]), a),
  mul: (g, a) => g.mul(a, g.unary('sigmoid', a)),
  'div with broadcasting': (g, a, b) =>
    g.div(a, g.add(g.reshape(g.slice(b, [0, 0, 0, 0], [4, 1, 1, 1]), [1, 4, 1, 1]), g.scalar(2))),
  max: (g, a) => g.max(g.mul(a, a), g.scale(a, 0.3)),
  reshape: (g, a) => g.reshape(a, [8, 30]),
  transpose: (g, a) => g.transpose(a, [2, 0, 3, 1]),
  expand: (g, a) => g.expand(g.sum(a, [1, 3]), [2, 4, 5, 6]),
  'sum over some axes': (g, a) => g.sum(a, [0, 2]),
  'softmax by its maximum': (g, a) => {
    const shifted = g.unary('exp', g.sub(a, g.maxOver(a, [3])));
    return g.div(shifted, g.sum(shifted, [3]));
  },
  'slice with steps': (g, a) => g.slice(a, [0, 1, 0, 1], [2, 2, 3, 2], [1, 2, 2, 3]),
  'embed with steps': (g, a) => g.embed(a, [0, 0, 1, 2], [2, 4, 11, 20], [1, 1, 2, 3]),
  concat: (g, a) => g.concat([a, g.mul(a, a), a], 1),
  matmul: (g, a) => g.matmul(g.reshape(a, [8, 30]), g.reshape(g.square(a), [8, 30]), false, true),
  'matmul, first transposed': (g, a) => g.matmul(g.reshape(a, [8, 30]), g.reshape(a, [8, 30]), true, false),
  'matmul, both transposed': (g, a) => g.matmul(g.reshape(a, [8, 30]), g.reshape(a, [30, 8]), true, true),
  'matmul of batches': (g, a, b) => g.matmul(g.reshape(a, [8, 5, 6]), g.reshape(b, [8, 6, 1])),
  'matmul of batches, first transposed': (g, a) => g.matmul(a, g.square(a), true, false),
  'matmul of batches, second transposed': (g, a, b) => g.matmul(a, g.reshape(b, [2, 4, 1, 6]), false, true),
  'matmul of batches, both transposed': (g, a) => g.matmul(a, g.reshape(g.square(a), [2, 4, 6, 5]), true, true),
  'conv with groups, stride, dilation': (g, a, b) => g.conv(a, b, GEOMETRY),
  'conv with padding': (g, a, b) => g.conv(a, g.reshape(b, [3, 4, 2, 2]), PLAIN),
  'conv-input': (g, a, b) => {
    const filter = g.reshape(b, [3, 4, 2, 2]);
    const y = g.conv(a, filter, PLAIN);
    return g.convInput(g.square(y), filter, PLAIN, a.shape);
  },
  'conv-filter with groups': (g, a, b) => {
    const y = g.conv(a, b, GEOMETRY);
    return g.convFilter(a, g.square(y), GEOMETRY, b.shape);
  },
};

/** A function of an operation's output, its gradient by a and b, and the gradient of what weighs that gradient. */
export function setUp(build: Build): {
  value: TensorNode;
  mixed: TensorNode;
  first: TensorNode[];
  second: TensorNode[];
} {
  const g = new TensorGraph(foldConstant);
  const a = g.variable('a', [2, 4, 5, 6]);
  const b = g.variable('b', [4, 2, 3, 2]);
  const y = build(g, a, b);
  const weights = g.constant(
    hashed(
      y.shape.reduce((p, s) => p * s, 1),
      5,
    ),
    y.shape,
  );
  // A bent function of the output, so that second derivatives of linear operations are not zero.
  const value = g.total(g.mul(weights, g.add(y, g.scale(g.mul(y, g.square(y)), 0.5))));
  const first = gradients(g, value, [a, b]);
  const mixed = first.map((slope, index) =>
    g.total(
      g.mul(
        slope,
        g.constant(
          hashed(
            slope.shape.reduce((p, s) => p * s, 1),
            6 + index,
          ),
          slope.shape,
        ),
      ),
    ),
  );
  const second = gradients(g, g.add(mixed[0]!, mixed[1]!), [a, b]);
  return { value, mixed: g.add(mixed[0]!, mixed[1]!), first, second };
}

export const FEEDS = { a: hashed(240, 1).map((v) => 2 * v), b: hashed(48, 2).map((v) => 2 * v) };
