import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import * as vscode from 'vscode';
import { CancelledError, UnusableInputError } from '../protocol/errors.js';
import type { NextStep } from '../protocol/next-steps.js';
import type { QueueParams, QueuePlace, QueueProgress } from '../protocol/queue-messages.js';
import type { CancelSignal, RunnerClient } from '../runner/client.js';
import { writeManifest } from '../shards/manifest.js';
import { counted } from '../words/count-words.js';
import { workerCommand } from '../words/next-steps.js';
import { queueCancelInWords, queueEndInWords, queueInWords } from '../words/queue-words.js';
import { isTrusted } from './audit-command.js';
import { cancelSignal } from './cancel-signal.js';
import { failureSentence, offerSteps, withShortPaths } from './failures.js';
import type { Log } from './log.js';
import { type StepContext, stepsFrom, takeStep } from './next-steps.js';
import { askModal, showError, showInformation, showWarning, withLateNotification } from './notifications.js';
import { type ProjectAudits, chooseFolder, choosePlan } from './project-audit.js';
import type { QueueAccess } from './queue-access.js';
import { chooseFromQueue, openOf } from './queue-menu.js';
import type { RunnerHost } from './runner-host.js';
import { sharedSettings } from './shared-settings.js';
import type { StoredSubmission, SubmissionMemory } from './stored-submission.js';

/** "GradLeak: Submit Workspace to Queue": the audit of a workspace by other machines, followed until it is done. */

export class QueueSubmissions implements vscode.Disposable {
  private isDisposed = false;

  /**
   * @param storage folder of the manifests that were submitted
   * @param host of the child that speaks with queues
   */
  constructor(
    private readonly storage: string,
    private readonly host: RunnerHost,
    private readonly project: ProjectAudits,
    private readonly access: QueueAccess,
    private readonly memory: SubmissionMemory,
    private readonly log: Log,
    private readonly showSummary: () => void,
  ) {}

  /** What was submitted last from this workspace. */
  known(): StoredSubmission | undefined {
    return this.memory.known();
  }

  /** Follows what was being followed before the window was reloaded. */
  resume(): void {
    if (vscode.workspace.isTrusted && this.known()?.isFollowed === true) {
      void this.follow();
    }
  }

  async submit(): Promise<void> {
    if (this.isBusy() || !(await isTrusted())) {
      return;
    }
    const folder = await chooseFolder('Submit Workspace to Queue: which folder?');
    if (!folder) {
      return;
    }
    const isSubmitted = await this.saying(
      () => this.submitFolder(folder),
      () => this.submit(),
      null,
    );
    if (isSubmitted === true) {
      this.showSummary();
      await this.follow();
    }
  }

  /** @returns whether there is something to follow */
  private async submitFolder(folder: vscode.WorkspaceFolder): Promise<boolean> {
    const given = await this.access.place();
    const store = given && (await this.access.store());
    if (!given || store === undefined) {
      return false;
    }
    const entered = await this.letIn(given, (place) =>
      this.asking(place, async (client, signal) => ({
        place,
        risks: (await client.checkQueue({ place, store }, signal)).risks,
      })),
    );
    if (!entered) {
      return false;
    }
    const { place, risks } = entered;
    if (risks.length > 0) {
      void showWarning(`${place.address}: ${risks.join(' ')}`);
    }
    return this.project.alone(folder.uri.fsPath, folder.name, async ({ pool, notify, token }) => {
      notify({ message: 'Looking for dumps' });
      const settings = sharedSettings(folder);
      // Results may come from any machine, so their keys are of contents and not of the place.
      const plan = await this.project.plan(pool, folder, { settings, root: undefined }, token);
      const replaced = this.project.finishedOf(folder.uri.fsPath);
      const chosen = await choosePlan(plan, 'Submit', replaced === undefined ? '' : WILL_REPLACE);
      if (!chosen || token.isCancellationRequested) {
        return false;
      }
      if (!(await this.mayLeave(this.known()))) {
        return false;
      }
      const manifest = this.manifestOf(folder.uri.fsPath);
      writeManifest(manifest, chosen, { settings, settingsKey: chosen.settingsKey, identity: 'contents' });
      const client = await this.host.get();
      const known: StoredSubmission = {
        id: randomUUID(),
        address: place.address,
        store,
        folder: folder.uri.fsPath,
        manifest,
        isFollowed: true,
        isOver: false,
        replaced,
      };
      // Before the first job is in the queue: what a reload interrupts is known all the same.
      await this.memory.keep(known);
      const jobs = await client.submit(
        { ...paramsOf(known, place), submitter: await this.memory.submitter() },
        (done, of) => {
          notify({ message: `${done} of ${of} in the queue` });
        },
        cancelSignal(token),
      );
      this.log.info(`${counted(jobs, 'job')} of ${folder.uri.fsPath} in the queue at ${place.address}`);
      return true;
    });
  }

