// A browser, and a real VS Code to test in: code-server from the npm registry, kept in a cache outside the repository.
// VS Code's own download host is not reachable everywhere; docs/architecture.md says more.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from './setup.mjs';

/** The oldest VS Code that package.json's engines allow (1.100), and the Node it needs. */
const CODE_SERVER = '4.100.3';
const CODE_SERVER_NODE = 20;

const cache =
  process.env.GRADLEAK_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'gradleak-tests');

function which(name) {
  const result = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

function installDebian(packages, why) {
  const isRoot = process.getuid?.() === 0;
  if (!which('apt-get') || !isRoot) {
    console.error(`${why} Install it (Debian: apt-get install ${packages.join(' ')}) and run npm test again.`);
    process.exit(1);
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env });
}

/** Path of a Chromium or Chrome. */
export function ensureBrowser() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  const find = () => process.env.GRADLEAK_CHROMIUM ?? names.map(which).find(Boolean);
  if (!find()) {
    installDebian(
      ['chromium'],
      'The webview tests need Chromium; set GRADLEAK_CHROMIUM to its path if it is elsewhere.',
    );
  }
  return find();
}

/** Environment for the end-to-end tests: where code-server is and which Node runs it. */
export function ensureVsCode() {
  const folder = join(cache, `code-server-${CODE_SERVER}`);
  const ready = join(folder, 'ready');
  if (!which('rg')) {
    installDebian(['ripgrep'], 'VS Code finds files with ripgrep.');
  }
  const node = ensureNode();
  if (!existsSync(ready)) {
    console.log(`Installing code-server ${CODE_SERVER} into ${folder} (once, a minute or two)...`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"name":"vscode-for-gradleak-tests","private":true}\n');
    // Install scripts would download ripgrep and build what a test never uses, so all are skipped.
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    run('npm', ['install', `code-server@${CODE_SERVER}`, ...quiet], { cwd: folder });
    const vscode = join(folder, 'node_modules', 'code-server', 'lib', 'vscode');
    run('npm', ['install', '--omit=dev', ...quiet], { cwd: vscode });
    rmSync(join(vscode, 'node_modules.asar'), { force: true });
    symlinkSync('node_modules', join(vscode, 'node_modules.asar'));
    const ripgrep = join(vscode, 'node_modules', '@vscode', 'ripgrep');
    if (existsSync(ripgrep)) {
      mkdirSync(join(ripgrep, 'bin'), { recursive: true });
      rmSync(join(ripgrep, 'bin', 'rg'), { force: true });
      symlinkSync(which('rg'), join(ripgrep, 'bin', 'rg'));
    }
    buildArgon2(folder, node);
    writeFileSync(ready, `${new Date().toISOString()}\n`);
  }
  return { GRADLEAK_CODE_SERVER: folder, GRADLEAK_CODE_SERVER_NODE: node };
}

/** code-server's command line imports argon2, which is compiled from the source in its package. */
function buildArgon2(folder, node) {
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
    PATH: `${dirname(node)}:${process.env.PATH}`,
  };
  // Run by npm, this script inherits the repository's ignore-scripts, and npm would then build nothing and say nothing.
  run('npm', ['rebuild', 'argon2', '--ignore-scripts=false', '--loglevel=error'], { cwd: folder, env });
  if (!existsSync(join(folder, 'node_modules', 'argon2', 'lib', 'binding'))) {
    console.error('argon2 was not built, and code-server does not start without it.');
    process.exit(1);
  }
}

function ensureNode() {
  if (Number(process.versions.node.split('.')[0]) === CODE_SERVER_NODE) {
    return process.execPath;
  }
  const folder = join(cache, `node-${CODE_SERVER_NODE}`);
  const find = () => {
    const modules = join(folder, 'node_modules');
    const platform = existsSync(modules) ? readdirSync(modules).find((name) => name.startsWith('node-')) : undefined;
    return platform && join(modules, platform, 'bin', 'node');
  };
  if (!find()) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"name":"node-for-gradleak-tests","private":true}\n');
    // The package "node" picks its platform's binary in an install script; the platform packages hold it directly.
    run(
      'npm',
      [
        'install',
        `node-${process.platform}-${process.arch}@${CODE_SERVER_NODE}`,
        '--no-audit',
        '--no-fund',
        '--loglevel=error',
      ],
      { cwd: folder },
    );
  }
  return find();
}
