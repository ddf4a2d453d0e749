import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Program } from '../../../src/engine/engine.js';
import { compareImages } from '../../../src/recovery/metrics.js';
import { CancelledError } from '../../../src/protocol/errors.js';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { TensorGraph } from '../../../src/graph/tensor-graph.js';
import { buildNetwork } from '../../../src/network/network-graph.js';
import { softmax } from '../../../src/recovery/activation.js';
import { matchGradients } from '../../../src/recovery/matching/match.js';
import { matchingGraph, simulatedGradients } from '../../../src/recovery/matching/objective.js';
import { type Objective, adam, lbfgs } from '../../../src/recovery/matching/optimisers.js';
import { PRESETS } from '../../../src/recovery/matching/presets.js';
import { NETWORKS, hashed } from '../../networks.js';

/** A bent valley, the same as in make_network_fixtures.py. */
const valley: Objective = (x) => {
  const [a = 0, b = 0, c = 0] = x;
  const one = b - a * a;
  const two = c * a - 0.3;
  return Promise.resolve({
    loss: 10 * one * one + (1 - a) ** 2 + two * two,
    slope: Float64Array.of(-40 * one * a - 2 * (1 - a) + 2 * two * c, 20 * one, 2 * two * a),
  });
};

describe('optimisers', () => {
  it('L-BFGS takes the course of torch.optim.LBFGS', async () => {
    const { losses, x: end } = JSON.parse(readFileSync(join(NETWORKS, 'lbfgs.json'), 'utf8')) as {
      losses: number[];
      x: number[];
    };
    const x = Float64Array.of(-1.2, 1, 0.5);
    const optimiser = lbfgs();
    for (const expected of losses) {
      const loss = await optimiser.step(x, 0.05, valley);
      // Without a line search rounding grows from step to step.
      expect(Math.abs(loss - expected)).toBeLessThan(1e-6 * expected);
    }
    end.forEach((value, at) => {
      expect(x[at]).toBeCloseTo(value, 6);
    });
  });

  it('Adam steps by the learning rate first, and finds a minimum', async () => {
    const x = Float64Array.of(-1.2, 1, 0.5);
    const optimiser = adam(3, false);
    await optimiser.step(x, 0.01, valley);
    expect(x[0]! + 1.2).toBeCloseTo(0.01, 6);
    for (let step = 0; step < 4000; step++) {
      await optimiser.step(x, 0.02, valley);
    }
    expect((await valley(x)).loss).toBeLessThan(1e-6);
  });
});

describe('matching', () => {
  /** ||x - 3||^2, with a misfit of its own. */
  const program: Program = {
    run: ({ x }) => {
      const loss = (x as Float64Array).reduce((sum, own) => sum + (own - 3) ** 2, 0);
      return Promise.resolve([
        Float32Array.of(loss),
        Float32Array.of(loss),
        Float32Array.from(x!, (own) => 2 * (own - 3)),
      ]);
    },
    dispose: () => Promise.resolve(),
  };
  const settings = { ...PRESETS['soft-label'], signed: false, iterations: 400, restarts: 3 };

  it('keeps the best restart by its misfit, and every curve falls', async () => {
    const result = await matchGradients({ program, inputSize: 4, labelSize: 0, settings }, () => Promise.resolve());
    expect(result.restarts).toHaveLength(3);
    expect(result.misfit).toBe(Math.min(...result.restarts.map(({ best }) => best)));
    for (const { curve } of result.restarts) {
      expect(curve.every(({ misfit }, at) => at === 0 || misfit <= curve[at - 1]!.misfit)).toBe(true);
    }
    result.x.forEach((value) => {
      expect(value).toBeCloseTo(3, 1);
    });
    expect(result.stopped).toBe(false);
  });

  it('stops when asked and keeps the best so far', async () => {
    let steps = 0;
    const result = await matchGradients({ program, inputSize: 4, labelSize: 0, settings }, () =>
      ++steps < 25 ? Promise.resolve() : Promise.reject(new CancelledError()),
    );
    expect(steps).toBe(25);
    expect(result.stopped).toBe(true);
    expect(Number.isFinite(result.misfit)).toBe(true);
  });

  it('starts where it is told, and survives divergence', async () => {
    const start = Float64Array.of(3, 3, 3, 3);
    const exact = await matchGradients(
      { program, inputSize: 4, labelSize: 0, settings: { ...settings, iterations: 1, restarts: 1 }, start },
      () => Promise.resolve(),
    );
    expect(exact.misfit).toBe(0);
    const wild = await matchGradients(
      {
        program,
        inputSize: 4,
        labelSize: 0,
        settings: { ...settings, optimiser: 'lbfgs', learningRate: 1e200, restarts: 1 },
      },
      () => Promise.resolve(),
    );
    expect(Number.isFinite(wild.misfit)).toBe(true);
    expect(wild.x.every(Number.isFinite)).toBe(true);
  });
});

