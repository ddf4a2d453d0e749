import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { doubleProduct } from '../../src/engine/double-product.js';
import { evaluateWithProduct } from '../../src/graph/evaluate-with-product.js';
import { foldConstant } from '../../src/graph/evaluate.js';
import { TensorGraph } from '../../src/graph/tensor-graph.js';
import type { NormMode } from '../../src/network/layers/layer-rule.js';
import type { Report } from '../../src/protocol/report.js';
import { factorise } from '../../src/recovery/cholesky.js';
import { simulatedGradients } from '../../src/recovery/matching/objective.js';
import { generator } from '../../src/recovery/paper-method.js';
import { writeSafetensors } from '../write-fixtures.js';
import { randomNetwork } from './random-network.js';

/** A ResNet-18's input: computed from its feature maps, beside gradient matching on the same dump in the same run. */

export interface ConvCost {
  readonly mode: NormMode;
  readonly attack: 'chain' | 'matching';
  readonly seconds: number;
  readonly psnr: number;
  /** Up to the input's size, where normalisation hides that. */
  readonly psnrFitted: number | undefined;
  readonly verdict: string;
}

const WIDTH = 64;
const MATCHING_SECONDS = 60;
const CLASSES = 10;

export async function convCosts(folder: string): Promise<ConvCost[]> {
  const costs: ConvCost[] = [];
  for (const mode of ['eval', 'train'] as const) {
    const dump = join(folder, `resnet18-${mode}`);
    await writeDump(dump, mode);
    for (const attack of ['chain', 'matching'] as const) {
      costs.push({ mode, attack, ...audit(dump, attack) });
    }
  }
  return costs;
}

async function writeDump(dump: string, mode: NormMode): Promise<void> {
  mkdirSync(dump);
  const graph = new TensorGraph(foldConstant);
  const random = generator(5);
  const { tensors, net } = randomNetwork({ name: 'resnet18', width: WIDTH }, graph, mode, random);
  const image = smoothImage(random);
  const labels = new Float64Array(CLASSES).fill(0.01);
  labels[3] = 0.91;
  const captured = [...net.parameters].map(([parameter, { shape }]) => ({
    parameter,
    data: new Float32Array(shape.reduce((product, own) => product * own, 1)),
  }));
  const slopes = simulatedGradients(graph, net, captured, { labels, classes: CLASSES, features: undefined, scale: 1 });
  const gradients = await evaluateWithProduct(slopes, { x: image }, await doubleProduct());
  const float32 = (data: ArrayLike<number>): Float32Array => Float32Array.from(data);
  writeSafetensors(
    join(dump, 'checkpoint.safetensors'),
    Object.fromEntries(
      [...tensors].map(([name, { shape, data }]) => [name, { shape: [...shape], data: float32(data) }]),
    ),
  );
  writeSafetensors(
    join(dump, 'gradient.safetensors'),
    Object.fromEntries(
      captured.map(({ parameter }, at) => [
        parameter,
        { shape: [...net.parameters.get(parameter)!.shape], data: float32(gradients[at]!) },
      ]),
    ),
  );
  writeSafetensors(join(dump, 'image.safetensors'), { image: { shape: [1, 3, 32, 32], data: image } });
  writeFileSync(join(dump, 'truth.json'), JSON.stringify({ labels: [[...labels]], image: 'image.safetensors' }));
}

/** A few waves in each colour, as smooth as photographs are. */
function smoothImage(random: () => number): Float64Array {
  const image = new Float64Array(3 * 32 * 32);
  for (let wave = 0; wave < 12; wave++) {
    const [down, across, phase, height] = [random() * 3, random() * 3, random() * 6, random() / (1 + wave / 4)];
    const colour = wave % 3;
    for (let at = 0; at < 32 * 32; at++) {
      const angle = (2 * Math.PI * (down * Math.floor(at / 32) + across * (at % 32))) / 32;
      image[colour * 1024 + at]! += height * Math.sin(angle + phase);
    }
  }
  return image;
}

function audit(dump: string, attack: ConvCost['attack']): Omit<ConvCost, 'mode' | 'attack'> {
  const given = ['audit', dump, '--attack', attack, '--truth', join(dump, 'truth.json'), '--format', 'json'];
  const limit = attack === 'matching' ? ['--time-limit', String(MATCHING_SECONDS)] : [];
  const { stdout, stderr } = spawnSync(process.execPath, [join('dist', 'cli.js'), ...given, ...limit], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (stdout === '') {
    throw new Error(stderr);
  }
  const found = (JSON.parse(stdout) as Report).samples[0]?.reconstruction;
  return {
    seconds: found?.seconds ?? NaN,
    psnr: found?.psnr ?? NaN,
    psnrFitted: found?.psnrFitted,
    verdict: found?.verdict ?? 'none',
  };
}

/** One line of `test/bench/conv/run_breaching.py`. */
export interface BreachingCost {
  readonly dump: string;
  readonly preset: string;
  readonly iterations: number;
  readonly seconds: number;
  readonly psnr: number;
}

export interface BesideBreaching {
  readonly ours: readonly (Omit<ConvCost, 'mode' | 'attack'> & { readonly dump: string })[];
  readonly breaching: readonly BreachingCost[];
}

/** PyTorch's dumps, by us and by breaching. @throws Error with the script's last words */
export function besideBreaching(python: string, dumps: readonly string[], iterations: number): BesideBreaching {
  const script = join('test', 'bench', 'conv', 'run_breaching.py');
  const { status, stdout, stderr } = spawnSync(python, [script, '--iterations', String(iterations), ...dumps], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(stderr);
  }
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return {
    ours: dumps.map((dump) => ({ dump: basename(dump), ...audit(dump, 'chain') })),
    breaching: lines.map((line) => JSON.parse(line) as BreachingCost),
  };
}

/** Normal equations of a layer's input and their Cholesky factor: milliseconds, best of a few. */
export async function normalEquations(
  equations: number,
  unknowns: number,
): Promise<{ ours: number; numpy: number | undefined }> {
  const product = await doubleProduct();
  const random = generator(7);
  const matrix = Float64Array.from({ length: unknowns * equations }, () => random() - 0.5);
  let ours = Infinity;
  for (let run = 0; run < 5; run++) {
    const started = performance.now();
    await factorise(await product(matrix, matrix, unknowns, unknowns, equations), unknowns, product);
    ours = Math.min(ours, performance.now() - started);
  }
  const script = `
import time, numpy as np
a = np.random.default_rng(7).random((${unknowns}, ${equations})) - 0.5
best = 1e9
for _ in range(5):
    t = time.perf_counter(); np.linalg.cholesky(a @ a.T); best = min(best, time.perf_counter() - t)
print(1000 * best)
`;
  const { status, stdout } = spawnSync(process.env.GRADLEAK_PYTHON ?? 'python3', ['-c', script], { encoding: 'utf8' });
  return { ours, numpy: status === 0 ? Number(stdout) : undefined };
}
