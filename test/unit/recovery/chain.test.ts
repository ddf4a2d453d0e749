import { describe, expect, it } from 'vitest';
import { doubleProduct } from '../../../src/engine/double-product.js';
import { convolve, convolveFilter } from '../../../src/graph/convolution.js';
import type { StoredTensor } from '../../../src/network/network-graph.js';
import type { Recipe } from '../../../src/network/layers/recipe.js';
import { invertActivation, isInvertible } from '../../../src/recovery/chain/activation-inverse.js';
import { softmax } from '../../../src/recovery/activation.js';
import { walkChain } from '../../../src/recovery/chain/chain.js';
import type { ChainProblem } from '../../../src/recovery/chain/chain-state.js';
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

describe('the walk from the head down', () => {
  interface Case {
    readonly problem: ChainProblem;
    readonly truth: Float64Array;
    readonly parameters: Map<string, StoredTensor>;
    readonly gradients: Map<string, StoredTensor>;
  }

  /** W h + b, W rows x h.length. */
  const affine = (weight: Float64Array, bias: Float64Array, h: Float64Array): Float64Array =>
    bias.map((own, row) => h.reduce((sum, value, col) => sum + weight[row * h.length + col]! * value, own));
  /** W^T d, W d.length x width. */
  const pulledBack = (weight: Float64Array, d: Float64Array, width: number): Float64Array =>
    Float64Array.from({ length: width }, (_, col) =>
      d.reduce((sum, value, row) => sum + weight[row * width + col]! * value, 0),
    );
  const outer = (d: Float64Array, h: Float64Array): Float64Array =>
    Float64Array.from({ length: d.length * h.length }, (_, at) => d[Math.floor(at / h.length)]! * h[at % h.length]!);
  const tensor = (data: Float64Array, ...shape: number[]): StoredTensor => ({ shape, data });

  /** A first layer, tanh, and a head of 4 classes; `first` gives z and dL/dW of the layer. */
  function under(
    recipe: Recipe,
    truth: Float64Array,
    hidden: Float64Array,
    first: (delta: Float64Array) => {
      weight: StoredTensor;
      bias: StoredTensor;
      dWeight: StoredTensor;
      dBias: StoredTensor;
    },
  ): Case {
    const [classes, width] = [4, hidden.length];
    const feature = hidden.map(Math.tanh);
    const weight = hashed(classes * width, 31);
    const bias = hashed(classes, 32);
    const delta = softmax(affine(weight, bias, feature)).map((p, row) => p - Number(row === 1));
    const below = pulledBack(weight, delta, width).map((own, at) => own * (1 - feature[at]! ** 2));
    const own = first(below);
    const parameters = new Map([
      ['first.weight', own.weight],
      ['first.bias', own.bias],
      ['head.weight', tensor(weight, classes, width)],
      ['head.bias', tensor(bias, classes)],
    ]);
    const gradients = new Map([
      ['first.weight', own.dWeight],
      ['first.bias', own.dBias],
      ['head.weight', tensor(outer(delta, feature), classes, width)],
      ['head.bias', tensor(delta, classes)],
    ]);
    const head = recipe.layers.length - 1;
    const shapes = recipe.layers.map(({ op }) => (op === 'conv' ? [3, 4, 4] : [width]));
    return {
      truth,
      parameters,
      gradients,
      problem: {
        recipe,
        head,
        outputShapes: shapes,
        parameter: (name) => parameters.get(name),
        gradient: (name) => gradients.get(name),
        solution: {
          feature,
          featureError: feature.map(() => 1e-12),
          delta,
          deltaError: delta.map(() => 1e-14),
          scaleError: 0,
        },
        precision: { forward: 2 ** -53, stored: 2 ** -53, noise: 0 },
      },
    };
  }

  const HEAD = { op: 'linear', weight: 'head.weight', bias: 'head.bias' } as const;

  function twoLinear(): Case {
    const [inputs, width] = [7, 5];
    const truth = hashed(inputs, 21);
    const weight = hashed(width * inputs, 22);
    const bias = hashed(width, 23);
    const recipe: Recipe = {
      schemaVersion: 1,
      input: [inputs],
      layers: [{ op: 'linear', weight: 'first.weight', bias: 'first.bias' }, { op: 'tanh' }, HEAD],
    };
    return under(recipe, truth, affine(weight, bias, truth), (delta) => ({
      weight: tensor(weight, width, inputs),
      bias: tensor(bias, width),
      dWeight: tensor(outer(delta, truth), width, inputs),
      dBias: tensor(delta, width),
    }));
  }

  /** 3 filters of 3 x 3 over one channel of 6 x 6, without padding: written out as sums, not with the code under test. */
  function oneConvolution(): Case {
    const [filters, kernel, side, out] = [3, 3, 6, 4];
    const truth = hashed(side * side, 24);
    const filter = hashed(filters * kernel * kernel, 25);
    const bias = hashed(filters, 26);
    const windows = (visit: (filter: number, position: number, entry: number, pixel: number) => void): void => {
      for (let at = 0; at < filters * out * out * kernel * kernel; at++) {
        const [o, position, entry] = [
          Math.floor(at / (out * out * kernel * kernel)),
          Math.floor(at / (kernel * kernel)) % (out * out),
          at % (kernel * kernel),
        ];
        const row = Math.floor(position / out) + Math.floor(entry / kernel);
        visit(o, position, entry, row * side + (position % out) + (entry % kernel));
      }
    };
    const z = Float64Array.from({ length: filters * out * out }, (_, at) => bias[Math.floor(at / (out * out))]!);
    windows((o, position, entry, pixel) => {
      z[o * out * out + position]! += filter[o * kernel * kernel + entry]! * truth[pixel]!;
    });
    const recipe: Recipe = {
      schemaVersion: 1,
      input: [1, side, side],
      layers: [{ op: 'conv', weight: 'first.weight', bias: 'first.bias' }, { op: 'tanh' }, { op: 'flatten' }, HEAD],
    };
    return under(recipe, truth, z, (delta) => {
      const dWeight = new Float64Array(filter.length);
      const dBias = new Float64Array(filters);
      windows((o, position, entry, pixel) => {
        dWeight[o * kernel * kernel + entry]! += delta[o * out * out + position]! * truth[pixel]!;
      });
      delta.forEach((own, at) => (dBias[Math.floor(at / (out * out))]! += own));
      return {
        weight: tensor(filter, filters, 1, kernel, kernel),
        bias: tensor(bias, filters),
        dWeight: tensor(dWeight, filters, 1, kernel, kernel),
        dBias: tensor(dBias, filters),
      };
    });
  }

  const walk = (problem: ChainProblem) => walkChain(problem, plainProduct, () => Promise.resolve());

  /** The first layer's or the head's weight with one entry changed. */
  function spoilt(own: Case, name: string): Case {
    const { shape, data } = own.parameters.get(name)!;
    own.parameters.set(name, { shape, data: Float64Array.from(data, (value, at) => (at === 3 ? value + 0.5 : value)) });
    return own;
  }

  it('gives the input of two linear layers, and says what each equation left', async () => {
    const { problem, truth } = twoLinear();
    const { input, inputError, layers, stopped } = await walk(problem);
    expect(stopped).toBeUndefined();
    expect(relativeError(input!, truth)).toBeLessThan(1e-12);
    expect(inputError).toBeLessThan(1e-10);
    expect(layers).toHaveLength(1);
    expect(layers[0]).toMatchObject({ layer: 'first.weight', op: 'linear', unknowns: 7, equations: 35, rank: 7 });
    expect(layers[0]!.residual).toBeLessThan(1e-12);
    expect(layers[0]!.biasMisfit).toBeLessThan(1e-10);
  });

  it('gives the input of a convolution, and says what its equations left', async () => {
    const { problem, truth } = oneConvolution();
    const { input, inputError, layers, stopped } = await walk(problem);
    expect(stopped).toBeUndefined();
    expect(relativeError(input!, truth)).toBeLessThan(1e-8);
    expect(inputError).toBeLessThan(1e-8);
    expect(layers).toHaveLength(1);
    expect(layers[0]).toMatchObject({ layer: 'first.weight', op: 'conv', unknowns: 36, equations: 75, rank: 36 });
    expect(layers[0]!.residual).toBeLessThan(1e-8);
    expect(layers[0]!.biasMisfit).toBeLessThan(1e-10);
  });

  it('is told by the linear residual that the head has another weight', async () => {
    const own = spoilt(twoLinear(), 'head.weight');
    // With its bias gradient the layer does not need the head.
    const withBias = await walk(own.problem);
    expect(withBias.layers[0]!.residual).toBeLessThan(1e-12);
    expect(withBias.layers[0]!.biasMisfit).toBeGreaterThan(0.05);
    own.gradients.delete('first.bias');
    const { layers, input } = await walk(own.problem);
    expect(layers[0]!.biasMisfit).toBeNull();
    expect(layers[0]!.residual).toBeGreaterThan(0.05);
    expect(input === undefined ? 1 : relativeError(input, own.truth)).toBeGreaterThan(0.01);
  });

  it.each(['first.weight', 'head.weight'])("is told by the convolution's residual that %s is another", async (name) => {
    const { layers } = await walk(spoilt(oneConvolution(), name).problem);
    expect(layers[0]!.residual).toBeGreaterThan(0.01);
  });

  it('finds the scale that the head leaves open by the first bias gradient', async () => {
    const { problem, truth } = oneConvolution();
    const { feature, delta } = problem.solution;
    const off = 1 + 1e-3;
    const scaledBy = (scaleError: number): ChainProblem => ({
      ...problem,
      solution: {
        ...problem.solution,
        feature: feature.map((value) => value * off),
        delta: delta.map((value) => value / off),
        scaleError,
      },
    });
    const told = await walk(scaledBy(1e-3));
    const untold = await walk(scaledBy(0));
    expect(relativeError(told.input!, truth)).toBeLessThan(1e-5);
    expect(untold.layers[0]!.biasMisfit).toBeGreaterThan(50 * told.layers[0]!.biasMisfit!);
  });

  it('goes on below what cannot be inverted where a layer tells its input by itself', async () => {
    const { problem, truth, gradients } = twoLinear();
    const layers = problem.recipe.layers.map((layer, at) => (at === 1 ? { op: 'gelu' as const } : layer));
    const through = { ...problem, recipe: { ...problem.recipe, layers } };
    expect(relativeError((await walk(through)).input!, truth)).toBeLessThan(1e-12);
    gradients.delete('first.bias');
    const { input, stopped } = await walk(through);
    expect(input).toBeUndefined();
    expect(stopped).toMatch(/not invertible/);
  });

  it('says which gradient it lacks, and ends with the error of the hook', async () => {
    const { problem, gradients } = oneConvolution();
    const layer = () => Promise.reject(new Error('cancelled'));
    await expect(walkChain(problem, plainProduct, layer)).rejects.toThrow('cancelled');
    gradients.delete('first.weight');
    expect((await walk(problem)).stopped).toMatch(/no gradient of "first.weight"/);
  });
});
