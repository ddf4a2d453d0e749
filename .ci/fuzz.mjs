// npm run fuzz [-- MINUTES] [--seed N] [--executions N] [--from N] [--target NAME] [--replay FOLDER]: mutated files for everything that reads any.
import { build as bundle } from 'esbuild';
import { ensureInstalled, run } from './setup.mjs';

ensureInstalled();
await bundle({
  entryPoints: ['test/fuzz/fuzz.ts'],
  bundle: true,
  platform: 'node',
  format: 'cjs',
  outfile: 'out/fuzz.cjs',
  external: ['onnxruntime-node', 'h5wasm'],
  logLevel: 'warning',
});
run(process.execPath, ['out/fuzz.cjs', ...process.argv.slice(2)]);