  /** Asks before another submission takes the place of one that may be going on. @returns whether it may */
  private async mayLeave(earlier: StoredSubmission | undefined): Promise<boolean> {
    if (!earlier || earlier.isOver === true) {
      return true;
    }
    const submit = 'Submit';
    const answer = await askModal(
      `The submission of ${basename(earlier.folder)} to the queue at ${earlier.address} is not over as far as is known. Submit again?`,
      `Its jobs go on and its results stay in ${earlier.store}, but from here only the new submission is followed, and can be cancelled.`,
      submit,
    );
    return answer === submit;
  }

  /** Follows what was submitted until no job waits or runs, and shows the results. */
  async follow(): Promise<void> {
    const known = this.known();
    if (!known || this.isBusy()) {
      return;
    }
    await this.memory.change(known, { isFollowed: true, isOver: false });
    const outcome = { isStopped: false };
    const end = await this.saying(
      () =>
        this.letIn(undefined, (place) =>
          this.project
            .alone(known.folder, `${basename(known.folder)}, at ${known.address}`, async ({ advance, token }) => {
              const client = await this.host.get();
              const hint = this.workerHint(known);
              const last = await client.follow(
                paramsOf(known, place),
                (progress) => {
                  hint(progress);
                  const { done, failed, jobs } = progress;
                  advance({ done: done + failed, of: jobs, message: queueInWords(progress) });
                },
                cancelSignal(token),
              );
              const isShown = last.missing === 0 && this.mayReplace(known, last);
              if (isShown) {
                advance({ done: last.done, of: last.jobs, message: 'fetching the results' });
                await this.fetch(known, place, token);
              }
              return { last, isShown };
            })
            .catch((error: unknown) => {
              outcome.isStopped = error instanceof CancelledError;
              throw error;
            }),
        ),
      () => this.follow(),
    );
    if (outcome.isStopped && !this.isDisposed) {
      await this.askHowToStop();
    } else if (end) {
      await this.memory.change(known, { isFollowed: false, isOver: true });
      await this.sayEnded(known, end.last, end.isShown);
    }
  }

  private async sayEnded(known: StoredSubmission, end: QueueProgress, isShown: boolean): Promise<void> {
    const isOffered = !isShown && end.done > 0;
    const text = withShortPaths(sentences(queueEndInWords(end, known.store), isOffered && this.ofShowing(known)));
    this.log.info(text);
    if (isShown) {
      this.showSummary();
    }
    if (isShown && end.failed === 0) {
      void showInformation(text);
      return;
    }
    await this.offer(end.failed + end.missing > 0 ? showWarning : showInformation, text, [
      ...(end.failed > 0 ? (['retry-jobs'] as const) : []),
      ...(isOffered ? (['show-results'] as const) : []),
      'open-log',
    ]);
  }

  /** When the report was finished that is shown now and is not made of these results; undefined where there is none. */
  private otherReport(known: StoredSubmission): string | undefined {
    const finished = this.project.finishedOf(known.folder);
    return finished === (this.known() ?? known).collected ? undefined : finished;
  }

  /** What comes of showing the results; undefined where it is nothing to be told. */
  private ofShowing(known: StoredSubmission): string | undefined {
    return this.otherReport(known) === undefined ? undefined : WOULD_REPLACE;
  }

  /** Whether results take the place of the report that is shown without a further question. */
  private mayReplace(known: StoredSubmission, { failed }: QueueProgress): boolean {
    const other = this.otherReport(known);
    return other === undefined || (failed === 0 && other === known.replaced);
  }

  /** Brings the results, and remembers which report they are. */
  private async fetch(known: StoredSubmission, place: QueuePlace, token: vscode.CancellationToken): Promise<void> {
    const client = await this.host.get();
    await client.collect({ ...paramsOf(known, place), out: this.outOf(known) }, cancelSignal(token));
    await this.memory.change(known, { collected: this.project.finishedOf(known.folder) });
  }

  /** What the user means who stops following. */
  private async askHowToStop(): Promise<void> {
    const known = this.known();
    if (!known) {
      return;
    }
    const [cancel, leave] = ['Remove Jobs', 'Only Stop Following'];
    const answer = await askModal(
      `Cancel the jobs of this workspace in the queue at ${known.address}?`,
      'Those that wait are removed and those that run are stopped. Jobs of the same files that were submitted from elsewhere too, within the last 30 days, go on. Results stay in the store, and jobs of other files in the queue.',
      cancel,
      leave,
    );
    if (answer === cancel) {
      await this.cancelJobs();
    } else if (answer === leave) {
      await this.memory.change(known, { isFollowed: false });
    } else {
      await this.follow();
    }
  }

