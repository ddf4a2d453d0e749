import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import {
  type CancellationToken,
  CancellationTokenSource,
  type MessageConnection,
  ConnectionError,
  ErrorCodes,
  ResponseError,
  createMessageConnection,
} from 'vscode-jsonrpc';
import { StreamMessageReader, StreamMessageWriter } from 'vscode-jsonrpc/node';
import { DEADLINES, type Deadlines, tookTooLong } from '../protocol/deadlines.js';
import { CancelledError, UnusableInputError, type UnusableInputParts } from '../protocol/errors.js';
import type { AuditProgress } from '../protocol/audit-request.js';
import type { DefendProgress } from '../protocol/defend-request.js';
import type { ProjectPlan } from '../protocol/project-report.js';
import type { TensorDifference, TensorStatistics } from '../protocol/inspection.js';
import {
  QueueCancel,
  type QueueCancelled,
  QueueCheck,
  type QueueChecked,
  QueueCollect,
  QueueFollow,
  QueueLook,
  type QueueParams,
  type QueueProgress,
  QueueProgressNotification,
  QueueRetry,
  QueueSubmit,
  QueueSubmittedNotification,
  type SubmitterParams,
} from '../protocol/queue-messages.js';
import {
  type AuditOutcome,
  type AuditParams,
  AuditRun,
  type CompareParams,
  CompareTruth,
  type DefendOutcome,
  type DefendParams,
  DefendProgressNotification,
  DefendRun,
  type EngineStatus,
  type EnginesParams,
  type FileOfKind,
  HelloRequest,
  type HelloResult,
  InspectDifferences,
  InspectLook,
  InspectStatistics,
  type KindsParams,
  type Look,
  type Looks,
  OpenInspection,
  type OpenedInspection,
  PROTOCOL_VERSION,
  type PlanParams,
  PlanProject,
  ProbeEngines,
  ProgressNotification,
  ReadingNotification,
  type ReadingParams,
  RUNNER_ERRORS,
  RankCheckpoints,
  type RankParams,
  type RankedCheckpoint,
  type RowsParams,
  TellKinds,
} from '../protocol/runner-messages.js';

/** The host's side of the child process: start, talk, cancel, and kill when it does not listen. */

export interface RunnerCommand {
  readonly executable: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The child ended on its own; `lastWords` is the end of what it printed. */
export class RunnerCrashedError extends Error {
  constructor(
    readonly how: string,
    readonly lastWords: string,
  ) {
    super(`The audit process ended unexpectedly (${how}).${lastWords ? ` Its last words: ${lastWords}` : ''}`);
    this.name = 'RunnerCrashedError';
  }
}

const CANCEL_GRACE_MS = 1500;
const KILL_GRACE_MS = 3000;
const HELLO_TIMEOUT_MS = 15_000;
const LAST_WORDS = 2000;

/** Signal of cancellation, in the shape of both AbortSignal and VS Code's token once adapted. */
export interface CancelSignal {
  readonly cancelled: boolean;
  onCancel(listener: () => void): void;
}

export class RunnerClient {
  private lastWords = '';
  private ended = false;
  private readonly failures = new Set<(error: Error) => void>();
  private readonly listeners = new Map<string, (progress: AuditProgress) => void>();
  private readonly sweeps = new Map<string, (progress: DefendProgress) => void>();
  private readonly submissions = new Map<string, (done: number, of: number) => void>();
  private readonly followers = new Map<string, (progress: QueueProgress) => void>();
  /** What the child is reading, each until it is given up. */
  private readonly readings = new Map<number, NodeJS.Timeout>();
  private gaveUp: UnusableInputError | undefined;

  private constructor(
    private readonly child: ChildProcessWithoutNullStreams,
    private readonly connection: MessageConnection,
    private readonly log: (text: string) => void,
    private readonly deadlines: Deadlines,
  ) {
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => {
      this.lastWords = (this.lastWords + text).slice(-LAST_WORDS);
      this.log(text.trimEnd());
    });
    child.on('error', (error) => {
      this.end(error.message);
    });
    // 'close' rather than 'exit': by then its last words have arrived.
    child.on('close', (code, signal) => {
      this.end(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });
    connection.onNotification(ProgressNotification, ({ id, progress }) => this.listeners.get(id)?.(progress));
    connection.onNotification(DefendProgressNotification, ({ id, progress }) => this.sweeps.get(id)?.(progress));
    connection.onNotification(QueueSubmittedNotification, ({ id, done, of }) => this.submissions.get(id)?.(done, of));
    connection.onNotification(QueueProgressNotification, ({ id, progress }) => this.followers.get(id)?.(progress));
    connection.onNotification(ReadingNotification, (params) => {
      this.watch(params);
    });
    connection.onError(([error]) => {
      this.log(error.message);
    });
    child.stdin.on('error', () => {
      // A write to a child that has just ended; 'close' tells of it.
    });
  }

