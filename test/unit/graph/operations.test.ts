import { describe, expect, it } from 'vitest';
import { checkEngine } from '../../../src/engine/check.js';
import { makeEngine } from '../../../src/engine/make-engine.js';
import { ENGINES_UNDER_TEST, tfjsFolder } from '../../engines-under-test.js';
import { gradients } from '../../../src/graph/derivative.js';
import { erf } from '../../../src/graph/erf.js';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { splitHeld } from '../../../src/graph/hold.js';
import { jvp, vjp } from '../../../src/graph/jacobian.js';
import { TensorGraph, type TensorNode, needed, sizeOf, workOf } from '../../../src/graph/tensor-graph.js';
import { hashed, relativeError } from '../../networks.js';
import { FEEDS, OPERATIONS, setUp } from '../../operations.js';

/** Every operation: first and second derivatives against finite differences, and each engine against float64. */

function difference(node: TensorNode, name: 'a' | 'b', at: number): number {
  const step = 1e-5;
  const moved = (by: number): number => {
    const data = FEEDS[name].slice();
    data[at]! += by;
    return evaluate([node], { ...FEEDS, [name]: data })[0]![0]!;
  };
  return (moved(step) - moved(-step)) / (2 * step);
}

describe.each(Object.entries(OPERATIONS))('%s', (_, build) => {
  it('has the derivatives that finite differences give, twice', () => {
    const { value, mixed, first, second } = setUp(build);
    const slopes = evaluate([...first, ...second], FEEDS);
    (['a', 'b'] as const).forEach((name, index) => {
      for (const at of [0, 7, 19, 40]) {
        expect(slopes[index]![at]).toBeCloseTo(difference(value, name, at), 6);
        expect(slopes[2 + index]![at]).toBeCloseTo(difference(mixed, name, at), 5);
      }
    });
  });

  it.each(ENGINES_UNDER_TEST)('is the same on %s', async (id) => {
    const { value, first, second } = setUp(build);
    const outputs = [value, ...first, ...second];
    const expected = evaluate(outputs, FEEDS);
    const engine = await makeEngine(id, { tfjsFolder });
    const program = await engine.compile(outputs);
    const found = await program.run(FEEDS);
    expected.forEach((values, index) => {
      const size = Math.sqrt(values.reduce((sum, own) => sum + own * own, 0));
      if (size > 1e-9) {
        expect(relativeError(found[index]!, values)).toBeLessThan(2e-4);
      }
    });
    await program.dispose();
  });
});

describe.each(Object.entries(OPERATIONS))('%s', (_, build) => {
  it("has Jacobian products that are finite differences, and each other's adjoint", () => {
    const g = new TensorGraph(foldConstant);
    const a = g.variable('a', [2, 4, 5, 6]);
    const y = build(g, a, g.variable('b', [4, 2, 3, 2]));
    const v = g.variable('v', a.shape);
    const u = g.variable('u', y.shape);
    const feeds = { ...FEEDS, v: hashed(240, 11), u: hashed(sizeOf(y.shape), 12) };
    const [forward, backward] = evaluate([jvp(g, y, a, v), vjp(g, y, a, u)], feeds) as [Float64Array, Float64Array];
    const step = 1e-6;
    const moved = (by: number): Float64Array =>
      evaluate([y], { ...feeds, a: FEEDS.a.map((value, at) => value + by * feeds.v[at]!) })[0]!;
    const [above, below] = [moved(step), moved(-step)];
    forward.forEach((value, at) => {
      expect(value).toBeCloseTo((above[at]! - below[at]!) / (2 * step), 5);
    });
    const product = (one: Float64Array, other: Float64Array): number =>
      one.reduce((sum, value, at) => sum + value * other[at]!, 0);
    expect(product(feeds.u, forward)).toBeCloseTo(product(backward, feeds.v), 9);
    const held = splitHeld([jvp(g, y, a, v)], ['v']);
    const frontier = evaluate(held.frontier, feeds);
    const again = evaluate(held.outputs, {
      ...feeds,
      ...Object.fromEntries(held.names.map((name, at) => [name, frontier[at]!])),
    })[0]!;
    again.forEach((value, at) => {
      expect(value).toBeCloseTo(forward[at]!, 12);
    });
  });
});

