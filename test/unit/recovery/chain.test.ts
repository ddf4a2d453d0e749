import { describe, expect, it } from 'vitest';
import { doubleProduct } from '../../../src/engine/double-product.js';
import { convolve, convolveFilter } from '../../../src/graph/convolution.js';
import { invertActivation, isInvertible } from '../../../src/recovery/chain/activation-inverse.js';
import { factorise, plainProduct, solveLower, solveUpper } from '../../../src/recovery/cholesky.js';
import { type ConvSystem, solveConv } from '../../../src/recovery/chain/conv-system.js';
import { hashed, relativeError } from '../../networks.js';

/** The closed form's parts against closed forms of their own. */

/** A A^T + ridge, and A. */
function positive(size: number, ridge: number): Float64Array {
  const a = hashed(size * size, 3);
  const out = new Float64Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let col = 0; col < size; col++) {
      let sum = row === col ? ridge : 0;
      for (let k = 0; k < size; k++) {
        sum += a[row * size + k]! * a[col * size + k]!;
      }
      out[row * size + col] = sum;
    }
  }
  return out;
}

describe('Cholesky in blocks', () => {
  it.each([1, 5, 191, 192, 193, 500])('solves %i equations, with both products', async (size) => {
    const matrix = positive(size, 0.1);
    const x = hashed(size, 4);
    const right = Float64Array.from({ length: size }, (_, row) =>
      x.reduce((sum, value, col) => sum + matrix[row * size + col]! * value, 0),
    );
    for (const product of [plainProduct, await doubleProduct()]) {
      const factor = await factorise(matrix.slice(), size, product);
      expect(factor.deficiency).toBe(0);
      expect(relativeError(solveUpper(factor, solveLower(factor, right.slice())), x)).toBeLessThan(1e-9);
    }
  });

  it('counts directions that are not determined', async () => {
    const size = 20;
    const matrix = new Float64Array(size * size);
    const a = hashed(size * 12, 7);
    for (let row = 0; row < size; row++) {
      for (let col = 0; col < size; col++) {
        for (let k = 0; k < 12; k++) {
          matrix[row * size + col]! += a[row * 12 + k]! * a[col * 12 + k]!;
        }
      }
    }
    expect((await factorise(matrix, size, plainProduct)).deficiency).toBe(8);
  });

  it('has products of any shape', async () => {
    const native = await doubleProduct();
    for (const [rows, cols, inner] of [
      [1, 1, 1],
      [3, 5, 7],
      [6, 4, 1],
      [9, 1, 4],
    ] as const) {
      const a = hashed(rows * inner, 1);
      const b = hashed(cols * inner, 2);
      const expected = Float64Array.from({ length: rows * cols }, (_, at) => {
        let sum = 0;
        for (let k = 0; k < inner; k++) {
          sum += a[Math.floor(at / cols) * inner + k]! * b[(at % cols) * inner + k]!;
        }
        return sum;
      });
      expect(relativeError(await plainProduct(a, b, rows, cols, inner), expected)).toBeLessThan(1e-14);
      expect(relativeError(await native(a, b, rows, cols, inner), expected)).toBeLessThan(1e-14);
    }
  });
});

describe('inverted activations', () => {
  const z = hashed(200, 5).map((value) => 8 * value);
  it.each([
    [{ op: 'sigmoid' }, (x: number) => 1 / (1 + Math.exp(-x))],
    [{ op: 'tanh' }, Math.tanh],
    [{ op: 'leaky-relu', slope: 0.1 }, (x: number) => (x > 0 ? x : 0.1 * x)],
    [{ op: 'elu', alpha: 1.5 }, (x: number) => (x > 0 ? x : 1.5 * (Math.exp(x) - 1))],
    [{ op: 'identity' }, (x: number) => x],
  ] as const)('%j', (layer, phi) => {
    const found = invertActivation(layer, z.map(phi), 0);
    z.forEach((value, at) => {
      expect(found.z[at]).toBeCloseTo(value, 8);
      const step = 1e-6;
      const slope = (phi(value + step) - phi(value - step)) / (2 * step);
      expect(found.slope[at]).toBeCloseTo(slope, 5);
    });
    expect(isInvertible(layer)).toBe(true);
  });

  it('ReLU tells its positive part only', () => {
    const { z: found, slope } = invertActivation({ op: 'relu' }, Float64Array.of(2, 1e-9, 0), 1e-8);
    expect([...found]).toEqual([2, NaN, NaN]);
    expect([...slope]).toEqual([1, 0, 0]);
  });

  it('refuses what cannot be inverted', () => {
    expect(isInvertible({ op: 'gelu' })).toBe(false);
    expect(() => invertActivation({ op: 'gelu' }, Float64Array.of(1), 0)).toThrow(/"gelu" cannot be inverted/);
  });
});