  /**
   * Starts the child and greets it.
   *
   * @param log receives what the child prints
   * @param deadlines after which a child that reads a file is killed
   * @throws RunnerCrashedError when it does not start or speaks another version
   */
  static async start(
    command: RunnerCommand,
    log: (text: string) => void,
    deadlines: Deadlines = DEADLINES,
  ): Promise<RunnerClient> {
    const child = spawn(command.executable, [...command.args], {
      env: command.env,
      stdio: ['pipe', 'pipe', 'pipe'],
      windowsHide: true,
    });
    const connection = createMessageConnection(
      new StreamMessageReader(child.stdout),
      new StreamMessageWriter(child.stdin),
    );
    const client = new RunnerClient(child, connection, log, deadlines);
    connection.listen();
    try {
      const hello = await client.hello();
      log(`Audit process ${hello.pid} runs on Node ${hello.node}.`);
      return client;
    } catch (error) {
      client.dispose();
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.child.pid;
  }

  get alive(): boolean {
    return !this.ended;
  }

  private watch({ id, reading }: ReadingParams): void {
    clearTimeout(this.readings.get(id));
    this.readings.delete(id);
    if (reading) {
      const limit = this.deadlines[reading.what];
      const giveUp = (): void => {
        this.gaveUp = tookTooLong(reading.path, reading.what, limit);
        this.child.kill('SIGKILL');
      };
      this.readings.set(id, setTimeout(giveUp, limit).unref());
    }
  }

  private async hello(): Promise<HelloResult> {
    const hello = await this.untilEnd(
      () => this.connection.sendRequest(HelloRequest, { protocolVersion: PROTOCOL_VERSION }),
      HELLO_TIMEOUT_MS,
    );
    if (hello.protocolVersion !== PROTOCOL_VERSION) {
      throw new RunnerCrashedError(
        `it speaks protocol ${hello.protocolVersion}, this extension ${PROTOCOL_VERSION}`,
        'Reload the window after an update.',
      );
    }
    return hello;
  }

  /**
   * Runs an audit. Cancelling asks the child first and kills it when it has not answered within 1.5 s.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async audit(
    params: AuditParams,
    onProgress: (progress: AuditProgress) => void,
    signal: CancelSignal,
  ): Promise<AuditOutcome> {
    return this.telling(this.listeners, params.id, onProgress, () =>
      this.untilCancelled(signal, (token) => this.connection.sendRequest(AuditRun, params, token)),
    );
  }

  /**
   * Tries defences on a dump. Cancelled as an audit is; what was found until then is in the folder.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async defend(
    params: DefendParams,
    onProgress: (progress: DefendProgress) => void,
    signal: CancelSignal,
  ): Promise<DefendOutcome> {
    return this.telling(this.sweeps, params.id, onProgress, () =>
      this.untilCancelled(signal, (token) => this.connection.sendRequest(DefendRun, params, token)),
    );
  }

  /** Progress goes to whoever asked, as long as it runs. */
  private async telling<P extends unknown[], T>(
    listeners: Map<string, (...progress: P) => void>,
    id: string,
    onProgress: (...progress: P) => void,
    work: () => Promise<T>,
  ): Promise<T> {
    listeners.set(id, onProgress);
    try {
      return await work();
    } finally {
      listeners.delete(id);
    }
  }

  /** Cancelling asks, then kills. */
  private async untilCancelled<T>(signal: CancelSignal, ask: (token: CancellationToken) => Promise<T>): Promise<T> {
    const source = new CancellationTokenSource();
    let isPending = true;
    const cancel = (): void => {
      // A signal may come twice, and after the answer; the library takes neither.
      if (!isPending || source.token.isCancellationRequested) {
        return;
      }
      source.cancel();
      setTimeout(() => {
        if (isPending) {
          this.child.kill('SIGKILL');
        }
      }, CANCEL_GRACE_MS).unref();
    };
    signal.onCancel(cancel);
    if (signal.cancelled) {
      cancel();
    }
    try {
      return await this.untilEnd(() => ask(source.token));
    } catch (error) {
      throw source.token.isCancellationRequested ? new CancelledError() : error;
    } finally {
      isPending = false;
      source.dispose();
    }
  }

  /** How well each candidate checkpoint fits a gradient file, best first. */
  async rank(params: RankParams): Promise<RankedCheckpoint[]> {
    return this.untilEnd(() => this.connection.sendRequest(RankCheckpoints, params));
  }

  /**
   * What files are, by their contents. Of one that is not answered nothing is known: it could not be read, or there were
   * too many.
   *
   * @throws UnusableInputError when the checkpoint cannot be read, RunnerCrashedError
   */
  async kinds(params: KindsParams): Promise<FileOfKind[]> {
    return this.untilEnd(() => this.connection.sendRequest(TellKinds, params));
  }

  /**
   * Which dumps a project holds, with their checkpoints. Cancelled as an audit is.
   *
   * @throws CancelledError when the signal says so, UnusableInputError, RunnerCrashedError
   */
  async plan(params: PlanParams, signal: CancelSignal): Promise<ProjectPlan> {
    return this.untilCancelled(signal, (token) => this.connection.sendRequest(PlanProject, params, token));
  }

  /**
   * Compares a stored report with a truth. Cancelled as an audit is; the report then stays as it was.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async compare(params: CompareParams, signal: CancelSignal): Promise<void> {
    await this.untilCancelled(signal, (token) => this.connection.sendRequest(CompareTruth, params, token));
  }

  /** Which engines work on this machine. */
  async engines(params: EnginesParams): Promise<EngineStatus[]> {
    return this.untilEnd(() => this.connection.sendRequest(ProbeEngines, params));
  }

  /**
   * Opens a file to look at.
   *
   * @throws UnusableInputError, RunnerCrashedError
   */
  async openInspection(path: string): Promise<OpenedInspection> {
    return this.untilEnd(() => this.connection.sendRequest(OpenInspection, { path }));
  }

  /** Statistics of as many of the rows as a tenth of a second sufficed for. */
  async statistics(params: RowsParams): Promise<{ row: number; statistics: TensorStatistics }[]> {
    return this.untilEnd(() => this.connection.sendRequest(InspectStatistics, params));
  }

  /** The same of differences to the other file. */
  async differences(params: RowsParams): Promise<{ row: number; difference: TensorDifference }[]> {
    return this.untilEnd(() => this.connection.sendRequest(InspectDifferences, params));
  }

  /**
   * One look at an open file.
   *
   * @param token gives the look up, and leaves the child alive for others
   * @throws CancelledError when the token says so, UnusableInputError, RunnerCrashedError
   */
  async look<K extends keyof Looks>(
    inspection: number,
    look: Extract<Look, { look: K }>,
    token?: CancellationToken,
  ): Promise<Looks[K]['result']> {
    return this.untilEnd(() => this.connection.sendRequest(InspectLook, { inspection, look }, token));
  }

  /**
   * Whether a queue's server lets this user in and the store can be written to. This and what follows is answered by the
   * child that speaks with queues. But for following, all that asks the server ends with an error where that one does not
   * answer for ten seconds, and is cancelled as an audit is; what was done until then stays done.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async checkQueue(params: Pick<QueueParams, 'place' | 'store'>, signal: CancelSignal): Promise<QueueChecked> {
    return this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueCheck, params, token));
  }

  /**
   * Puts the jobs of a manifest into a queue. Cancelled as an audit is; what is in the queue by then stays there.
   *
   * @returns how many jobs the manifest holds
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async submit(
    params: SubmitterParams,
    onProgress: (done: number, of: number) => void,
    signal: CancelSignal,
  ): Promise<number> {
    return this.telling(this.submissions, params.id, onProgress, () =>
      this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueSubmit, params, token)),
    );
  }

  /**
   * Tells where the jobs of a manifest are until none waits or runs. Cancelled, the jobs stay in the queue.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async follow(
    params: QueueParams,
    onProgress: (progress: QueueProgress) => void,
    signal: CancelSignal,
  ): Promise<QueueProgress> {
    return this.telling(this.followers, params.id, onProgress, () =>
      this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueFollow, params, token)),
    );
  }

  /** Where the jobs of a manifest are now. */
  async lookAtQueue(params: QueueParams, signal: CancelSignal): Promise<QueueProgress> {
    return this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueLook, params, token));
  }

