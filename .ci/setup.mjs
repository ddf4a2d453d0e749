// What every script needs first: dependencies, and a build where one is asked for.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Runs a command in the repository and ends this process when it fails. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    stdio: 'inherit',
    shell: process.platform === 'win32',
    ...options,
  });
  if (result.error) {
    console.error(`${command} could not be started: ${result.error.message}`);
    process.exit(1);
  }
  if (result.status !== 0) {
    console.error(`\n${[command, ...args].join(' ')} failed with exit code ${result.status ?? result.signal}.`);
    process.exit(1);
  }
}

/** `npm ci` when node_modules is missing or older than the lock file. */
export function ensureInstalled() {
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  const fresh =
    existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs;
  if (!fresh) {
    console.log('Installing dependencies (npm ci)...');
    run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  }
}

export function build() {
  run(process.execPath, ['esbuild.mjs', '--production']);
}

/**
 * Bundles a TypeScript program and runs it.
 *
 * @param external packages that stay in node_modules
 */
export async function runProgram(entry, outfile, args, external = []) {
  // Only there once dependencies are.
  const { build: bundle } = await import('esbuild');
  await bundle({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    format: outfile.endsWith('.mjs') ? 'esm' : 'cjs',
    outfile,
    external: ['onnxruntime-node', ...external],
    logLevel: 'warning',
  });
  run(process.execPath, [outfile, ...args]);
}
