// npm run bench: the figures of docs/benchmarks.md, each as a ratio or beside a reference of the same run.
import { build as bundle } from 'esbuild';
import { build, ensureInstalled, run } from './setup.mjs';

ensureInstalled();
build();
await bundle({
  entryPoints: ['test/bench/bench.ts'],
  bundle: true,
  platform: 'node',
  format: 'cjs',
  outfile: 'out/bench.cjs',
  external: ['onnxruntime-node', 'playwright-core'],
  logLevel: 'warning',
});
run(process.execPath, ['out/bench.cjs', ...process.argv.slice(2)]);
