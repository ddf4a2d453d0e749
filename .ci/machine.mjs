// What scripts need of the machine: a cache outside of the repository, programs, Debian packages, and Node in the versions that users have.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { run } from './setup.mjs';

export const CACHE =
  process.env.GRADLEAK_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'gradleak-tests');

/** What a script fetches of each Node that package.json's engines allow, by its major version. */
export const NODES = { 20: '20.20.2', 22: '22.23.3', 24: '24.21.0' };
export const OWN_NODE = majorOf(process.versions.node);

const PACKAGE = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
const EXECUTABLE = process.platform === 'win32' ? 'node.exe' : 'node';

export function which(name) {
  const result = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

/** @param why ends with a full stop */
export function installDebian(packages, why) {
  const isRoot = process.getuid?.() === 0;
  if (!which('apt-get') || !isRoot) {
    console.error(`${why} Install it (Debian: apt-get install ${packages.join(' ')}) and run this again.`);
    process.exit(1);
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env });
}

function majorOf(version) {
  return Number(version.split('.')[0]);
}

function fetched(major) {
  return join(CACHE, `node-${NODES[major]}`, 'node_modules', PACKAGE, 'bin', EXECUTABLE);
}

/** Path of a Node: the one that runs this where it is of that version, else one that is fetched from the npm registry once. */
export function ensureNode(major) {
  if (major === OWN_NODE) {
    return process.execPath;
  }
  const path = fetched(major);
  if (!existsSync(path)) {
    const folder = join(CACHE, `node-${NODES[major]}`);
    console.log(`Fetching Node ${NODES[major]} into ${folder} (once)...`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"name":"node-for-gradleak-tests","private":true}\n');
    // The package "node" picks its platform's binary in an install script; the platform packages hold it directly.
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    run('npm', ['install', `${PACKAGE}@${NODES[major]}`, ...quiet], { cwd: folder });
  }
  return path;
}

/** Of the Nodes that NODES names, but this one: which are here already, in the cache or on PATH, by major version. */
export function otherNodesHere() {
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, EXECUTABLE))
    .filter(isExecutable);
  const found = new Map();
  for (const path of [...Object.keys(NODES).map(fetched).filter(isExecutable), ...onPath]) {
    const version = versionOf(path);
    const major = version === undefined ? undefined : majorOf(version);
    if (major in NODES && major !== OWN_NODE && !found.has(major)) {
      found.set(major, { path, version });
    }
  }
  return found;
}

/** @returns such as 22.23.3, or nothing where it does not run */
export function versionOf(node) {
  const { status, stdout } = spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim() : undefined;
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