describe('a convolution', () => {
  const geometry = { strides: [2, 2], pads: [2, 2, 2, 2], dilations: [1, 1], groups: 1 } as const;

  function system(weights: { forward: number; gradient: number }): { problem: ConvSystem; truth: Float64Array } {
    const inputShape = [1, 2, 12, 12];
    const filterShape = [6, 2, 5, 5];
    const outputShape = [1, 6, 6, 6];
    const truth = hashed(288, 1);
    const filter = hashed(300, 2);
    const delta = hashed(216, 3);
    return {
      truth,
      problem: {
        geometry,
        inputShape,
        filterShape,
        outputShape,
        filter,
        delta,
        forward: convolve(truth, inputShape, filter, filterShape, geometry, outputShape),
        forwardWeight: new Float64Array(216).fill(weights.forward),
        gradient: convolveFilter(truth, inputShape, delta, outputShape, geometry, filterShape),
        gradientWeight: new Float64Array(300).fill(weights.gradient),
        prior: { mean: 0, deviation: 1 },
      },
    };
  }

  it('gives back its input, with the evidence that it is determined', async () => {
    const { problem, truth } = system({ forward: 1e7, gradient: 1e7 });
    const solved = await solveConv(problem, plainProduct);
    expect(relativeError(solved.x, truth)).toBeLessThan(1e-9);
    expect(solved).toMatchObject({ unknowns: 288, equations: 516, rank: 288, converged: true });
    expect(solved.condition).toBeGreaterThan(1);
    expect(Math.max(...solved.error)).toBeLessThan(1e-5);
  });

  it('says how much is undetermined when the equations are too few', async () => {
    const { problem } = system({ forward: 1e7, gradient: 0 });
    const solved = await solveConv(problem, plainProduct);
    expect(solved.equations).toBe(216);
    expect(solved.rank).toBeLessThanOrEqual(216);
    expect(Math.max(...solved.error)).toBeGreaterThan(0.1);
  });

  it('expects the error that noise makes', async () => {
    const sigma = 1e-3;
    const { problem, truth } = system({ forward: 1 / sigma, gradient: 1 / sigma });
    const noise = (values: Float64Array, seed: number): Float64Array =>
      values.map((value, at) => value + sigma * Math.sqrt(12) * hashed(values.length, seed)[at]!);
    const solved = await solveConv(
      { ...problem, forward: noise(problem.forward, 8), gradient: noise(problem.gradient, 9) },
      plainProduct,
    );
    const rms = (values: Float64Array): number =>
      Math.sqrt(values.reduce((sum, own) => sum + own * own, 0) / values.length);
    const actual = rms(solved.x.map((value, at) => value - truth[at]!));
    expect(rms(solved.error) / actual).toBeGreaterThan(0.5);
    expect(rms(solved.error) / actual).toBeLessThan(2);
    expect(solved.residual).toBeGreaterThan(0.3);
    expect(solved.residual).toBeLessThan(1.3);
  });

  it('is refused when it is too large to factorise', async () => {
    const { problem } = system({ forward: 1, gradient: 1 });
    await expect(solveConv({ ...problem, inputShape: [1, 2, 100, 100] }, plainProduct)).rejects.toThrow(
      /20000 unknowns/,
    );
  });
});
