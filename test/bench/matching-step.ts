import { resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import type * as Outputs from './matching-outputs.js';
import { Torch } from './matching.js';
import type { RandomNetwork } from './random-network.js';
import { head, row } from './tables.js';

/** A gradient matching step beside another commit's and PyTorch's, taking turns. Run by "npm run bench". */

const NETWORKS: readonly (RandomNetwork & { readonly steps: number })[] = [
  { name: 'lenet', width: 12, steps: 60 },
  { name: 'resnet18', width: 16, steps: 10 },
  { name: 'resnet18', width: 64, steps: 3 },
];
const ROUNDS = 8;

async function main(): Promise<void> {
  const [, commit = '', count = '2'] = process.argv.slice(2);
  const threads = Number(count);
  const load = (name: string): Promise<typeof Outputs> =>
    import(pathToFileURL(resolve('out', `matching-${name}.cjs`)).href) as Promise<typeof Outputs>;
  const [there, here] = [await load('against'), await load('here')];
  const python = await Torch.start();
  head(
    `A gradient matching step with ${threads} thread(s): least of ${ROUNDS} medians, milliseconds, PyTorch ${python?.version ?? 'not installed'}`,
    'network',
    commit,
    'here',
    'PyTorch',
    `${commit} / PyTorch`,
    'here / PyTorch',
    `here / ${commit}`,
  );
  const x = Float32Array.from({ length: 3072 }, (_, at) => Math.sin(at));
  for (const network of NETWORKS) {
    const programs = [];
    for (const { makeEngine, matchingOutputs } of [there, here]) {
      const engine = await makeEngine('onnxruntime-cpu', { threads });
      programs.push(await engine.compile(matchingOutputs(network)));
    }
    const least = [Infinity, Infinity, Infinity];
    for (let round = 0; round < ROUNDS; round++) {
      for (const [which, program] of programs.entries()) {
        const times: number[] = [];
        for (let step = 0; step < network.steps; step++) {
          const started = performance.now();
          await program.run({ x });
          times.push(performance.now() - started);
        }
        times.sort((one, other) => one - other);
        least[which] = Math.min(least[which]!, times[times.length >> 1]!);
      }
      least[2] = python ? Math.min(least[2]!, await python.torch.measure(network, threads)) : NaN;
    }
    const [before, after, torch] = least as [number, number, number];
    row(
      network.name === 'lenet' ? 'lenet, L2' : `resnet18, width ${network.width}, cosine`,
      before.toFixed(2),
      after.toFixed(2),
      torch.toFixed(2),
      (before / torch).toFixed(2),
      (after / torch).toFixed(2),
      (after / before).toFixed(2),
    );
    await Promise.all(programs.map((program) => program.dispose()));
  }
  python?.torch.stop();
}

void main();