  /** Where the jobs are, which failed and why, and what can be done. */
  async show(): Promise<void> {
    const known = this.known();
    if (!known) {
      const submit = 'Submit Workspace';
      if ((await showInformation('Nothing of this workspace was submitted to a queue.', submit)) === submit) {
        await this.submit();
      }
      return;
    }
    const progress = await this.saying(
      () =>
        this.letIn(undefined, (place) =>
          this.asking(place, (client, signal) => client.lookAtQueue(paramsOf(known, place), signal)),
        ),
      () => this.show(),
    );
    if (!progress) {
      return;
    }
    if (openOf(progress) === 0) {
      await this.memory.change(known, { isOver: true });
    }
    await chooseFromQueue(known.address, progress, {
      ...(this.project.isRunning ? {} : { follow: () => this.follow(), collect: () => this.collect() }),
      retry: () => this.retry(),
      cancel: () => this.cancel(),
      copyCommand: () => copyWorkerCommand(known.store),
      ofCollecting: this.ofShowing(known),
    });
  }

  /** Those that failed wait again. */
  async retry(): Promise<void> {
    const known = this.known();
    const count =
      known &&
      (await this.saying(
        () =>
          this.letIn(undefined, (place) =>
            this.asking(place, (client, signal) => client.retryJobs(paramsOf(known, place), signal)),
          ),
        () => this.retry(),
      ));
    if (known === undefined || count === undefined) {
      return;
    }
    if (count > 0) {
      await this.memory.change(known, { isOver: false });
    }
    void showInformation(
      count === 0 ? 'No job of this workspace has failed.' : `${counted(count, 'job')} waiting again.`,
    );
    if (count > 0 && !this.project.isRunning) {
      await this.follow();
    }
  }

  /** Asks first. */
  async cancel(): Promise<void> {
    if (this.known()) {
      if (this.project.isRunning && this.known()?.isFollowed === true) {
        // Who follows asks, and does it.
        this.project.stop();
      } else {
        await this.askHowToStop();
      }
    }
  }

  private async cancelJobs(): Promise<void> {
    const known = this.known();
    if (!known) {
      return;
    }
    const answer = await this.saying(
      () =>
        this.letIn(undefined, (place) =>
          this.asking(place, async (client, signal) => {
            const params = { ...paramsOf(known, place), submitter: await this.memory.submitter() };
            const cancelled = await client.cancelJobs(params, signal);
            // They are cancelled, whether the server answers once more or not.
            const progress = await client.lookAtQueue(params, signal).catch((error: unknown) => {
              this.log.error(error);
              return undefined;
            });
            return { cancelled, progress };
          }),
        ),
      () => this.cancelJobs(),
    );
    if (!answer) {
      return;
    }
    await this.memory.change(known, { isFollowed: false, isOver: true });
    const { cancelled, progress } = answer;
    const isOffered = progress !== undefined && progress.done > 0;
    const text = sentences(queueCancelInWords(cancelled, progress, known.store), isOffered && this.ofShowing(known));
    await this.offer(showInformation, text, isOffered ? ['show-results'] : []);
  }

  /** The results that are there become the report of the workspace. */
  private async collect(): Promise<void> {
    const known = this.known();
    if (!known || this.isBusy()) {
      return;
    }
    const isDone = await this.saying(
      () =>
        this.project.alone(known.folder, basename(known.folder), async ({ notify, token }) => {
          notify({ message: 'Fetching the results' });
          await this.fetch(known, { address: known.address, login: null }, token);
          return true;
        }),
      () => this.collect(),
    );
    if (isDone === true) {
      this.showSummary();
    }
  }

  private isBusy(): boolean {
    if (this.project.isRunning) {
      void showInformation('The workspace is being audited, here or through the queue. Wait for it, or stop it first.');
    }
    return this.project.isRunning;
  }

  /** Asks the server; where it does not answer at once, under a notification that cancels it. */
  private async asking<T>(
    { address }: QueuePlace,
    work: (client: RunnerClient, signal: CancelSignal) => Promise<T>,
  ): Promise<T> {
    const client = await this.host.get();
    return withLateNotification(`GradLeak: asking ${address}`, (token) => work(client, cancelSignal(token)));
  }

