// npm run kill [-- COUNT [SEED]]: audits that are killed or interrupted at random times, then run again to their end.
import { build as bundle } from 'esbuild';
import { build, ensureInstalled, run } from './setup.mjs';

ensureInstalled();
build();
await bundle({
  entryPoints: ['test/kill/kill.ts'],
  bundle: true,
  platform: 'node',
  format: 'esm',
  outfile: 'out/kill/kill.mjs',
  external: ['onnxruntime-node'],
  logLevel: 'warning',
});
run(process.execPath, ['out/kill/kill.mjs', ...process.argv.slice(2)]);