describe('metrics', () => {
  it('are those of their definitions', () => {
    const truth = hashed(768, 1).map((value) => value + 1);
    const off = truth.map((value) => value + 0.1);
    const range = Math.max(...truth) - Math.min(...truth);
    const { mse, psnr, ssim } = compareImages(off, truth, [3, 16, 16]);
    expect(mse).toBeCloseTo(0.01, 12);
    expect(psnr).toBeCloseTo(10 * Math.log10(range ** 2 / 0.01), 9);
    expect(ssim).toBeGreaterThan(0.8);
    expect(ssim).toBeLessThan(1);
    const same = compareImages(truth, truth, [3, 16, 16]);
    expect(same.ssim).toBeCloseTo(1, 12);
    expect(same.psnr8bit).toBeCloseTo(10 * Math.log10(255 ** 2 * 768), 9);
    expect(
      compareImages(
        hashed(768, 2).map((value) => value + 1),
        truth,
        [3, 16, 16],
      ).ssim,
    ).toBeLessThan(0.2);
    expect(compareImages(truth, truth, [768]).ssim).toBeNull();
    expect(() => compareImages([1], [1, 2], [2])).toThrow(/cannot be compared/);
  });
});

describe('the loss of samples whose dloss/dlogits is known', () => {
  const [CLASSES, WIDTH] = [3, 4];
  const weight = hashed(CLASSES * WIDTH, 2);
  const x = hashed(2 * WIDTH, 3);
  const labels = Float64Array.of(1, 0, 0, 0, 0.9, 0.1);
  const graph = new TensorGraph(foldConstant);
  const recipe = { schemaVersion: 1 as const, input: [WIDTH], layers: [{ op: 'linear' as const, weight: 'w' }] };
  const network = buildNetwork(graph, recipe, () => ({ shape: [CLASSES, WIDTH], data: weight }), 2, 'eval');
  const gradientOf = (deltas: readonly ArrayLike<number>[]): Float64Array =>
    Float64Array.from({ length: CLASSES * WIDTH }, (_, at) => {
      const [k, j] = [Math.floor(at / WIDTH), at % WIDTH];
      return deltas.reduce((sum, own, b) => sum + own[k]! * x[b * WIDTH + j]!, 0);
    });
  const logits = [0, 1].map((b) =>
    Float64Array.from({ length: CLASSES }, (_, k) =>
      Array.from({ length: WIDTH }, (_, j) => weight[k * WIDTH + j]! * x[b * WIDTH + j]!).reduce(
        (sum, own) => sum + own,
        0,
      ),
    ),
  );
  /** (p - y) scale / batch, as labels have it. */
  const byLabel = logits.map((own, b) => softmax(own).map((p, k) => (1.5 * (p - labels[b * CLASSES + k]!)) / 2));
  const captured = Float64Array.of(-0.2, 0.15, 0.05);
  const known = { labels, classes: CLASSES, features: undefined, scale: 1.5 };
  const simulated = (more: object): Float64Array[] =>
    evaluate(simulatedGradients(graph, network, [{ parameter: 'w', data: weight }], { ...known, ...more }), { x });
  const expectSame = ([found]: Float64Array[], wanted: Float64Array): void => {
    wanted.forEach((own, at) => {
      expect(found![at]).toBeCloseTo(own, 12);
    });
  };

  it('follows from the labels of those of which it is not', () => {
    expectSame(simulated({}), gradientOf(byLabel));
    expectSame(simulated({ logitGradients: [undefined, undefined] }), gradientOf(byLabel));
    expectSame(simulated({ logitGradients: [captured, undefined] }), gradientOf([captured, byLabel[1]!]));
    expectSame(simulated({ logitGradients: [undefined, captured] }), gradientOf([byLabel[0]!, captured]));
    expectSame(simulated({ logitGradients: [captured, captured] }), gradientOf([captured, captured]));
  });

  it('is what matching compares with', () => {
    const data = gradientOf([captured, byLabel[1]!]);
    const misfit = (logitGradients: (Float64Array | undefined)[] | undefined): number => {
      const settings = { ...PRESETS['soft-label'], distance: 'l2' as const, terms: 'g' as const };
      const step = matchingGraph(
        graph,
        network,
        undefined,
        [{ parameter: 'w', data }],
        { ...known, logitGradients },
        settings,
        () => undefined,
      );
      return evaluate([step.misfit], { x })[0]![0]!;
    };
    expect(misfit([captured, undefined])).toBeLessThan(1e-20);
    expect(misfit(undefined)).toBeGreaterThan(1e-4);
  });
});
