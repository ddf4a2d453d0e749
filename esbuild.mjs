// Builds everything into dist/: extension host, child process, command line and webview.
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { build, context } from 'esbuild';

const watch = process.argv.includes('--watch');
const production = process.argv.includes('--production');

/** @type {import('esbuild').BuildOptions} */
const common = {
  bundle: true,
  minify: production,
  sourcemap: production ? false : 'linked',
  logLevel: 'warning',
  // Licences are in the notices of the package instead: see .ci/notices.mjs.
  legalComments: 'none',
  metafile: true,
};

/** @type {import('esbuild').BuildOptions} */
const node = {
  ...common,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  // Drivers of the queue and colours of its log that nobody uses here; what looks for them goes on without.
  external: ['pg', 'redis', 'bullmq-otel', 'supports-color'],
};

const builds = [
  {
    ...node,
    entryPoints: ['src/extension/extension.ts'],
    outfile: 'dist/extension.js',
    external: ['vscode', ...(node.external ?? [])],
  },
  { ...node, entryPoints: ['src/runner/runner.ts'], outfile: 'dist/runner.js' },
  { ...node, entryPoints: ['src/runner/queue-runner.ts'], outfile: 'dist/queue-runner.js' },
  { ...node, entryPoints: ['src/cli/cli.ts'], outfile: 'dist/cli.js' },
  { ...node, entryPoints: ['src/remote/s3-thread.ts'], outfile: 'dist/s3-thread.js' },
  // HDF5 carries megabytes of WebAssembly, and is written as a module.
  { ...node, format: 'esm', entryPoints: ['src/formats/hdf5-reader.ts'], outfile: 'dist/hdf5-reader.mjs' },
  { ...node, entryPoints: ['src/engine/engine-probe.ts'], outfile: 'dist/engine-probe.js' },
  {
    ...common,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    entryPoints: [
      'webview/panel.ts',
      'webview/panel.css',
      'webview/inspector.ts',
      'webview/inspector.css',
      'webview/summary.ts',
      'webview/summary.css',
    ],
    outdir: 'dist/webview',
  },
];

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist/webview', { recursive: true });
cpSync('webview/page-theme.css', 'dist/webview/page-theme.css');
// TensorFlow.js loads its WebAssembly from a folder; onnxruntime is found in node_modules or, packaged, in dist/native.
for (const name of ['', '-simd', '-threaded-simd']) {
  const file = `tfjs-backend-wasm${name}.wasm`;
  cpSync(`node_modules/@tensorflow/tfjs-backend-wasm/dist/${file}`, `dist/wasm/${file}`);
}
if (watch) {
  const contexts = await Promise.all(builds.map((options) => context(options)));
  // .vscode/tasks.json waits for these two lines.
  console.log('build started');
  await Promise.all(contexts.map((one) => one.watch()));
  console.log('watching');
} else {
  const results = await Promise.all(builds.map((options) => build(options)));
  const bundled = new Set(results.flatMap(({ metafile }) => Object.keys(metafile.inputs)));
  writeFileSync('dist/bundled.json', `${JSON.stringify([...bundled].sort(), undefined, 1)}\n`);
}
