// Builds everything into dist/: extension host, child process, command line and webview.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { build, context } from 'esbuild';

const watch = process.argv.includes('--watch');
const production = process.argv.includes('--production');

/** @type {import('esbuild').BuildOptions} */
const common = {
  bundle: true,
  minify: production,
  sourcemap: production ? false : 'linked',
  logLevel: 'warning',
  legalComments: 'none',
};

/** @type {import('esbuild').BuildOptions} */
const node = { ...common, platform: 'node', format: 'cjs', target: 'node20' };

const builds = [
  { ...node, entryPoints: ['src/extension/extension.ts'], outfile: 'dist/extension.js', external: ['vscode'] },
  { ...node, entryPoints: ['src/runner/runner.ts'], outfile: 'dist/runner.js' },
  { ...node, entryPoints: ['src/cli/cli.ts'], outfile: 'dist/cli.js' },
  {
    ...common,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    entryPoints: ['webview/panel.ts', 'webview/panel.css'],
    outdir: 'dist/webview',
  },
];

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist/webview', { recursive: true });
cpSync('webview/page-theme.css', 'dist/webview/page-theme.css');
if (watch) {
  const contexts = await Promise.all(builds.map((options) => context(options)));
  // .vscode/tasks.json waits for these two lines.
  console.log('build started');
  await Promise.all(contexts.map((one) => one.watch()));
  console.log('watching');
} else {
  await Promise.all(builds.map((options) => build(options)));
}
