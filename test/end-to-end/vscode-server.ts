import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A real VS Code behind a loopback port: code-server, which .ci/editor.mjs installs. */

export interface VsCodeServer {
  readonly url: string;
  /** Where its user data lies, the extension's storage among it. */
  readonly userData: string;
  log(): string;
  stop(): Promise<void>;
}

const QUIET_SETTINGS = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'extensions.autoCheckUpdates': false,
  'extensions.autoUpdate': false,
  'extensions.ignoreRecommendations': true,
  'update.mode': 'none',
  'workbench.enableExperiments': false,
  'git.enabled': false,
  'chat.disableAIFeatures': true,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'window.autoDetectColorScheme': false,
  'workbench.colorTheme': 'Default Dark Modern',
};

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') {
    throw new Error(`${name} is not set; run the end-to-end tests with "npm test".`);
  }
  return value;
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => {
        if (address !== null && typeof address === 'object') {
          resolve(address.port);
        } else {
          reject(new Error('no port'));
        }
      });
    });
  });
}

/** Starts VS Code on a folder with the packaged extension installed. */
export async function startVsCode(options: { workspace: string; vsix: string; trust: boolean }): Promise<VsCodeServer> {
  const folder = mkdtempSync(join(tmpdir(), 'gradleak-vscode-'));
  const userData = join(folder, 'data');
  mkdirSync(join(userData, 'User'), { recursive: true });
  const settingsFile = join(userData, 'User', 'settings.json');
  const trustSettings = options.trust
    ? { 'security.workspace.trust.enabled': false }
    : { 'security.workspace.trust.startupPrompt': 'never', 'security.workspace.trust.banner': 'never' };
  writeFileSync(settingsFile, JSON.stringify({ ...QUIET_SETTINGS, ...trustSettings }));
  const config = join(folder, 'config.yaml');
  writeFileSync(config, 'auth: none\ncert: false\n');
  const node = required('GRADLEAK_CODE_SERVER_NODE');
  const entry = join(required('GRADLEAK_CODE_SERVER'), 'node_modules', 'code-server', 'out', 'node', 'entry.js');
  const common = ['--config', config, '--user-data-dir', userData, '--extensions-dir', join(folder, 'extensions')];
  const env = { ...process.env, VSCODE_IPC_HOOK_CLI: '', PORT: undefined };
  execFileSync(node, [entry, ...common, '--install-extension', options.vsix], { stdio: 'pipe', env });
  const port = await freePort();
  const logFile = join(folder, 'server.log');
  const log = openSync(logFile, 'a');
  const child = spawn(
    node,
    [
      entry,
      ...common,
      '--bind-addr',
      `127.0.0.1:${port}`,
      '--auth',
      'none',
      '--disable-telemetry',
      '--disable-update-check',
      ...(options.trust ? ['--disable-workspace-trust'] : []),
      '--disable-getting-started-override',
      '--ignore-last-opened',
    ],
    // A process group of its own, so that stopping ends its extension hosts and their children too.
    { stdio: ['ignore', log, log], detached: true, env },
  );
  const base = `http://127.0.0.1:${port}`;
  await untilHealthy(base, child, () => readFileSync(logFile, 'utf8'));
  return {
    url: `${base}/?folder=${encodeURIComponent(options.workspace)}`,
    userData,
    log: () => readFileSync(logFile, 'utf8'),
    async stop() {
      await stopGroup(child);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function untilHealthy(base: string, child: ChildProcess, log: () => string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    const healthy = await fetch(`${base}/healthz`).then(
      (response) => response.ok,
      () => false,
    );
    if (healthy) {
      return;
    }
    if (child.exitCode !== null) {
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`code-server did not start:\n${log().slice(-3000)}`);
}

async function stopGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null) {
    return;
  }
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(-(child.pid ?? 0), name);
    } catch {
      // The group is already gone.
    }
  };
  signal('SIGTERM');
  const timer = setTimeout(() => {
    signal('SIGKILL');
  }, 5000);
  await ended;
  clearTimeout(timer);
}
