// npm run bench: the figures of docs/benchmarks.md, each as a ratio or beside a reference of the same run.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, build, ensureInstalled, run, runProgram } from './setup.mjs';

const STEP = "export * from './test/bench/matching-outputs.js';";
const SOLVER =
  "export { recoverBatch } from './src/recovery/batch/recover-batch.js';" +
  "export { whiten } from './src/recovery/batch/whiten.js';";

ensureInstalled();
const [what, ...rest] = process.argv.slice(2);
if (what === 'batch-solver' || what === 'batch-outcomes' || what === 'matching-step') {
  await besideCommit(what, rest);
} else {
  build();
  await runProgram('test/bench/bench.ts', 'out/bench.cjs', process.argv.slice(2), [
    'playwright-core',
    'pg',
    'redis',
    'bullmq-otel',
  ]);
}

/** The solver of batches, or a matching step, beside that of another commit, in one process: `--against COMMIT`, and what to leave out. */
async function besideCommit(program, args) {
  const at = args.indexOf('--against');
  const commit = args[at + 1];
  if (at < 0 || commit === undefined) {
    console.error(`npm run bench -- ${program} needs --against COMMIT, the commit to compare with.`);
    process.exit(1);
  }
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-against-'));
  try {
    const archive = join(folder, 'src.tar');
    run('git', ['archive', '--format=tar', `--output=${archive}`, commit, 'src']);
    run('tar', ['-xf', archive, '-C', folder]);
    if (program === 'matching-step') {
      mkdirSync(join(folder, 'test', 'bench'), { recursive: true });
      for (const file of ['matching-outputs.ts', 'random-network.ts']) {
        copyFileSync(join(ROOT, 'test', 'bench', file), join(folder, 'test', 'bench', file));
      }
      await bundleFrom(folder, STEP, 'out/matching-against.cjs');
      await bundleFrom(ROOT, STEP, 'out/matching-here.cjs');
    } else {
      await bundleFrom(folder, SOLVER, 'out/solver-against.mjs');
      await bundleFrom(ROOT, SOLVER, 'out/solver-here.mjs');
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const others = args.filter((_, index) => index !== at && index !== at + 1);
  const source = program === 'matching-step' ? program : 'batch-solver';
  await runProgram(`test/bench/${source}.ts`, `out/${source}.cjs`, [program, commit, ...others]);
}

/** @param root whose sources are taken: this checkout's or another commit's, which has no dependencies of its own */
async function bundleFrom(root, contents, outfile) {
  // Only there once dependencies are.
  const { build: bundle } = await import('esbuild');
  await bundle({
    stdin: { contents, resolveDir: root },
    bundle: true,
    platform: 'node',
    format: outfile.endsWith('.mjs') ? 'esm' : 'cjs',
    external: ['onnxruntime-node', '@tensorflow/*'],
    nodePaths: [join(ROOT, 'node_modules')],
    outfile,
    logLevel: 'warning',
  });
}
