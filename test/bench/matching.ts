import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import type { EngineId } from '../../src/engine/engine.js';
import { makeEngine } from '../../src/engine/make-engine.js';
import { matchingOutputs } from './matching-outputs.js';
import type { RandomNetwork } from './random-network.js';

/** Milliseconds per gradient-matching step, per engine, beside PyTorch on the same machine in the same run. */

interface Network extends RandomNetwork {
  readonly steps: number;
  readonly engines: readonly (readonly [EngineId, number])[];
}

const ONNXRUNTIME = [
  ['onnxruntime-cpu', 1],
  ['onnxruntime-cpu', 2],
] as const;
const NETWORKS: readonly Network[] = [
  { name: 'lenet', width: 12, steps: 60, engines: [...ONNXRUNTIME, ['tfjs-wasm', 1], ['tfjs-cpu', 1]] },
  { name: 'resnet18', width: 16, steps: 10, engines: [...ONNXRUNTIME, ['tfjs-wasm', 1]] },
  { name: 'resnet18', width: 64, steps: 4, engines: ONNXRUNTIME },
];
/** Engines take turns, so that a busy moment of the machine does not fall on one of them. */
const ROUNDS = 5;

export class Torch {
  private readonly lines: AsyncIterator<string>;

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** Undefined without a Python that has PyTorch; GRADLEAK_PYTHON names another than python3. */
  static async start(): Promise<{ torch: Torch; version: string } | undefined> {
    const child = spawn(process.env.GRADLEAK_PYTHON ?? 'python3', [join('test', 'bench', 'torch_step.py')]);
    child.on('error', () => undefined);
    child.stdin.on('error', () => undefined);
    const torch = new Torch(child);
    const first = await torch.lines.next();
    return first.done === true ? undefined : { torch, version: first.value };
  }

  async measure({ name, width, steps }: RandomNetwork & { readonly steps: number }, threads: number): Promise<number> {
    this.child.stdin.write(`${name} ${width} ${threads} ${steps}\n`);
    return Number((await this.lines.next()).value);
  }

  stop(): void {
    this.child.stdin.end();
  }
}

export interface MatchingRow {
  readonly network: string;
  readonly engine: string;
  readonly threads: number;
  readonly compileMs: number;
  readonly stepMs: number;
  /** Against PyTorch with its better number of threads. */
  readonly ratio: number | undefined;
}

/** @returns PyTorch's version, undefined without it, and one row per engine */
export async function benchMatching(): Promise<{ version: string | undefined; rows: MatchingRow[] }> {
  const python = await Torch.start();
  const rows: MatchingRow[] = [];
  for (const network of NETWORKS) {
    const outputs = matchingOutputs(network);
    const x = Float32Array.from({ length: 3072 }, (_, at) => Math.sin(at));
    const contestants = [];
    for (const [id, threads] of network.engines) {
      const engine = await makeEngine(id, { threads });
      const started = performance.now();
      const program = await engine.compile(outputs);
      await program.run({ x });
      contestants.push({ id, threads, program, compileMs: performance.now() - started, times: [] as number[] });
    }
    const torch: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      for (const { program, times } of contestants) {
        const own: number[] = [];
        for (let step = 0; step < network.steps; step++) {
          const started = performance.now();
          await program.run({ x });
          own.push(performance.now() - started);
        }
        times.push(own.sort((one, other) => one - other)[Math.floor(own.length / 2)] ?? NaN);
      }
      if (python) {
        torch[0].push(await python.torch.measure(network, 1));
        torch[1].push(await python.torch.measure(network, 2));
      }
    }
    const best = Math.min(...torch.flat());
    const label = `${network.name}${network.name === 'lenet' ? ', L2' : `, width ${network.width}, cosine`}`;
    for (const { id, threads, program, compileMs, times } of contestants) {
      const stepMs = Math.min(...times);
      rows.push({ network: label, engine: id, threads, compileMs, stepMs, ratio: python && stepMs / best });
      await program.dispose();
    }
    torch.forEach((times, index) => {
      if (python) {
        rows.push({
          network: label,
          engine: 'PyTorch',
          threads: index + 1,
          compileMs: 0,
          stepMs: Math.min(...times),
          ratio: Math.min(...times) / best,
        });
      }
    });
  }
  python?.torch.stop();
  return { version: python?.version, rows };
}
