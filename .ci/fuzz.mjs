// npm run fuzz [-- MINUTES] [--seed N] [--executions N] [--from N] [--target NAME] [--replay FOLDER]: mutated files for everything that reads any.
import { existsSync } from 'node:fs';
import { build as bundle } from 'esbuild';
import { build, ensureInstalled, run } from './setup.mjs';

ensureInstalled();
// HDF5 is read by an entry of its own in dist/, found from a folder at this depth.
if (!existsSync('dist/hdf5-reader.mjs')) {
  build();
}
await bundle({
  entryPoints: ['test/fuzz/fuzz.ts'],
  bundle: true,
  platform: 'node',
  format: 'cjs',
  outfile: 'out/fuzzer/fuzz.cjs',
  external: ['onnxruntime-node', 'h5wasm'],
  logLevel: 'warning',
});
run(process.execPath, ['out/fuzzer/fuzz.cjs', ...process.argv.slice(2)]);
