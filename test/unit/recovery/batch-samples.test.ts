import { describe, expect, it } from 'vitest';
import type { Recipe } from '../../../src/network/layers/recipe.js';
import type { StoredTensor } from '../../../src/network/network-graph.js';
import { softmax } from '../../../src/recovery/activation.js';
import { fillJacobian } from '../../../src/recovery/batch/refine.js';
import { type Candidate, type SampleProblem, evaluate } from '../../../src/recovery/batch/sample-problem.js';
import { walkLinearBatch } from '../../../src/recovery/chain/linear-batch.js';
import { gaussian } from '../../../src/recovery/gaussian.js';
import { generator } from '../../../src/recovery/paper-method.js';

const random = generator(11);
const normals = (length: number, scale = 1): Float64Array =>
  Float64Array.from({ length }, () => scale * gaussian(random));

describe('the equations of one sample', () => {
  it('have the Jacobian that finite differences give', () => {
    const [classes, rank] = [9, 3];
    const problem: SampleProblem = {
      classes,
      rank,
      rowError: normals(classes).map((value) => 0.1 + Math.abs(value)),
      left: normals(classes * rank),
      values: normals(rank).map(Math.abs),
      logits: normals(classes * rank),
      offset: normals(classes),
      sigma: 1,
      distance: new Float64Array(classes).fill(1),
      leverage: new Float64Array(classes).fill(1),
      basis: undefined,
    };
    const at: Candidate = { q: normals(rank), classes: [2, 5], weights: Float64Array.of(0.6, 0.3), flat: 0.01 };
    const jacobian = new Float64Array(classes * (rank + 3));
    const unknowns = fillJacobian(problem, evaluate(problem, at), true, jacobian);
    expect(unknowns).toBe(rank + 3);
    const step = 1e-6;
    const moved = (unknown: number, by: number): Float64Array => {
      const q = at.q.slice();
      const weights = at.weights.slice();
      let { flat } = at;
      if (unknown < rank) {
        q[unknown]! += by;
      } else if (unknown < rank + 2) {
        weights[unknown - rank]! += by;
      } else {
        flat += by;
      }
      return evaluate(problem, { ...at, q, weights, flat }).e;
    };
    for (let unknown = 0; unknown < unknowns; unknown++) {
      const [up, down] = [moved(unknown, step), moved(unknown, -step)];
      for (let row = 0; row < classes; row++) {
        expect(jacobian[row * unknowns + unknown]).toBeCloseTo((up[row]! - down[row]!) / (2 * step), 5);
      }
    }
  });
});

interface Net {
  readonly recipe: Recipe;
  readonly parameters: Map<string, StoredTensor>;
  readonly gradients: Map<string, StoredTensor>;
  readonly inputs: Float64Array[];
  readonly samples: {
    feature: Float64Array;
    errorVector: Float64Array;
    label: Float64Array;
    coefficient: number;
  }[];
}