  /**
   * Works with the server; where it asks who this is and nobody has said so yet, asks the user.
   *
   * @param given of the submission that is known when absent
   */
  private async letIn<T>(
    given: QueuePlace | undefined,
    work: (place: QueuePlace) => Promise<T>,
  ): Promise<T | undefined> {
    const place = given ?? (await this.access.placeAt(this.known()?.address ?? ''));
    try {
      return await work(place);
    } catch (error) {
      if (!(error instanceof UnusableInputError && error.code === 'login-refused' && place.login === null)) {
        throw error;
      }
    }
    const login = await this.access.askForLogin(place.address);
    if (!login) {
      return undefined;
    }
    const answer = await work({ ...place, login });
    await this.access.keepLogin(place.address, login);
    return answer;
  }

  /**
   * Says what goes wrong, with what can be done about it.
   *
   * @param known the submission that it is about; null where it is one that is only being made
   */
  private async saying<T>(
    work: () => Promise<T>,
    again: () => Promise<void>,
    known: StoredSubmission | null | undefined = this.known(),
  ): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof CancelledError) && !this.isDisposed) {
        this.log.error(error);
        const context: StepContext = {
          error,
          again,
          queue: { take: (step) => this.take(step, known ?? undefined, error) },
        };
        void offerSteps(showError, failureSentence(error), stepsFrom(context), (step) => takeStep(step, context));
      }
      return undefined;
    }
  }

  private async offer(show: typeof showWarning, text: string, steps: readonly NextStep[]): Promise<void> {
    const context: StepContext = {
      again: () => Promise.resolve(),
      queue: { take: (step) => this.take(step, this.known()) },
    };
    await offerSteps(show, text, steps, (step) => takeStep(step, context));
  }

  private async take(step: NextStep, known: StoredSubmission | undefined, error?: unknown): Promise<boolean> {
    switch (step) {
      case 'enter-queue': {
        const place = await this.access.askForPlace();
        if (place && known) {
          await this.memory.change(known, { address: place.address });
        }
        return place !== undefined;
      }
      case 'enter-login': {
        // The server that did not let the user in.
        const address = error instanceof UnusableInputError ? error.parts.file : (known?.address ?? '');
        const login = await this.access.askForLogin(address);
        if (login) {
          await this.access.keepLogin(address, login);
        }
        return login !== undefined;
      }
      case 'choose-store': {
        const store = await this.access.askForStore();
        if (store !== undefined && known) {
          await this.memory.change(known, { store });
        }
        return store !== undefined;
      }
      case 'retry-jobs':
        await this.retry();
        return false;
      case 'show-results':
        await this.collect();
        return false;
      case 'start-worker':
        await copyWorkerCommand(known?.store ?? '');
        return false;
      default:
        return false;
    }
  }

  /**
   * Says once that nobody takes the jobs, when two looks have found nobody: a worker may be about to connect again, and
   * the editor shows no fourth notification that comes within a second.
   */
  private workerHint({ address, store }: StoredSubmission): (progress: QueueProgress) => void {
    let looks = 0;
    let isSaid = false;
    return ({ workers, waiting, isAway }) => {
      if (isAway || isSaid) {
        return;
      }
      looks = workers === 0 && waiting > 0 ? looks + 1 : 0;
      if (looks === 2) {
        isSaid = true;
        const text = `No worker takes jobs at ${address} yet. Start one on each machine that takes part, with ${store} for the results.`;
        void this.offer(showInformation, text, ['start-worker']);
      }
    };
  }

  private outOf({ folder }: StoredSubmission): string {
    const out = this.project.folderOf(folder);
    mkdirSync(out, { recursive: true });
    return out;
  }

  private manifestOf(folder: string): string {
    mkdirSync(this.storage, { recursive: true });
    return join(this.storage, `${createHash('sha256').update(folder).digest('hex').slice(0, 16)}.jsonl`);
  }

  dispose(): void {
    this.isDisposed = true;
  }
}

const WILL_REPLACE =
  'Once all jobs are done, their results take the place of the audit of this workspace that is here.';
const WOULD_REPLACE = 'When shown, the results take the place of the audit of this workspace that is here.';

function sentences(first: string, second: string | false | undefined): string {
  return second ? `${first} ${second}` : first;
}

function paramsOf({ manifest, store }: StoredSubmission, place: QueuePlace): QueueParams {
  return { id: randomUUID(), place, manifest, store };
}

async function copyWorkerCommand(store: string): Promise<void> {
  await vscode.env.clipboard.writeText(workerCommand(store));
  void showInformation(
    'Copied. Where a worker runs, GRADLEAK_QUEUE in its environment holds the address, with user and password if the server asks for them.',
  );
}
