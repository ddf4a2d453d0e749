import { describe, expect, it } from 'vitest';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { evaluateWithProduct } from '../../../src/graph/evaluate-with-product.js';
import { TensorGraph, sizeOf } from '../../../src/graph/tensor-graph.js';
import { plainProduct } from '../../../src/recovery/cholesky.js';
import { hashed, relativeError } from '../../networks.js';

/** The same values as in plain loops, wherever products take over. */

describe('convolutions by products of their patches', () => {
  it.each([
    ['stride one', { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 }, 20],
    ['strides and uneven padding', { strides: [2, 1], pads: [0, 2, 1, 0], dilations: [1, 1], groups: 1 }, 20],
    ['dilation', { strides: [1, 2], pads: [2, 2, 2, 2], dilations: [2, 2], groups: 1 }, 20],
    ['groups', { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 2 }, 20],
    [
      'one group for each channel, in loops',
      { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 20 },
      20,
    ],
  ] as const)('%s', async (_, geometry, channels) => {
    const graph = new TensorGraph(foldConstant);
    const x = graph.variable('x', [2, channels, 18, 17]);
    const filter = graph.variable('f', [40, channels / geometry.groups, 3, 3]);
    const y = graph.conv(x, filter, geometry);
    const dy = graph.variable('dy', y.shape);
    const outputs = [
      y,
      graph.convInput(dy, filter, geometry, x.shape),
      graph.convFilter(x, dy, geometry, filter.shape),
      graph.total(graph.square(y)),
    ];
    const sizes = [x, filter, dy].map(({ shape }) => shape.reduce((all, own) => all * own, 1));
    const feeds = { x: hashed(sizes[0]!, 1), f: hashed(sizes[1]!, 2), dy: hashed(sizes[2]!, 3) };
    let products = 0;
    const found = await evaluateWithProduct(outputs, feeds, (...args) => {
      products++;
      return plainProduct(...args);
    });
    const expected = evaluate(outputs, feeds);
    expect(products).toBe(geometry.groups === 20 ? 0 : 3 * 2 * geometry.groups);
    found.forEach((own, at) => {
      expect(relativeError(own, expected[at]!)).toBeLessThan(1e-12);
    });
  });
});

describe('matrix products', () => {
  it.each([
    ['single', [100, 110], [120, 110], false, true],
    ['neither transposed, of batches', [3, 100, 110], [3, 110, 120], false, false],
    ['both transposed, of batches', [2, 2, 110, 100], [2, 2, 120, 110], true, true],
    ['small, in loops', [3, 10, 11], [3, 11, 12], false, false],
  ] as const)('%s', async (name, aShape, bShape, transposeA, transposeB) => {
    const graph = new TensorGraph(foldConstant);
    const [a, b] = [graph.variable('a', aShape), graph.variable('b', bShape)];
    const y = graph.matmul(a, b, transposeA, transposeB);
    const feeds = { a: Float32Array.from(hashed(sizeOf(aShape), 1)), b: hashed(sizeOf(bShape), 2) };
    let products = 0;
    const [found] = await evaluateWithProduct([y], feeds, (...args) => {
      products++;
      return plainProduct(...args);
    });
    expect(products).toBe(name === 'small, in loops' ? 0 : sizeOf(aShape.slice(0, -2)));
    expect(relativeError(found!, evaluate([y], feeds)[0]!)).toBeLessThan(1e-12);
  });
});