/** A fully connected network and its gradient over a batch, written down by hand; gradients rounded to float32. */
function network(batch: number, op: 'relu' | 'tanh'): Net {
  const widths = [40, 30, 24, 12];
  const parameters = new Map<string, StoredTensor>();
  const gradients = new Map<string, StoredTensor>();
  for (let at = 0; at < 3; at++) {
    const [from, to] = [widths[at]!, widths[at + 1]!];
    parameters.set(`fc${at}.weight`, { shape: [to, from], data: normals(from * to, 1 / Math.sqrt(from)) });
    parameters.set(`fc${at}.bias`, { shape: [to], data: normals(to, 0.1) });
    gradients.set(`fc${at}.weight`, { shape: [to, from], data: new Float64Array(from * to) });
  }
  const act = (z: number): number => (op === 'relu' ? Math.max(z, 0) : Math.tanh(z));
  const slope = (a: number): number => (op === 'relu' ? Number(a > 0) : 1 - a * a);
  const inputs = Array.from({ length: batch }, () => normals(40));
  const samples = inputs.map((input, sample) => {
    const values = [input];
    for (let at = 0; at < 3; at++) {
      const { data } = parameters.get(`fc${at}.weight`)!;
      const bias = parameters.get(`fc${at}.bias`)!.data;
      const from = values[at]!;
      const z = Float64Array.from({ length: widths[at + 1]! }, (_, row) =>
        from.reduce((sum, value, col) => sum + value * data[row * from.length + col]!, bias[row]!),
      );
      values.push(at < 2 ? z.map(act) : z);
    }
    const label = new Float64Array(12);
    label[sample % 12] = 1;
    const errorVector = softmax(values[3]!).map((p, row) => p - label[row]!);
    let delta = errorVector.map((value) => value / batch);
    for (let at = 2; at >= 0; at--) {
      const from = values[at]!;
      const { data } = gradients.get(`fc${at}.weight`)!;
      const weights = parameters.get(`fc${at}.weight`)!.data;
      const below = new Float64Array(from.length);
      delta.forEach((own, row) => {
        from.forEach((value, col) => {
          (data as Float64Array)[row * from.length + col]! += own * value;
          below[col]! += own * weights[row * from.length + col]!;
        });
      });
      delta = below.map((value, col) => value * (at > 0 ? slope(from[col]!) : 1));
    }
    return { feature: values[2]!, errorVector, label, coefficient: 1 / batch };
  });
  for (const { data } of gradients.values()) {
    (data as Float64Array).set(Float32Array.from(data));
  }
  const layer = (at: number) => ({ op: 'linear' as const, weight: `fc${at}.weight`, bias: `fc${at}.bias` });
  const recipe: Recipe = { schemaVersion: 1, input: [40], layers: [layer(0), { op }, layer(1), { op }, layer(2)] };
  return { recipe, parameters, gradients, inputs, samples };
}

describe('a whole batch down a fully connected network', () => {
  const shapes = [[40], [30], [30], [24], [24]];
  const walk = (net: Net, more: Partial<Net> = {}) =>
    walkLinearBatch(
      {
        recipe: net.recipe,
        head: 4,
        inputShapes: shapes,
        parameter: (name) => net.parameters.get(name),
        gradient: (name) => net.gradients.get(name),
        samples: more.samples ?? net.samples,
        roundoff: 2 ** -24,
        noise: 0,
      },
      () => Promise.resolve(),
    );
  const worst = (found: readonly Float64Array[], net: Net): number =>
    Math.max(...found.map((own, at) => Math.max(...own.map((value, col) => Math.abs(value - net.inputs[at]![col]!)))));

  it.each([
    [1, 'relu'],
    [4, 'relu'],
    [8, 'relu'],
    [8, 'tanh'],
  ] as const)('gives back all %i inputs (%s)', async (batch, op) => {
    const net = network(batch, op);
    const { inputs, gradientError, stopped } = await walk(net);
    expect(stopped).toBeUndefined();
    expect(gradientError).toBeLessThan(1e-6);
    expect(worst(inputs!, net)).toBeLessThan(2e-4);
  });

  it('sharpens features that are only roughly known', async () => {
    const net = network(4, 'tanh');
    const samples = net.samples.map((sample) => ({
      ...sample,
      feature: sample.feature.map((value) => value * (1 + 1e-4 * gaussian(random))),
    }));
    const { inputs, gradientError } = await walk(net, { samples });
    expect(gradientError).toBeLessThan(1e-5);
    expect(worst(inputs!, net)).toBeLessThan(5e-3);
  });

  it('says where it ends when a layer is no fully connected one', async () => {
    const net = network(2, 'relu');
    const layers = net.recipe.layers.map((layer, at) => (at === 1 ? { op: 'gelu' as const } : layer));
    const { inputs, stopped } = await walk({ ...net, recipe: { ...net.recipe, layers } });
    expect(inputs).toBeUndefined();
    expect(stopped).toMatch(/gelu/);
  });
});
