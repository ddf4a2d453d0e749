import { NotificationType, RequestType } from 'vscode-jsonrpc';
import type { UnusableInputParts } from './errors.js';

/**
 * What the editor and the child that speaks with a queue say to each other, beside the hello of `runner-messages.ts`. What
 * logs in travels here and in nothing else: no argument, no environment, no file.
 */

/** A server, and what logs in there. */
export interface QueuePlace {
  /** `redis://host[:port][/db]`, or `rediss://`; holds no login. */
  address: string;
  login: { user: string; password: string } | null;
}

/** A manifest that is in a queue, and the store that its results come to. */
export interface QueueParams {
  /** Chosen by the host; notifications carry it. */
  id: string;
  place: QueuePlace;
  /** Path of the manifest. */
  manifest: string;
  /** A folder, or `s3://bucket/prefix`. */
  store: string;
}

/** The same where jobs become, or are no more, somebody's own. */
export interface SubmitterParams extends QueueParams {
  /** Who submits, told apart from everybody else who does; the same each time. */
  submitter: string;
}

export interface QueueChecked {
  /** Settings of the server that would lose jobs, each a sentence that says what to do. */
  risks: string[];
}

/** A job that failed for good, or too often. */
export interface DeadJob {
  gradients: string;
  reason: string;
}

/** Where the jobs of a manifest are. The six counts add up to `jobs`. */
export interface QueueProgress {
  jobs: number;
  waiting: number;
  running: number;
  /** Failed and waiting to be tried again. */
  delayed: number;
  /** Those that have their result in the store. */
  done: number;
  failed: number;
  /** In the queue no more, and without a result in the store. */
  missing: number;
  /** The first of those that failed. */
  dead: DeadJob[];
  /** That are connected to the server; null where it does not tell. */
  workers: number | null;
  /** The server does not answer: the counts are those that it told last. */
  isAway: boolean;
}

export interface QueueCancelled {
  removed: number;
  /** That ran, and were asked to stop. */
  stopped: number;
  /** That wait or run on, because others submitted them too. */
  shared: number;
}

/** Whether the server lets this user in and the store can be written to. */
export const QueueCheck = new RequestType<{ place: QueuePlace; store: string }, QueueChecked, UnusableInputParts>(
  'gradleak/queue/check',
);
/** Answers how many jobs the manifest holds. */
export const QueueSubmit = new RequestType<SubmitterParams, number, UnusableInputParts>('gradleak/queue/submit');
/** Where the jobs are now. */
export const QueueLook = new RequestType<QueueParams, QueueProgress, UnusableInputParts>('gradleak/queue/look');
/** Tells where the jobs are until none waits or runs. */
export const QueueFollow = new RequestType<QueueParams, QueueProgress, UnusableInputParts>('gradleak/queue/follow');
/** Those of the manifest that failed wait again; answers how many. */
export const QueueRetry = new RequestType<QueueParams, number, UnusableInputParts>('gradleak/queue/retry');
/** Of the manifest's jobs that nobody else submitted, those that wait are removed and those that run are stopped. */
export const QueueCancel = new RequestType<SubmitterParams, QueueCancelled, UnusableInputParts>(
  'gradleak/queue/cancel',
);
/** Brings the results to a folder, as the audit of a project leaves them. */
export const QueueCollect = new RequestType<QueueParams & { out: string }, null, UnusableInputParts>(
  'gradleak/queue/collect',
);
export const QueueProgressNotification = new NotificationType<{ id: string; progress: QueueProgress }>(
  'gradleak/queue/progress',
);
export const QueueSubmittedNotification = new NotificationType<{ id: string; done: number; of: number }>(
  'gradleak/queue/submitted',
);
