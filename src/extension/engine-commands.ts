import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as vscode from 'vscode';
import { CancelledError, messageOf } from '../protocol/errors.js';
import { buildTfjsNode } from '../engine/build-tfjs-node.js';
import { visibleInList } from '../words/visible.js';
import { offerSteps, withShortPaths } from './failures.js';
import { SETTINGS } from './ids.js';
import type { Log } from './log.js';
import { stepsFrom, takeStep } from './next-steps.js';
import { askModal, showError, showInformation, showWarning, withProgressNotification } from './notifications.js';
import { pickOne } from './questions.js';
import type { RunnerHost } from './runner-host.js';

/** Which engines work, and the one that has to be installed on purpose. */

const PACKAGE = '@tensorflow/tfjs-node-gpu@4.22.0';
/** Its install step downloads from a server that may never answer. */
const INSTALL_TIMEOUT_MS = 15 * 60_000;

/** "GradLeak: Show Engines": every engine, tried in a process of its own, with what a broken one needs. */
export async function showEngines(runner: RunnerHost, log: Log): Promise<void> {
  const tfjsFolder = vscode.workspace.getConfiguration().get<string>(SETTINGS.tfjsFolder, '').trim();
  const results = await vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: 'GradLeak: trying the engines' },
    async () => (await runner.get()).engines({ tfjsFolder: tfjsFolder === '' ? null : tfjsFolder }),
  );
  for (const { id, works, detail } of results) {
    log.info(`Engine ${id}: ${works ? 'works' : 'does not work'}, ${detail}`);
  }
  await pickOne(
    results.map(({ id, works, detail }) => ({
      label: `$(${works ? 'pass' : 'circle-slash'}) ${id}`,
      detail: visibleInList(detail),
    })),
    { title: 'Engines on this machine', placeHolder: '"auto" takes the first that works', matchOnDetail: true },
  );
}

/** "GradLeak: Install CUDA Engine": asks, installs into the extension's storage, and points the setting there. */
export async function installCudaEngine(storage: vscode.Uri, log: Log): Promise<void> {
  if (!vscode.workspace.isTrusted) {
    void showWarning('GradLeak installs engines in trusted workspaces only.');
    return;
  }
  const folder = join(storage.fsPath, 'tfjs-node-gpu');
  const install = 'Download and Install';
  const answer = await askModal(
    'Install the CUDA engine of TensorFlow.js?',
    `npm will download ${PACKAGE} from the npm registry and libtensorflow 2.9.1 from storage.googleapis.com (about 400 MB) into ${folder}, and run their install scripts. It needs an NVIDIA GPU with CUDA 11.2 and cuDNN 8.1. Other GPU engines need no download.`,
    install,
  );
  if (answer !== install) {
    return;
  }
  try {
    await withProgressNotification('GradLeak: installing the CUDA engine', (_, token) =>
      npmInstall(folder, token, log),
    );
    await vscode.workspace.getConfiguration().update(SETTINGS.tfjsFolder, folder, vscode.ConfigurationTarget.Global);
    void showInformation('The CUDA engine is installed; "GradLeak: Show Engines" tells whether it works.');
  } catch (error) {
    if (error instanceof CancelledError) {
      void showInformation('The installation was stopped. The CUDA engine is not installed.');
      return;
    }
    log.error(error);
    if (process.platform === 'linux' && (await compiledInstead(storage, log, messageOf(error)))) {
      return;
    }
    const context = { error, again: () => installCudaEngine(storage, log) };
    await offerSteps(
      showError,
      withShortPaths(`The CUDA engine was not installed: ${messageOf(error)}`),
      stepsFrom(context),
      (step) => takeStep(step, context),
    );
  }
}

/** Asks, compiles the engine against PyPI's tensorflow, and points the setting there. @returns false where that was not done */
async function compiledInstead(storage: vscode.Uri, log: Log, problem: string): Promise<boolean> {
  const folder = join(storage.fsPath, 'tfjs-node-gpu-compiled');
  const compile = 'Download and Compile';
  const answer = await askModal(
    'Compile the CUDA engine instead?',
    `npm did not install it (${problem}). It can be compiled: pip downloads tensorflow 2.15.1 from PyPI (about 480 MB) into ${folder}, and g++ compiles the binding of TensorFlow.js against it. It needs Python 3.9 to 3.11, g++, and an NVIDIA GPU with CUDA 12.2 and cuDNN 8.9.`,
    compile,
  );
  if (answer !== compile) {
    return false;
  }
  const stop = new AbortController();
  try {
    await withProgressNotification('GradLeak: compiling the CUDA engine', (_, token) => {
      token.onCancellationRequested(() => {
        stop.abort();
      });
      const say = (line: string): void => {
        log.info(line);
      };
      return buildTfjsNode({ id: 'tfjs-node-gpu', folder, python: 'python3', signal: stop.signal, say });
    });
  } catch (error) {
    if (!(error instanceof CancelledError)) {
      log.error(error);
      void showWarning(`The CUDA engine was not compiled: ${messageOf(error)}`);
    }
    return true;
  }
  await vscode.workspace.getConfiguration().update(SETTINGS.tfjsFolder, folder, vscode.ConfigurationTarget.Global);
  void showInformation('The CUDA engine is compiled; "GradLeak: Show Engines" tells whether it works.');
  return true;
}

function npmInstall(folder: string, token: vscode.CancellationToken, log: Log): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  return new Promise((resolve, reject) => {
    const windows = process.platform === 'win32';
    const child = spawn(
      windows ? 'npm.cmd' : 'npm',
      ['install', '--no-audit', '--no-fund', '--ignore-scripts=false', PACKAGE],
      {
        cwd: folder,
        shell: windows,
        detached: !windows,
      },
    );
    // npm starts children of its own, which have to end with it.
    const stop = (): void => {
      if (windows || child.pid === undefined) {
        child.kill();
      } else {
        process.kill(-child.pid, 'SIGKILL');
      }
    };
    const timer = setTimeout(stop, INSTALL_TIMEOUT_MS);
    token.onCancellationRequested(stop);
    const say = (text: Buffer): void => {
      log.info(text.toString().trimEnd());
    };
    child.stdout.on('data', say);
    child.stderr.on('data', say);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code === 0) {
        resolve();
      } else {
        reject(
          token.isCancellationRequested ? new CancelledError() : new Error(`npm ended with ${code ?? 'a signal'}`),
        );
      }
    });
  });
}