describe('the graph', () => {
  it('knows one node for one expression, and folds constants', () => {
    const g = new TensorGraph(foldConstant);
    const x = g.variable('x', [3]);
    expect(g.add(x, g.scalar(1))).toBe(g.add(x, g.scalar(1)));
    expect(g.mul(x, g.scalar(1))).toBe(x);
    expect(g.neg(g.neg(x))).toBe(x);
    const folded = g.mul(g.scalar(3), g.add(g.scalar(1), g.scalar(1)));
    expect(folded.operation).toEqual({ kind: 'constant', data: Float64Array.of(6) });
    expect(g.reshape(g.reshape(x, [3, 1]), [3])).toBe(x);
    expect(needed([g.mul(x, g.scalar(0))]).some(({ operation }) => operation.kind === 'variable')).toBe(false);
  });

  it('never folds a parameter, which has to stay differentiable', () => {
    const g = new TensorGraph(foldConstant);
    const w = g.parameter('w', Float64Array.of(1, 2), [2]);
    const [slope] = gradients(g, g.total(g.square(w)), [w]);
    expect(evaluate([slope!], {})[0]).toEqual(Float64Array.of(2, 4));
  });

  it('counts multiplications', () => {
    const g = new TensorGraph(foldConstant);
    const x = g.variable('x', [1, 2, 8, 8]);
    const w = g.variable('w', [4, 2, 3, 3]);
    const y = g.conv(x, w, { strides: [1, 1], pads: [1, 1, 1, 1], dilations: [1, 1], groups: 1 });
    expect(workOf([y])).toBe(4 * 64 * 18);
    const heads = g.variable('h', [3, 5, 7]);
    expect(workOf([g.matmul(heads, heads, false, true)])).toBe(3 * 5 * 5 * 7);
    expect(workOf([g.matmul(heads, heads, true, false)])).toBe(3 * 7 * 7 * 5);
  });

  it('refuses what does not fit, with the shapes in the message', () => {
    const g = new TensorGraph(foldConstant);
    const x = g.variable('x', [2, 3]);
    expect(() => g.matmul(x, x)).toThrow(/\[2, 3\].*cannot be multiplied/);
    const batches = g.variable('b', [4, 3, 3]);
    expect(() => g.matmul(batches, g.variable('c', [2, 3, 3]))).toThrow(/\[4, 3, 3\].*cannot be multiplied/);
    expect(() => g.matmul(x, batches)).toThrow(/\[4, 3, 3\] cannot be multiplied/);
    expect(() => g.matmul(g.variable('v', [3]), g.variable('w', [3]))).toThrow(/\[3\] cannot be multiplied/);
    expect(() => g.reshape(x, [5])).toThrow(/\[2, 3\] cannot be reshaped to \[5\]/);
    expect(() => g.add(x, g.variable('z', [4]))).toThrow(/do not fit/);
    expect(() => g.constant(Float64Array.of(1), [2])).toThrow(/do not fill/);
    expect(() => gradients(g, x, [x])).toThrow(/scalar/);
    expect(() => evaluate([x], {})).toThrow(/"x" is of shape \[2, 3\]/);
  });

  it('has an error function of full precision', () => {
    // Abramowitz and Stegun, table 7.1
    const table: [number, number][] = [
      [0.5, 0.5204998778130465],
      [1, 0.8427007929497149],
      [2, 0.9953222650189527],
      [2.6, 0.9997639655834707],
      [4, 0.9999999845827421],
    ];
    for (const [x, expected] of table) {
      expect(erf(x)).toBeCloseTo(expected, 14);
      expect(erf(-x)).toBeCloseTo(-expected, 14);
    }
    expect(erf(7)).toBe(1);
  });
});

describe('the check of an engine', () => {
  it('passes those that compute', async () => {
    await expect(checkEngine(await makeEngine('onnxruntime-cpu'))).resolves.toBeUndefined();
  });

  it('refuses one whose numbers are wrong', async () => {
    const engine = await makeEngine('onnxruntime-cpu');
    const wrong = {
      ...engine,
      async compile(outputs: readonly TensorNode[]) {
        const program = await engine.compile(outputs);
        return {
          ...program,
          run: async (feeds: Readonly<Record<string, Float64Array>>) =>
            (await program.run(feeds)).map((data, index) => (index === 1 ? data.map((own) => 1.01 * own) : data)),
        };
      },
    };
    await expect(checkEngine(wrong)).rejects.toThrow(/wrong numbers/);
  });
});