  /** @returns how many jobs of a manifest had failed and wait again */
  async retryJobs(params: QueueParams, signal: CancelSignal): Promise<number> {
    return this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueRetry, params, token));
  }

  /** Removes the jobs of a manifest that wait, and has those stopped that run, where nobody else submitted them. */
  async cancelJobs(params: SubmitterParams, signal: CancelSignal): Promise<QueueCancelled> {
    return this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueCancel, params, token));
  }

  /**
   * Brings the results of a manifest to a folder that holds nothing of anybody else's. Cancelled as an audit is; the
   * report in the folder is then as it was.
   *
   * @throws CancelledError, UnusableInputError, RunnerCrashedError
   */
  async collect(params: QueueParams & { out: string }, signal: CancelSignal): Promise<void> {
    await this.untilCancelled(signal, (token) => this.connection.sendRequest(QueueCollect, params, token));
  }

  /** Ends the child: politely by closing its input, then by signal. */
  dispose(): void {
    if (this.ended) {
      return;
    }
    this.child.stdin.end();
    this.child.kill('SIGTERM');
    setTimeout(() => {
      if (!this.ended) {
        this.child.kill('SIGKILL');
      }
    }, KILL_GRACE_MS).unref();
  }

  private end(how: string): void {
    if (this.ended) {
      return;
    }
    this.ended = true;
    for (const timer of this.readings.values()) {
      clearTimeout(timer);
    }
    const error = this.gaveUp ?? new RunnerCrashedError(how, this.lastWords.trim());
    for (const fail of this.failures) {
      fail(error);
    }
    this.failures.clear();
    this.connection.dispose();
  }

  /** A pending request never answers once its process is gone, so every wait also waits for that. */
  private async untilEnd<T>(ask: () => Promise<T>, timeoutMs?: number): Promise<T> {
    if (this.ended) {
      throw new RunnerCrashedError('it had already ended', this.lastWords.trim());
    }
    let fail: (error: Error) => void = () => undefined;
    let timer: NodeJS.Timeout | undefined;
    const failure = new Promise<never>((_, reject) => {
      fail = reject;
      if (timeoutMs !== undefined) {
        timer = setTimeout(() => {
          reject(new RunnerCrashedError(`no answer within ${timeoutMs / 1000} s`, this.lastWords.trim()));
        }, timeoutMs);
      }
    });
    this.failures.add(fail);
    failure.catch(() => undefined);
    // A connection that is closed already throws at once, which is an answer as well.
    const attempt = async (): Promise<T> => await ask();
    const answer = attempt().catch((error: unknown) => {
      if (!isUnwritten(error)) {
        throw error;
      }
      // Its input is closed, so it has ended or hears nothing more: 'close' tells how.
      this.dispose();
      return failure;
    });
    // Disposing the connection rejects what is pending; the crash says more and must win.
    answer.catch(() => undefined);
    try {
      return await Promise.race([failure, answer]);
    } catch (error) {
      throw translate(error);
    } finally {
      clearTimeout(timer);
      this.failures.delete(fail);
    }
  }
}

function isUnwritten(error: unknown): boolean {
  return (
    error instanceof ConnectionError || (error instanceof ResponseError && error.code === ErrorCodes.MessageWriteError)
  );
}

function translate(error: unknown): unknown {
  if (!(error instanceof ResponseError)) {
    return error;
  }
  const { code, data } = error as ResponseError<unknown>;
  if (code === RUNNER_ERRORS.cancelled) {
    return new CancelledError();
  }
  return code === RUNNER_ERRORS.unusableInput && isParts(data) ? new UnusableInputError(data) : error;
}

function isParts(data: unknown): data is UnusableInputParts {
  return typeof data === 'object' && data !== null && 'code' in data && 'found' in data && 'advice' in data;
}
