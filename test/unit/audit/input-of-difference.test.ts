import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runAudit } from '../../../src/audit/run-audit.js';
import { gradients } from '../../../src/graph/derivative.js';
import { evaluate, foldConstant } from '../../../src/graph/evaluate.js';
import { TensorGraph } from '../../../src/graph/tensor-graph.js';
import { recogniseNetwork } from '../../../src/network/built-in.js';
import { buildNetwork, crossEntropy } from '../../../src/network/network-graph.js';
import { NETWORKS, hashed, readTensors } from '../../networks.js';
import { type FixtureTensor, writeSafetensors } from '../../write-fixtures.js';

const folder = mkdtempSync(join(tmpdir(), 'gradleak-step-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const hooks = { progress: () => undefined, pause: () => Promise.resolve() };

/** Weights before and after one step of SGD on one image with a hard label, rounded to float32 as PyTorch does. */
function stepOf(
  network: string,
  shape: readonly number[],
  rate: number,
): { before: string; after: string; image: Float64Array } {
  const weights = readTensors(join(NETWORKS, network, 'checkpoint.pt'));
  const entries = [...weights].map(([name, own]) => ({ name, shape: own.shape }));
  const candidates = recogniseNetwork(entries, { inputShape: [...shape] });
  const { recipe } = candidates.find((own) => own.recipe.layers.some(({ op }) => op === 'sigmoid'))!;
  const graph = new TensorGraph(foldConstant);
  const net = buildNetwork(graph, recipe, (name) => weights.get(name), 1, 'eval');
  const classes = net.logits.shape[1]!;
  const label = graph.constant(
    Float64Array.from({ length: classes }, (_, index) => (index === 2 ? 1 : 0)),
    [1, classes],
  );
  const names = [...net.parameters.keys()];
  const slopes = gradients(graph, crossEntropy(graph, net.logits, label), [...net.parameters.values()]);
  const image = hashed(
    shape.reduce((all, own) => all * own, 1),
    7,
  ).map((value) => 3 * value);
  const computed = evaluate(slopes, { x: image });
  const [before, after]: Record<string, FixtureTensor>[] = [{}, {}];
  names.forEach((name, index) => {
    const own = weights.get(name)!;
    const stepped = Float32Array.from(
      own.data,
      (value, at) => value - Math.fround(rate * Math.fround(computed[index]![at]!)),
    );
    before![name] = { shape: own.shape, data: Float32Array.from(own.data) };
    after![name] = { shape: own.shape, data: stepped };
  });
  const path = (which: string): string => join(folder, `${network}-${rate}-${which}.safetensors`);
  writeSafetensors(path('before'), before!);
  writeSafetensors(path('after'), after!);
  return { before: path('before'), after: path('after'), image };
}

async function audit(network: string, inputShape: number[], rate: number) {
  const { before, after, image } = stepOf(network, inputShape, rate);
  const { report, inputs } = await runAudit(
    {
      checkpoint: before,
      gradients: after,
      method: 'auto',
      reconstruction: {
        attack: 'chain',
        preset: 'soft-label',
        engine: 'auto',
        timeLimitSeconds: 60,
        inputShape,
      },
    },
    hooks,
  );
  const found = inputs?.[0];
  const error = found
    ? Math.sqrt(found.reduce((sum, own, at) => sum + (own - image[at]!) ** 2, 0) / found.length)
    : Infinity;
  return { report, error };
}

describe('weights before and after one step', () => {
  it('give the input away as its gradient does, as far as their rounding lets them', async () => {
    const { report, error } = await audit('lenet', [3, 32, 32], 0.1);
    expect(report.update).toMatchObject({ kind: 'difference', sign: -1 });
    const own = report.samples[0]!.reconstruction!;
    expect(own.verdict).toBe('exact');
    expect(error).toBeLessThan(3 * own.expectedError!);
  });

  it('say how far a smaller step leaves it open', async () => {
    const large = await audit('mlp', [3, 8, 8], 0.1);
    const small = await audit('mlp', [3, 8, 8], 1e-4);
    const [one, other] = [large, small].map(({ report }) => report.samples[0]!.reconstruction!);
    expect(one!.verdict).toBe('exact');
    expect(small.error).toBeGreaterThan(10 * large.error);
    // What is not within what it expects of itself is not called exact.
    expect(other!.verdict !== 'exact' || small.error < 3 * other!.expectedError!).toBe(true);
    expect(other!.gradientError!).toBeGreaterThan(one!.gradientError!);
  });
});
