import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import * as vscode from 'vscode';
import type { AuditProgress } from '../protocol/audit-request.js';
import type { AuditOutcome } from '../protocol/runner-messages.js';
import { type CancelSignal, RunnerClient } from '../runner/client.js';
import type { Executor, Job } from '../runner/executor.js';
import {
  type NodeProbe,
  type RuntimeChoice,
  childArguments,
  chooseRuntime,
  runtimeEnvironment,
} from '../runner/runtime.js';
import { SETTINGS } from './ids.js';
import type { Log } from './log.js';

/** Keeps one child process for the window: started when first needed, replaced after it ended. */
export class RunnerHost implements Executor, vscode.Disposable {
  private client: Promise<RunnerClient> | undefined;
  private readonly settingsWatch: vscode.Disposable;

  constructor(
    private readonly script: string,
    private readonly log: Log,
  ) {
    this.settingsWatch = vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration(SETTINGS.nodePath)) {
        this.stop();
      }
    });
  }

  async run(
    job: Job,
    signal: CancelSignal,
    progress: (progress: AuditProgress) => void = () => undefined,
  ): Promise<AuditOutcome> {
    return (await this.get()).audit(job, progress, signal);
  }

  /** A living child; rejects when none can be started. */
  async get(): Promise<RunnerClient> {
    const current = await this.client?.catch(() => undefined);
    if (current?.alive === true) {
      return current;
    }
    const started = this.start();
    this.client = started;
    return started;
  }

  /** One more child beside the window's own; whoever asks for it ends it. */
  another(): Promise<RunnerClient> {
    return this.start();
  }

  /** What children run on. */
  async runtime(): Promise<RuntimeChoice> {
    return chooseRuntime(
      {
        configured: vscode.workspace.getConfiguration().get<string>(SETTINGS.nodePath, '').trim(),
        execPath: process.execPath,
        electron: process.versions.electron,
        onPath: findOnPath(),
      },
      probeNode,
    );
  }

  private async start(): Promise<RunnerClient> {
    const choice = await this.runtime();
    for (const reason of choice.reasons) {
      this.log.info(`Runtime ${reason}`);
    }
    return RunnerClient.start(
      {
        executable: choice.executable,
        args: childArguments(this.script, process.env),
        env: runtimeEnvironment(choice.kind, process.env),
      },
      (text) => {
        this.log.info(text);
      },
    );
  }

  private stop(): void {
    void this.client?.then(
      (client) => {
        client.dispose();
      },
      () => undefined,
    );
    this.client = undefined;
  }

  dispose(): void {
    this.settingsWatch.dispose();
    this.stop();
  }
}

function findOnPath(): string | undefined {
  const names = process.platform === 'win32' ? ['node.exe'] : ['node'];
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter(Boolean)
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find((path) => existsSync(path));
}

async function probeNode(executable: string): Promise<NodeProbe> {
  const { stdout } = await promisify(execFile)(executable, ['--version'], { timeout: 10_000 });
  return { version: stdout.trim() };
}
