// A browser, and a real VS Code to test in: code-server from the npm registry, kept in a cache outside the repository.
// VS Code's own download host is not reachable everywhere; docs/architecture.md says more.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { CACHE, ensureNode, installDebian, which } from './machine.mjs';
import { run } from './setup.mjs';

/** The oldest VS Code that package.json's engines allow (1.100), and the newest that was tested; with the Node that each needs. */
export const VSCODES = {
  oldest: { codeServer: '4.100.3', node: 20 },
  newest: { codeServer: '4.139.1', node: 24 },
};

/** Path of a Chromium or Chrome, if there is one. */
export function findBrowser() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  return process.env.GRADLEAK_CHROMIUM ?? names.map(which).find(Boolean);
}

/** Path of a Chromium or Chrome. */
export function ensureBrowser() {
  if (!findBrowser()) {
    installDebian(
      ['chromium'],
      'The webview tests need Chromium; set GRADLEAK_CHROMIUM to its path if it is elsewhere.',
    );
  }
  return findBrowser();
}

/**
 * Environment for the end-to-end tests: where code-server is and which Node runs it.
 *
 * @param age a key of VSCODES
 */
export function ensureVsCode(age = 'oldest') {
  const { codeServer, node: major } = VSCODES[age];
  const folder = join(CACHE, `code-server-${codeServer}`);
  const ready = join(folder, 'ready');
  if (!which('rg')) {
    installDebian(['ripgrep'], 'VS Code finds files with ripgrep.');
  }
  const node = ensureNode(major);
  if (!existsSync(ready)) {
    console.log(`Installing code-server ${codeServer} into ${folder} (once, a minute or two)...`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"name":"vscode-for-gradleak-tests","private":true}\n');
    // Install scripts would download ripgrep and build what a test never uses, so all are skipped.
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    run('npm', ['install', `code-server@${codeServer}`, ...quiet], { cwd: folder });
    const vscode = join(folder, 'node_modules', 'code-server', 'lib', 'vscode');
    run('npm', ['install', '--omit=dev', ...quiet], { cwd: vscode });
    rmSync(join(vscode, 'node_modules.asar'), { force: true });
    symlinkSync('node_modules', join(vscode, 'node_modules.asar'));
    const ripgrep = join(vscode, 'node_modules', '@vscode', 'ripgrep');
    // Newer ones ship its binaries, in a package of another name.
    if (existsSync(ripgrep)) {
      mkdirSync(join(ripgrep, 'bin'), { recursive: true });
      rmSync(join(ripgrep, 'bin', 'rg'), { force: true });
      symlinkSync(which('rg'), join(ripgrep, 'bin', 'rg'));
    }
    ensureArgon2(folder, node);
    writeFileSync(ready, `${new Date().toISOString()}\n`);
  }
  return { GRADLEAK_CODE_SERVER: folder, GRADLEAK_CODE_SERVER_NODE: node };
}

/** code-server's command line imports argon2: newer ones have a binary in its package, of older ones its source is compiled. */
function ensureArgon2(folder, node) {
  const loads = () => spawnSync(node, ['-e', 'require("argon2")'], { cwd: folder }).status === 0;
  if (loads()) {
    return;
  }
  const missing = ['g++', 'make', 'python3'].filter((tool) => !which(tool));
  if (missing.length > 0) {
    installDebian(['g++', 'make', 'python3'], `Building code-server needs ${missing.join(', ')}.`);
  }
  const prefix = dirname(dirname(node));
  const headers = existsSync(join(prefix, 'include', 'node', 'node.h')) ? { npm_config_nodedir: prefix } : {};
  const env = {
    ...process.env,
    ...headers,
    npm_config_build_from_source: 'true',
    PATH: `${dirname(node)}${delimiter}${process.env.PATH}`,
  };
  // Run by npm, this script inherits the repository's ignore-scripts, and npm would then build nothing and say nothing.
  run('npm', ['rebuild', 'argon2', '--ignore-scripts=false', '--loglevel=error'], { cwd: folder, env });
  if (!loads()) {
    console.error('argon2 was not built, and code-server does not start without it.');
    process.exit(1);
  }
}
