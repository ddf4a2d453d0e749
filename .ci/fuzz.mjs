// npm run fuzz [-- MINUTES] [--seed N] [--executions N] [--from N] [--target NAME] [--replay FOLDER]: mutated files for everything that reads any.
import { existsSync } from 'node:fs';
import { build, ensureInstalled, runProgram } from './setup.mjs';

ensureInstalled();
// HDF5 is read by an entry of its own in dist/, found from a folder at this depth.
if (!existsSync('dist/hdf5-reader.mjs')) {
  build();
}
await runProgram('test/fuzz/fuzz.ts', 'out/fuzzer/fuzz.cjs', process.argv.slice(2), ['h5wasm']);
